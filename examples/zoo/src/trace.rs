//! What a network costs, seen while it runs: its blocks record their layers during a forward pass,
//! as profilers for PyTorch do through hooks.

use std::cell::RefCell;

use linearconv::{Evaluation, LayerCost, Pixels};

thread_local! {
    static LAYERS: RefCell<Option<Vec<Layer>>> = const { RefCell::new(None) };
}

/// A layer that has run.
pub struct Layer {
    /// What it costs.
    pub cost: LayerCost,
    /// The pixels that it has read and computed.
    pub pixels: Pixels,
}

/// Notes a layer that has run; does nothing, nor asks what it costs, outside [`trace`].
pub fn record(layer: impl FnOnce() -> Layer) {
    LAYERS.with_borrow_mut(|layers| {
        if let Some(layers) = layers {
            layers.push(layer());
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

/// The layers of one forward pass with the pixels that each has read and computed.
pub struct Trace {
    layers: Vec<Layer>,
}

impl Trace {
    /// Parameters of the layers.
    pub fn parameters(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.cost.parameters())
            .sum()
    }

    /// Parameters of the layers if they were dense.
    pub fn dense_parameters(&self) -> usize {
        let dense = self.layers.iter().map(|layer| layer.cost.dense());
        dense.map(|cost| cost.parameters()).sum()
    }

    /// Multiply-adds of the layers; grouped ones are materialized in any case.
    pub fn multiply_adds(&self, evaluation: Evaluation) -> u64 {
        self.sum(|cost, pixels| match (evaluation, cost.groups) {
            (Evaluation::Factored, 2..) => cost.multiply_adds(Evaluation::Materialized, pixels),
            _ => cost.multiply_adds(evaluation, pixels),
        })
    }

    /// Multiply-adds of the layers if they were dense.
    pub fn dense_multiply_adds(&self) -> u64 {
        self.sum(|cost, pixels| cost.dense().multiply_adds(Evaluation::Materialized, pixels))
    }

    fn sum(&self, term: impl Fn(&LayerCost, Pixels) -> u64) -> u64 {
        let layers = self.layers.iter();
        layers.map(|layer| term(&layer.cost, layer.pixels)).sum()
    }
}
