//! What a network costs and what its filters answer, seen while it runs: its blocks record their
//! layers during a forward pass, as profilers for PyTorch do through hooks.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::{Tensor, s};
use linearconv::{Conv, Evaluation, LayerCost};

thread_local! {
    static LAYERS: RefCell<Option<Vec<(LayerCost, usize)>>> = const { RefCell::new(None) };
}

/// Notes that a layer has computed `pixels` output pixels; does nothing outside [`trace`].
pub fn record(cost: LayerCost, pixels: usize) {
    LAYERS.with_borrow_mut(|layers| {
        if let Some(layers) = layers {
            layers.push((cost, pixels));
        }
    });
}

/// Runs a forward pass and collects the layers that it recorded.
pub fn trace<T>(forward: impl FnOnce() -> T) -> Trace {
    LAYERS.set(Some(Vec::new()));
    forward();
    Trace {
        layers: LAYERS.take().unwrap_or_default(),
    }
}

thread_local! {
    static RESPONSES: RefCell<Option<HashMap<ParamId, Tensor<2>>>> = const { RefCell::new(None) };
}

/// Output pixels that are kept of a layer for each of its filters: enough for a fit of their
/// combinations.
const PIXELS_PER_FILTER: usize = 8;

/// Notes what the filters of a dense convolution have answered; does nothing outside
/// [`responses`].
pub fn record_responses(conv: &Conv, output: &Tensor<4>) {
    let Conv::Dense(conv) = conv else { return };
    RESPONSES.with_borrow_mut(|responses| {
        let Some(responses) = responses else { return };
        let filters = output.dims()[1];
        let rows: Tensor<2> = output.clone().swap_dims(0, 1).flatten(1, 3);
        let pixels = rows.dims()[1];
        let step = (pixels / (PIXELS_PER_FILTER * filters)).max(1);
        let rows = rows.slice_dim(1, s![..;step as isize]);
        let rows = match &conv.bias {
            Some(bias) => rows - bias.val().reshape([filters, 1]),
            None => rows,
        };
        responses.insert(conv.weight.id, rows);
    });
}

/// Runs a forward pass and collects what the filters of each dense convolution answered, without
/// bias, for [`Compression::with_responses`](linearconv::Compression::with_responses).
pub fn responses<T>(forward: impl FnOnce() -> T) -> HashMap<ParamId, Tensor<2>> {
    RESPONSES.set(Some(HashMap::new()));
    forward();
    RESPONSES.take().unwrap_or_default()
}

/// The layers of one forward pass with the output pixels that each has computed.
pub struct Trace {
    layers: Vec<(LayerCost, usize)>,
}

impl Trace {
    /// Parameters of the layers.
    pub fn parameters(&self) -> usize {
        self.sum(|cost, _| cost.parameters())
    }

    /// Parameters of the layers if they were dense.
    pub fn dense_parameters(&self) -> usize {
        self.sum(|cost, _| cost.dense().parameters())
    }

    /// Multiply-adds of the layers; grouped ones are materialized in any case.
    pub fn multiply_adds(&self, evaluation: Evaluation) -> usize {
        self.sum(|cost, pixels| match (evaluation, cost.groups) {
            (Evaluation::Factored, 2..) => cost.multiply_adds(Evaluation::Materialized, pixels),
            _ => cost.multiply_adds(evaluation, pixels),
        })
    }

    /// Multiply-adds of the layers if they were dense.
    pub fn dense_multiply_adds(&self) -> usize {
        self.sum(|cost, pixels| cost.dense().multiply_adds(Evaluation::Materialized, pixels))
    }

    fn sum(&self, term: impl Fn(&LayerCost, usize) -> usize) -> usize {
        let terms = self.layers.iter().map(|(cost, pixels)| term(cost, *pixels));
        terms.sum()
    }
}
