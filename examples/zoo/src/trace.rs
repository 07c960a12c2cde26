//! What a network costs, seen while it runs: its blocks record their layers during a forward pass,
//! as profilers for PyTorch do through hooks.

use std::cell::RefCell;

use linearconv::{Evaluation, LayerCost};

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
