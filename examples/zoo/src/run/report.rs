//! The report of a run: a JSON file, and a figure of its curves.

use std::fmt;
use std::path::Path;

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;
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
        let path = folder.join("curves.svg");
        let drawn = self.draw(&path).map_err(|error| error.to_string());
        drawn.map_err(|reason| Error::Figure { path, reason })
    }

    /// Draws loss and accuracy over the epochs, for the training and the validation images.
    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error + '_>> {
        let area = SVGBackend::new(path, (960, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("{} {} on {}", self.network, self.variant, self.dataset);
        let area = area.titled(&title, ("sans-serif", 20))?;
        let (left, right) = area.split_horizontally(480);
        let losses = self
            .epochs
            .iter()
            .flat_map(|epoch| [epoch.train_loss, epoch.valid_loss]);
        let finite = losses.filter(|loss| loss.is_finite());
        let highest = finite.fold(0.1, f64::max);
        let curve = |value: fn(&Epoch) -> f64| -> Vec<(usize, f64)> {
            let points = self.epochs.iter().map(|epoch| (epoch.epoch, value(epoch)));
            points.filter(|(_, value)| value.is_finite()).collect()
        };
        let panels = [
            (
                left,
                "cross-entropy",
                highest,
                curve(|epoch| epoch.train_loss),
                curve(|epoch| epoch.valid_loss),
            ),
            (
                right,
                "accuracy (%)",
                100.0,
                curve(|epoch| epoch.train_accuracy),
                curve(|epoch| epoch.valid_accuracy),
            ),
        ];
        for (area, name, highest, train, valid) in panels {
            let mut chart = ChartBuilder::on(&area)
                .margin(10)
                .x_label_area_size(35)
                .y_label_area_size(45)
                .build_cartesian_2d(0..self.epochs.len() + 1, 0.0..highest)?;
            let mut mesh = chart.configure_mesh();
            mesh.light_line_style(WHITE)
                .x_desc("epoch")
                .y_desc(name)
                .draw()?;
            for (curve, color, label) in [(train, &BLUE, "training"), (valid, &RED, "validation")] {
                let series = LineSeries::new(curve, color).point_size(3);
                chart
                    .draw_series(series)?
                    .label(label)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], color));
            }
            let mut labels = chart.configure_series_labels();
            labels
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK)
                .draw()?;
        }
        area.present()?;
        Ok(())
    }
}
