//! How a network is trained, as data.

use serde::Serialize;

/// The settings of a training run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// The learning rate of Adam at the start; it falls to zero along a cosine.
    pub learning_rate: f64,
    /// The weight of the correlation loss.
    pub correlation_weight: f64,
    /// The weight of the coefficients' L1 norm, which only the sparse variant has.
    pub coefficient_l1_weight: f64,
    /// Batches between two that add the correlation loss and the L1 norm.
    pub regularization_interval: usize,
    /// Optimizer steps between two prunings of the sparse variant.
    pub pruning_interval: usize,
    /// The share of training images that are held out to choose the best epoch.
    pub validation_share: f64,
}

impl Default for Recipe {
    /// The reference implementation's weights and intervals, and one short epoch.
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 50,
            learning_rate: 1e-3,
            correlation_weight: 0.01,
            coefficient_l1_weight: 0.01,
            regularization_interval: 10,
            pruning_interval: 10,
            validation_share: 0.1,
        }
    }
}
