//! The means of an epoch, from the logs of a training.

use std::path::Path;

use burn::train::logger::{FileMetricLogger, MetricLogger};
use burn::train::metric::NumericEntry;
use burn::train::metric::store::Split;
use serde::{Deserialize, Serialize};

/// The means of an epoch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// Cross-entropy on the training images, measured during training.
    pub train_loss: f64,
    /// Accuracy on the training images, in percent, measured during training.
    pub train_accuracy: f64,
    /// Cross-entropy on the validation images.
    pub valid_loss: f64,
    /// Accuracy on the validation images, in percent.
    pub valid_accuracy: f64,
}

impl Epoch {
    /// Reads the logs in the folder of a run, up to the first epoch that is incomplete.
    pub fn read_all(folder: &Path, epochs: usize) -> Vec<Self> {
        let mut logs = FileMetricLogger::new(folder);
        let mut mean = |name: &str, epoch: usize, split: Split| {
            let entries = logs.read_numeric(name, epoch, &split).ok()?;
            entries.into_iter().find_map(|entry| match entry {
                NumericEntry::Final(mean) => Some(mean),
                _ => None,
            })
        };
        let epoch = |epoch| {
            Some(Self {
                epoch,
                train_loss: mean("Loss", epoch, Split::Train)?,
                train_accuracy: mean("Accuracy", epoch, Split::Train)?,
                valid_loss: mean("Loss", epoch, Split::Valid)?,
                valid_accuracy: mean("Accuracy", epoch, Split::Valid)?,
            })
        };
        (1..=epochs).map_while(epoch).collect()
    }
}
