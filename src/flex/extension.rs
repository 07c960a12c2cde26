//! The kernel behind Burn's backend-extension API, with its own step of automatic differentiation.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, backend_extension};
use burn::tensor::DType;
use burn::tensor::ops::ConvOptions;

use super::call::Call;
use super::operands::PerOperand;
use super::reorder::reorder;

#[backend_extension(Flex, Autodiff)]
pub(super) trait LinearConvBackend: Backend {
    /// The convolution with primary filters and, given a column, with the filters that
    /// `column · row` combines from them.
    fn linear_conv2d(
        input: FloatTensor<Self>,
        primary: FloatTensor<Self>,
        #[extension_type] row: Optional<Self>,
        #[extension_type] column: Optional<Self>,
        #[extension_type] bias: Optional<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self>;

    /// Images whose channel `i` is channel `order[i]` of the given ones, and the order that undoes
    /// this one, for the way back.
    fn reorder_channels(
        images: FloatTensor<Self>,
        order: Vec<usize>,
        undo: Vec<usize>,
    ) -> FloatTensor<Self>;
}

/// An `Option`, which Burn's dispatch of extensions does not know.
#[derive(Clone, Debug, ExtensionType)]
pub(super) enum Optional<B: Backend> {
    Present(FloatTensor<B>),
    Absent,
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Optional<B> {
    fn from(option: Option<FloatTensor<B>>) -> Self {
        option.map_or(Self::Absent, Self::Present)
    }
}

impl<B: Backend> Optional<B> {
    fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Present(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }
}

impl LinearConvBackend for Flex {
    fn linear_conv2d(
        input: FlexTensor,
        primary: FlexTensor,
        row: Optional<Self>,
        column: Optional<Self>,
        bias: Optional<Self>,
        options: ConvOptions<2>,
    ) -> FlexTensor {
        let operands = PerOperand {
            input: Some(input),
            primary: Some(primary),
            row: row.into_option(),
            column: column.into_option(),
            bias: bias.into_option(),
        };
        Call::new(operands, &options).forward()
    }

    fn reorder_channels(images: FlexTensor, order: Vec<usize>, _undo: Vec<usize>) -> FlexTensor {
        reorder(&images, &order)
    }
}

impl<C: CheckpointStrategy> LinearConvBackend for Autodiff<Flex, C> {
    fn linear_conv2d(
        input: FloatTensor<Self>,
        primary: FloatTensor<Self>,
        row: Optional<Self>,
        column: Optional<Self>,
        bias: Optional<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let operands: PerOperand<Option<FloatTensor<Self>>> = PerOperand {
            input: Some(input),
            primary: Some(primary),
            row: row.into_option(),
            column: column.into_option(),
            bias: bias.into_option(),
        };
        let tracked = |tensor: &Option<FloatTensor<Self>>| {
            tensor.as_ref().is_some_and(FloatTensor::<Self>::is_tracked)
        };
        let keep_output = tracked(&operands.row) || tracked(&operands.column);
        // A step has a fixed number of parents; nobody tracks one that is absent.
        let absent = || FloatTensor::<Self>::new(FlexTensor::empty([0].into(), DType::F32));
        let parents = operands.as_ref().map(|tensor| match tensor {
            Some(tensor) => tensor.node(),
            None => absent().node(),
        });
        let forward = |operands: PerOperand<Option<FloatTensor<Self>>>| {
            let primitives = operands.map(|tensor| tensor.map(FloatTensor::<Self>::into_primitive));
            Call::new(primitives, &options).forward()
        };
        match LinearConvBackward
            .prepare::<C>(parents.into())
            .compute_bound()
            .stateful()
        {
            OpsKind::UnTracked(prep) => prep.finish(forward(operands)),
            OpsKind::Tracked(mut prep) => {
                let nodes = operands
                    .as_ref()
                    .map(|tensor| tensor.as_ref().map(|tensor| prep.checkpoint(tensor)));
                let output = forward(operands);
                let state = State {
                    operands: nodes,
                    output: keep_output.then(|| output.clone()),
                    options,
                };
                prep.finish(state, output)
            }
        }
    }

    fn reorder_channels(
        images: FloatTensor<Self>,
        order: Vec<usize>,
        undo: Vec<usize>,
    ) -> FloatTensor<Self> {
        let output = reorder(images.primitive(), &order);
        match ReorderBackward
            .prepare::<C>([images.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::UnTracked(prep) => prep.finish(output),
            OpsKind::Tracked(prep) => prep.finish(undo, output),
        }
    }
}

#[derive(Debug)]
struct ReorderBackward;

impl Backward<Flex, 1> for ReorderBackward {
    type State = Vec<usize>;

    fn backward(
        self,
        ops: Ops<Vec<usize>, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            gradients.register::<Flex>(parent.id, reorder(&gradient, &ops.state));
        }
    }
}

#[derive(Debug)]
struct LinearConvBackward;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    operands: PerOperand<Option<NodeId>>,
    /// Kept where coefficients are trained: it holds the maps of the primary filters.
    output: Option<FlexTensor>,
    options: ConvOptions<2>,
}

impl Backward<Flex, 5> for LinearConvBackward {
    type State = State;

    fn backward(
        self,
        ops: Ops<State, 5>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let State {
            operands,
            output,
            options,
        } = ops.state;
        let operands = operands
            .map(|node| node.map(|node| checkpointer.retrieve_node_output::<FlexTensor>(node)));
        let parents = PerOperand::from(ops.parents);
        let wanted = parents.as_ref().map(Option::is_some);
        let computed = Call::new(operands, &options).backward(&wanted, output, gradient);
        let parents: [_; 5] = parents.into();
        let computed: [_; 5] = computed.into();
        for (parent, gradient) in parents.into_iter().zip(computed) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
