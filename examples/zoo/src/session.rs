//! One training by burn-train: a recipe carried out in a folder, and the weights that did best.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::Device;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::checkpoint::{
    ComposedCheckpointingStrategy, KeepLastNCheckpoints, MetricCheckpointingStrategy,
};
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{
    ExecutionStrategy, Learner, LearningResult, MultiDeviceOptim, SupervisedTraining,
};
use linearconv::CoefficientsConfig;

use crate::Error;
use crate::answers::{ImageMean, Reads};
use crate::backend::Backend;
use crate::cli::{Parallel, TrainingArgs};
use crate::data::Loaders;
use crate::models::Network;
use crate::progress::{Lines, StepTimes};
use crate::recipe::{Recipe, Schedule};
use crate::report::Epoch;
use crate::training::Classifier;

/// One training.
pub(crate) struct Session<'a> {
    /// Where checkpoints and logs go.
    pub(crate) folder: &'a Path,
    pub(crate) recipe: &'a Recipe,
    /// Those of the network, which decide its losses and pruning; none if it is dense.
    pub(crate) coefficients: Option<CoefficientsConfig>,
    /// The epochs that the folder holds already.
    pub(crate) finished_epochs: usize,
}

/// Where a training computes.
pub(crate) struct Workplace {
    pub(crate) devices: Vec<Device>,
    pub(crate) parallel: Parallel,
    /// The least time between two readings of a device.
    pub(crate) reading_interval: Duration,
}

impl Workplace {
    /// The devices that the flags name.
    ///
    /// # Errors
    /// Those of [`DeviceName::devices`](crate::backend::DeviceName::devices), and
    /// [`Error::Flags`] where the devices cannot train that way.
    pub(crate) fn new(training: &TrainingArgs) -> Result<Self, Error> {
        let name = training.device_name();
        let parallel = training.parallel;
        if parallel == Parallel::Ddp && !matches!(name.backend, Backend::Cuda | Backend::Remote) {
            let reason = format!(
                "--parallel ddp: Burn 0.22 reduces gradients on cuda and remote, not on {name}; \
                 --parallel multi works everywhere"
            );
            return Err(Error::Flags(reason));
        }
        Ok(Self {
            devices: name.devices(training.devices.unwrap_or(1))?,
            parallel,
            // A CPU is never waited for. On others, as often as a person reads.
            reading_interval: match name.backend.is_asynchronous() {
                true => Duration::from_secs(1),
                false => Duration::ZERO,
            },
        })
    }

    /// The device that validates and tests.
    pub(crate) fn main(&self) -> &Device {
        &self.devices[0]
    }

    fn strategy(&self) -> ExecutionStrategy {
        let devices = || self.devices.iter().map(|device| device.clone().autodiff());
        match (self.devices.as_slice(), self.parallel) {
            ([device], _) => ExecutionStrategy::single(device.clone()),
            (_, Parallel::Multi) => {
                ExecutionStrategy::multi(devices().collect(), MultiDeviceOptim::OptimMainDevice)
            }
            // A sum, as with `multi`: every loss is weighted by its share of the batch.
            (_, Parallel::Ddp) => ExecutionStrategy::ddp(
                devices().collect(),
                DistributedConfig {
                    all_reduce_op: ReduceOperation::Sum,
                },
            ),
        }
    }
}

/// What comes out of training.
pub(crate) struct Trained<N: Network> {
    /// In its validation state, with the weights of the best epoch.
    pub(crate) classifier: Classifier<N>,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) best_epoch: usize,
    /// The median time of a training step, in seconds; none where there was no step left.
    pub(crate) step_seconds: Option<f64>,
    /// Readings of a device for each training step, all of which wait for it.
    pub(crate) reads_per_step: Option<f64>,
}

impl Session<'_> {
    /// Trains a network.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and whatever keeps the training from its end.
    pub(crate) fn train<N: Network>(
        &self,
        network: N,
        loaders: &Loaders,
        workplace: &Workplace,
    ) -> Result<Trained<N>, Error> {
        let recipe = self.recipe;
        let steps_per_epoch = loaders.steps_per_epoch;
        let classifier = Classifier::new(
            network,
            recipe,
            self.coefficients,
            steps_per_epoch,
            self.finished_epochs,
        )?;
        let schedule = learning_rates(recipe, steps_per_epoch).map_err(Error::Recipe)?;
        // PyTorch's epsilon, as in the reference; Burn's default is larger.
        let optimizer = AdamConfig::new().with_epsilon(1e-8).init();

        let reads = Reads::default();
        let times = StepTimes::new(reads.clone(), workplace.devices.len());
        let interval = workplace.reading_interval;
        let (accuracy, loss) = (ImageMean::accuracy, ImageMean::loss);
        let best = MetricCheckpointingStrategy::new(
            &accuracy(interval, Reads::default()),
            Aggregate::Mean,
            Direction::Highest,
            Split::Valid,
        );
        let checkpoints = ComposedCheckpointingStrategy::builder()
            .add(KeepLastNCheckpoints::new(2))
            .add(best)
            .build();
        let (train, valid) = (loaders.train.clone(), loaders.valid.clone());
        let mut training = SupervisedTraining::new(self.folder, train, valid)
            .metric_train_numeric(accuracy(interval, reads.clone()))
            .metric_train_numeric(loss(interval, reads.clone()))
            .metric_valid_numeric(accuracy(interval, Reads::default()))
            .metric_valid_numeric(loss(interval, Reads::default()))
            .with_default_checkpointers()
            .with_checkpointing_strategy(checkpoints)
            .with_application_logger(None)
            .with_progress_logger(times.clone())
            .with_training_strategy(workplace.strategy().into())
            .num_epochs(recipe.epochs);
        if self.finished_epochs > 0 {
            training = training.checkpoint(self.finished_epochs);
        }
        if !std::io::stdout().is_terminal() {
            training = training.renderer(Box::new(Lines::default()));
        }
        let result = training.launch(Learner::new(classifier, optimizer, schedule));
        let steps = times.steps();
        let reads_per_step = (steps > 0).then(|| reads.count() as f64 / steps as f64);
        let (classifier, epochs, best_epoch) = self.select_best(result)?;
        Ok(Trained {
            classifier,
            epochs,
            best_epoch,
            step_seconds: times.median(),
            reads_per_step,
        })
    }

    /// The weights of the epoch that did best on the validation images.
    fn select_best<N: Network>(
        &self,
        result: LearningResult<Classifier<N>>,
    ) -> Result<(Classifier<N>, Vec<Epoch>, usize), Error> {
        // Burn's dashboard gives the terminal back when it is dropped.
        drop(result.renderer);
        if let Some(error) = result.error {
            return Err(Error::Training(error.to_string()));
        }
        // The dashboard forgets an interruption before it could be read from the result.
        if result.interrupted.is_some() || !has_checkpoint(self.folder, self.recipe.epochs) {
            return Err(Error::Interrupted);
        }
        let epochs = Epoch::read_all(self.folder, self.recipe.epochs);
        let kept = epochs
            .iter()
            .filter(|epoch| checkpoint(self.folder, "model", epoch.epoch).exists());
        let best = kept.max_by(|a, b| a.valid_accuracy.total_cmp(&b.valid_accuracy));
        let Some(best_epoch) = best.map(|epoch| epoch.epoch) else {
            let reason = "no epoch has left a checkpoint, so there are no weights to test";
            return Err(Error::Training(reason.into()));
        };
        let classifier = result
            .model
            .try_load_file(checkpoint(self.folder, "model", best_epoch))?
            .valid();
        Ok((classifier, epochs, best_epoch))
    }
}

/// Whether the folder holds all that a training needs to go on after an epoch.
pub(crate) fn has_checkpoint(folder: &Path, epoch: usize) -> bool {
    let parts = ["model", "optim", "scheduler"];
    parts
        .iter()
        .all(|part| checkpoint(folder, part, epoch).exists())
}

/// Where burn-train keeps a part of its state.
fn checkpoint(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(format!("checkpoint/{part}-{epoch}.bpk"))
}

/// The learning rate of every step.
fn learning_rates(recipe: &Recipe, steps_per_epoch: usize) -> Result<ModuleLrScheduler, String> {
    let (rate, steps) = (recipe.learning_rate, recipe.epochs * steps_per_epoch);
    match &recipe.schedule {
        Schedule::WarmupCosine if recipe.epochs == 1 => {
            CosineAnnealingLrSchedulerConfig::new(rate, steps).init()
        }
        Schedule::WarmupCosine => {
            let cosine = CosineAnnealingLrSchedulerConfig::new(rate, steps - steps_per_epoch);
            let warmup = LinearLrSchedulerConfig::new(rate / 10.0, rate, steps_per_epoch);
            let phases = vec![
                LrSchedulerConfig::Linear(warmup),
                LrSchedulerConfig::Cosine(cosine),
            ];
            SequentialLrSchedulerConfig::new(phases, vec![steps_per_epoch]).init()
        }
        Schedule::Milestones(epochs) => {
            let rates = (0..=epochs.len()).map(|fall| rate * 0.1f64.powi(fall as i32));
            let phases = rates.map(LrSchedulerConfig::Constant).collect();
            let steps = epochs.iter().map(|epoch| epoch * steps_per_epoch).collect();
            SequentialLrSchedulerConfig::new(phases, steps).init()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DatasetName;
    use crate::models::NetworkName;
    use crate::recipe::RecipeName;

    fn rates(recipe: &Recipe, steps_per_epoch: usize) -> Vec<f64> {
        let mut schedule = learning_rates(recipe, steps_per_epoch).expect("valid");
        let steps = recipe.epochs * steps_per_epoch;
        (0..steps).map(|_| schedule.step().base()).collect()
    }

    fn recipe(name: RecipeName) -> Recipe {
        Recipe::new(name, NetworkName::Vgg11, DatasetName::Mnist)
    }

    #[test]
    fn the_fast_rate_rises_for_an_epoch_and_falls_along_a_cosine() {
        let recipe = Recipe {
            epochs: 5,
            learning_rate: 0.1,
            ..recipe(RecipeName::Fast)
        };
        let rates = rates(&recipe, 10);
        assert!(
            rates[..11]
                .windows(2)
                .all(|pair| pair[0] <= pair[1] + 1e-12),
            "{rates:?}"
        );
        assert!(
            rates[11..].windows(2).all(|pair| pair[0] > pair[1]),
            "{rates:?}"
        );
        assert!(
            (rates[30] - 0.05).abs() < 5e-3 && rates[49] < 1e-3,
            "{rates:?}"
        );
    }

    #[test]
    fn milestones_divide_the_rate_by_ten() {
        let recipe = Recipe {
            epochs: 5,
            learning_rate: 0.1,
            schedule: Schedule::Milestones(vec![2, 4]),
            ..recipe(RecipeName::Paper)
        };
        let expected: Vec<f64> = [vec![0.1; 20], vec![0.01; 20], vec![0.001; 10]].concat();
        for (rate, expected) in rates(&recipe, 10).iter().zip(&expected) {
            assert!(
                (rate - expected).abs() < 1e-12,
                "{rate} instead of {expected}"
            );
        }
    }
}
