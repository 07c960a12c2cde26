//! The report of a run: a JSON file, and a figure of its curves.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::chart::{Mark, Panel, Series, draw_panels};
use crate::data::DatasetName;
use crate::files::write_json;
use crate::models::{EvaluationArg, Layers, NetworkName};
use crate::train::{Epoch, Recipe};

/// The name of the file in the folder of a run.
pub(crate) const FILE: &str = "report.json";

/// The result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The network.
    pub network: NetworkName,
    /// The variant of the convolutions, by its name on the command line.
    pub variant: String,
    /// Which convolutions are LinearConv layers.
    pub layers: Layers,
    /// How LinearConv layers compute their output.
    pub evaluation: EvaluationArg,
    /// The data set.
    pub dataset: DatasetName,
    /// The settings of the training.
    pub recipe: Recipe,
    /// The seed of the run.
    pub seed: u64,
    /// The cost of the network.
    pub cost: Cost,
    /// The cost of the dense twin.
    pub dense_cost: Cost,
    /// The fraction of the coefficients that pruning has masked out.
    pub sparsity: f64,
    /// The means of every epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch with the best validation accuracy. Its weights were tested.
    pub best_epoch: usize,
    /// The accuracy on the test images, in percent.
    pub test_accuracy: f64,
    /// The number of test images.
    pub test_images: usize,
    /// The median time of a training step, in seconds; none if the resumed run had no step left.
    pub step_seconds: Option<f64>,
    /// The number of readings of the device, divided by the number of training steps. On a GPU, each reading
    /// waits until the GPU has finished its work.
    pub reads_per_step: Option<f64>,
    /// The time of training and testing, in seconds.
    pub seconds: f64,
}

/// The cost of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Trainable parameters.
    pub parameters: usize,
    /// Multiply-adds of a forward pass of one image.
    pub multiply_adds: u64,
}

/// The last lines that a run prints.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "best epoch    {} of {}",
            self.best_epoch,
            self.epochs.len()
        )?;
        if self.sparsity > 0.0 {
            writeln!(f, "sparsity      {:.4}", self.sparsity)?;
        }
        if let Some(step) = self.step_seconds {
            let seconds = self.seconds;
            writeln!(
                f,
                "time per step {step:.3} s (median), {seconds:.1} s in all"
            )?;
        }
        let (accuracy, images) = (self.test_accuracy, self.test_images);
        writeln!(f, "test accuracy {accuracy:.2} % of {images} images")
    }
}

impl Report {
    /// Writes `report.json` and then `curves.svg` into a folder. A run with `report.json` counts as finished.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Figure`], which name the file.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        write_json(&folder.join(FILE), self)?;
        self.draw(&folder.join("curves.svg"))
    }

    /// Draws loss and accuracy over the epochs, for the training and the validation images.
    fn draw(&self, path: &Path) -> Result<(), Error> {
        let panel = |y: &str, train: fn(&Epoch) -> f64, valid: fn(&Epoch) -> f64, range| {
            let curve = |label: &str, color, value: fn(&Epoch) -> f64| Series {
                label: label.into(),
                color,
                mark: Mark::Line,
                points: (self.epochs.iter())
                    .map(|epoch| (epoch.epoch as f64, value(epoch)))
                    .collect(),
            };
            Panel {
                title: String::new(),
                x: "epoch".into(),
                y: y.into(),
                range,
                series: vec![curve("training", 0, train), curve("validation", 1, valid)],
            }
        };
        let losses = (self.epochs.iter()).flat_map(|epoch| [epoch.train_loss, epoch.valid_loss]);
        let highest = losses.filter(|loss| loss.is_finite()).fold(0.1, f64::max);
        let panels = [
            panel(
                "cross-entropy",
                |epoch| epoch.train_loss,
                |epoch| epoch.valid_loss,
                Some((0.0, highest)),
            ),
            panel(
                "accuracy (%)",
                |epoch| epoch.train_accuracy,
                |epoch| epoch.valid_accuracy,
                Some((0.0, 100.0)),
            ),
        ];
        let title = format!("{} {} on {}", self.network, self.variant, self.dataset);
        draw_panels(path, &title, &panels)
    }
}
