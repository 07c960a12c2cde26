//! The kernel behind Burn's backend-extension API, as one step of automatic differentiation.

use std::array;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn::tensor::DType;
use burn::tensor::ops::ConvOptions;

use super::call;
use super::extension_type::extension_type;
use super::operands::{MAX_OPERANDS, Operands};

#[backend_extension(Flex, Autodiff)]
pub(super) trait LinearConvBackend: Backend {
    /// The convolution with the primary filters and, given coefficients, with the secondary filters
    /// that these combine. Given an order, output `i` shows filter `order[i]`.
    fn linear_conv2d(
        #[extension_type] operands: Tensors<Self>,
        order: Option<Vec<usize>>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self>;
}

/// The operands as tensors of a backend.
pub(super) type Tensors<B> = Operands<FloatTensor<B>>;

extension_type!(Tensors, Operands);

impl LinearConvBackend for Flex {
    fn linear_conv2d(
        operands: Tensors<Self>,
        order: Option<Vec<usize>>,
        options: ConvOptions<2>,
    ) -> FlexTensor {
        let (output, _) = call::forward(operands, order.as_deref(), &options, false);
        output
    }
}

impl<C: CheckpointStrategy> LinearConvBackend for Autodiff<Flex, C> {
    fn linear_conv2d(
        operands: Tensors<Self>,
        order: Option<Vec<usize>>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        // A step has a fixed number of parents. An untracked node stands for each absent operand.
        let absent = || FloatTensor::<Self>::new(FlexTensor::empty([0].into(), DType::F32)).node();
        let mut nodes = operands.as_ref().map(FloatTensor::<Self>::node).values();
        let parents = array::from_fn(|_| nodes.next().unwrap_or_else(absent));
        let wanted = operands.as_ref().map(FloatTensor::<Self>::is_tracked);
        let forward = |operands: Tensors<Self>, keep| {
            let operands = operands.map(FloatTensor::<Self>::into_primitive);
            call::forward(operands, order.as_deref(), &options, keep)
        };
        match LinearConvBackward
            .prepare::<C>(parents)
            .compute_bound()
            .stateful()
        {
            OpsKind::UnTracked(prep) => prep.finish(forward(operands, false).0),
            OpsKind::Tracked(mut prep) => {
                let nodes = operands.as_ref().map(|tensor| prep.checkpoint(tensor));
                let keep = wanted
                    .coefficients
                    .is_some_and(|wanted| wanted.column || wanted.row == Some(true));
                let (output, kept) = forward(operands, keep);
                let state = State {
                    nodes,
                    wanted,
                    kept,
                    order,
                    options,
                };
                prep.finish(state, output)
            }
        }
    }
}

#[derive(Debug)]
struct LinearConvBackward;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    nodes: Operands<NodeId>,
    wanted: Operands<bool>,
    /// The maps of the primary filters, where coefficients are trained.
    kept: Option<FlexTensor>,
    order: Option<Vec<usize>>,
    options: ConvOptions<2>,
}

impl Backward<Flex, MAX_OPERANDS> for LinearConvBackward {
    type State = State;

    fn backward(
        self,
        ops: Ops<State, MAX_OPERANDS>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let State {
            nodes,
            wanted,
            kept,
            order,
            options,
        } = ops.state;
        let operands = nodes.map(|node| checkpointer.retrieve_node_output::<FlexTensor>(node));
        let computed = call::backward(operands, order.as_deref(), wanted, kept, gradient, &options);
        for (node, gradient) in nodes.zip(computed).values() {
            if let Some(gradient) = gradient {
                gradients.register::<Flex>(node, gradient);
            }
        }
    }
}
