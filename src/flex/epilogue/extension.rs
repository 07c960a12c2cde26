//! The steps that follow a convolution, behind Burn's backend-extension API, as one step of
//! automatic differentiation.

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

use super::super::extension_type::extension_type;
use super::Steps;
use super::call::{self, Forward, Kept};
use super::parts::{MAX_PARTS, Parts};

#[backend_extension(Flex, Autodiff)]
pub(super) trait EpilogueBackend: Backend {
    /// The output. Where the statistics are those of the batch, also the mean and the biased
    /// variance of each channel, `[2, channels]`.
    fn epilogue(
        #[extension_type] parts: Tensors<Self>,
        steps: Steps,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);
}

/// The tensors of the steps, on a backend.
pub(super) type Tensors<B> = Parts<FloatTensor<B>>;

extension_type!(Tensors, Parts);

impl EpilogueBackend for Flex {
    fn epilogue(parts: Tensors<Self>, steps: Steps) -> (FlexTensor, Option<FlexTensor>) {
        let Forward {
            output, moments, ..
        } = call::forward(parts, steps);
        (output, moments)
    }
}

impl<C: CheckpointStrategy> EpilogueBackend for Autodiff<Flex, C> {
    fn epilogue(
        parts: Tensors<Self>,
        steps: Steps,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        // A step has a fixed number of parents. An untracked node stands for each absent tensor.
        let absent = || FloatTensor::<Self>::new(FlexTensor::empty([0].into(), DType::F32)).node();
        let mut nodes = parts.as_ref().map(FloatTensor::<Self>::node).values();
        let parents = array::from_fn(|_| nodes.next().unwrap_or_else(absent));
        let wanted = parts.as_ref().map(FloatTensor::<Self>::is_tracked);
        let nodes = parts.as_ref().map(FloatTensor::<Self>::id);
        let primitives = |parts: Tensors<Self>| parts.map(FloatTensor::<Self>::into_primitive);
        let step = EpilogueBackward.prepare::<C>(parents);
        let (output, moments) = match step.compute_bound().stateful() {
            OpsKind::UnTracked(prep) => {
                let computed = call::forward(primitives(parts), steps);
                (prep.finish(computed.output), computed.moments)
            }
            OpsKind::Tracked(mut prep) => {
                // Only the gradient of a normalization needs the maps.
                let maps = parts.norm.is_some().then(|| prep.checkpoint(&parts.maps));
                let Forward {
                    output,
                    moments,
                    kept,
                } = call::forward(primitives(parts), steps);
                let state = State {
                    nodes,
                    wanted,
                    maps,
                    kept,
                };
                (prep.finish(state, output), moments)
            }
        };
        (output, moments.map(FloatTensor::<Self>::new))
    }
}

#[derive(Debug)]
struct EpilogueBackward;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    nodes: Parts<NodeId>,
    wanted: Parts<bool>,
    maps: Option<NodeId>,
    kept: Kept,
}

impl Backward<Flex, MAX_PARTS> for EpilogueBackward {
    type State = State;

    fn backward(
        self,
        ops: Ops<State, MAX_PARTS>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let State {
            nodes,
            wanted,
            maps,
            kept,
        } = ops.state;
        let maps = maps.map(|node| checkpointer.retrieve_node_output::<FlexTensor>(node));
        let computed = call::backward(kept, wanted, maps, gradient);
        for (node, gradient) in nodes.values().zip(computed.values()) {
            if let Some(gradient) = gradient {
                gradients.register::<Flex>(node, gradient);
            }
        }
    }
}
