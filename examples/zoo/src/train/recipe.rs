//! Recipes: the settings of a training.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::{check_count, is_share, is_share_below_1, is_weight};
use crate::data::DatasetName;
use crate::models::{Family, NetworkName};

/// The name of a recipe.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecipeName {
    /// Few epochs, with label smoothing, a learning rate that rises for an epoch and then falls along a
    /// cosine, and pruning along an exact ramp.
    Fast,
    /// The recipe of the reference implementation: many epochs, a learning rate that is constant or falls at
    /// milestones, and pruning by an adaptive threshold.
    Paper,
}

/// The settings of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// The highest learning rate of Adam.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// The fraction of every label that is spread over all classes.
    pub label_smoothing: f32,
    /// The weight of the correlation loss.
    pub correlation_weight: f64,
    /// The weight of the L1 norm of the coefficients. Only the sparse variant adds this norm.
    pub coefficient_l1_weight: f64,
    /// The correlation loss and the L1 norm are added once in so many batches.
    pub regularization_interval: usize,
    /// How the sparse variant is pruned.
    pub pruning: PruningSchedule,
    /// The fraction of the training images that is held out to choose the best epoch.
    pub validation_share: f64,
    /// The largest number of training images to use; the validation images are among them.
    pub train_limit: Option<usize>,
}

/// How a learning rate changes over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It rises linearly in the first epoch, then falls to zero along a cosine. In a run of one epoch it only
    /// falls.
    WarmupCosine,
    /// It falls to a tenth after each of these epochs.
    Milestones(Vec<usize>),
}

/// How the coefficients of the sparse variant are pruned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PruningSchedule {
    /// Along a cubic ramp over the middle half of the run. The first quarter learns which coefficients
    /// matter. The last quarter learns without the pruned coefficients.
    Ramp {
        /// Optimizer steps between two prunings.
        interval: usize,
    },
    /// By the threshold of the reference implementation, which adapts to reach the sparsity.
    Threshold {
        /// Optimizer steps between two prunings.
        interval: usize,
        /// The largest change of the threshold in one pruning.
        step: f64,
    },
}

/// The settings in one line.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.epochs == 1 { "" } else { "s" };
        write!(
            f,
            "{} epoch{plural} in batches of {}, Adam from {} ",
            self.epochs, self.batch_size, self.learning_rate
        )?;
        match &self.schedule {
            Schedule::WarmupCosine => write!(f, "along a cosine")?,
            Schedule::Milestones(epochs) if epochs.is_empty() => write!(f, "throughout")?,
            Schedule::Milestones(epochs) => write!(f, "to a tenth after epochs {epochs:?}")?,
        }
        write!(
            f,
            ", label smoothing {}, correlation weight {}",
            self.label_smoothing, self.correlation_weight
        )
    }
}

impl Recipe {
    /// Checks the numbers, which a file may hold.
    ///
    /// # Errors
    /// A message that names the number.
    pub(crate) fn check(&self) -> Result<(), String> {
        let interval = match self.pruning {
            PruningSchedule::Ramp { interval } | PruningSchedule::Threshold { interval, .. } => {
                interval
            }
        };
        for (name, number) in [("epochs", self.epochs), ("batch_size", self.batch_size)] {
            check_count(number).map_err(|error| format!("{name}: {error}"))?;
        }
        for (name, valid) in [
            ("learning_rate", is_share(self.learning_rate)),
            (
                "label_smoothing",
                (0.0..1.0).contains(&self.label_smoothing),
            ),
            ("correlation_weight", is_weight(self.correlation_weight)),
            (
                "coefficient_l1_weight",
                is_weight(self.coefficient_l1_weight),
            ),
            ("regularization_interval", self.regularization_interval > 0),
            ("pruning", interval > 0),
            ("validation_share", is_share_below_1(self.validation_share)),
            ("train_limit", self.train_limit != Some(0)),
        ] {
            if !valid {
                return Err(format!("{name} has an impossible value"));
            }
        }
        Ok(())
    }

    /// The recipe of that name for a network and a data set.
    pub fn new(name: RecipeName, network: NetworkName, dataset: DatasetName) -> Self {
        match name {
            RecipeName::Paper => Self::paper(network),
            RecipeName::Fast => Self::fast(network, dataset),
        }
    }

    /// The recipe of the reference implementation. Networks that it lacks take the recipe of a similar
    /// network.
    fn paper(network: NetworkName) -> Self {
        use Family::*;

        const LATE: &[usize] = &[75, 150, 200];
        let (epochs, batch_size, learning_rate, milestones): (_, _, _, &[usize]) =
            match network.family() {
                Vgg => (250, 50, 1e-3, &[]),
                AllConv => (350, 50, 1e-4, &[]),
                ResNet => (250, 50, 0.1, LATE),
                ResNeXt | MobileNetV2 | SqueezeNet => (250, 32, 1e-3, LATE),
            };
        Self {
            epochs,
            batch_size,
            learning_rate,
            schedule: Schedule::Milestones(milestones.to_vec()),
            label_smoothing: 0.0,
            correlation_weight: 0.01,
            coefficient_l1_weight: 0.01,
            regularization_interval: 10,
            pruning: PruningSchedule::Threshold {
                interval: 500,
                step: 1e-5,
            },
            validation_share: 0.1,
            train_limit: None,
        }
    }

    fn fast(network: NetworkName, dataset: DatasetName) -> Self {
        use NetworkName::*;

        let paper = Self::paper(network);
        let (epochs, batch_size, train_limit) = match (dataset, network) {
            // Few enough images for about a minute on two cores, with the smaller networks. The other
            // networks get small batches, so that they make enough steps.
            (DatasetName::MnistMini, Base) => (3, 50, None),
            (DatasetName::MnistMini, SqueezeNet) => (2, 32, None),
            (DatasetName::MnistMini, Vgg11) => (1, 50, None),
            (DatasetName::MnistMini, AllConv) => (6, 20, Some(2000)),
            (DatasetName::MnistMini, _) => (1, 20, Some(2000)),
            _ => (30, paper.batch_size, None),
        };
        Self {
            epochs,
            batch_size,
            learning_rate: 1e-3,
            schedule: Schedule::WarmupCosine,
            label_smoothing: 0.1,
            pruning: PruningSchedule::Ramp { interval: 10 },
            train_limit,
            ..paper
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_paper_recipe_is_the_reference_implementations() {
        let recipe = |network| Recipe::new(RecipeName::Paper, network, DatasetName::Cifar10);
        for (network, epochs, batch_size, rate, milestones) in [
            (NetworkName::Base, 250, 50, 1e-3, vec![]),
            (NetworkName::Vgg11, 250, 50, 1e-3, vec![]),
            (NetworkName::AllConv, 350, 50, 1e-4, vec![]),
            (NetworkName::ResNet18, 250, 50, 0.1, vec![75, 150, 200]),
            (
                NetworkName::ResNeXt29_2x64d,
                250,
                32,
                1e-3,
                vec![75, 150, 200],
            ),
            (NetworkName::MobileNetV2, 250, 32, 1e-3, vec![75, 150, 200]),
        ] {
            let recipe = recipe(network);
            assert_eq!((recipe.epochs, recipe.batch_size), (epochs, batch_size));
            assert_eq!(recipe.learning_rate, rate);
            assert_eq!(recipe.schedule, Schedule::Milestones(milestones));
        }
        for network in NetworkName::value_variants() {
            let recipe = recipe(*network);
            assert_eq!(recipe.correlation_weight, 0.01);
            assert_eq!(recipe.coefficient_l1_weight, 0.01);
            assert_eq!(recipe.regularization_interval, 10);
            let pruning = PruningSchedule::Threshold {
                interval: 500,
                step: 1e-5,
            };
            assert_eq!(recipe.pruning, pruning);
            assert_eq!((recipe.label_smoothing, recipe.train_limit), (0.0, None));
        }
    }
}
