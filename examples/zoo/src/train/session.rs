//! One training by burn-train: it follows a recipe, writes to a folder, and returns the weights of the best
//! epoch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::lr_scheduler::{LrSchedulerConfig, LrSchedulerRecord};
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::{ModuleRecord, RecordError};
use burn::train::checkpoint::CheckpointerError;
use burn::train::metric::Metric;
use burn::train::{Learner, LearningResult, SupervisedTraining, TrainingError};
use linearconv::CoefficientsConfig;

use super::adam::OnePassAdam;
use super::answers::{ImageMean, Reads};
use super::divergence::Watch;
use super::epoch::Epoch;
use super::interruption::StopsOnSignal;
use super::logs::Logs;
use super::progress::{Lines, StepTimes};
use super::recipe::{Recipe, Schedule};
use super::saving::{LastAndBest, MODEL, OPTIMIZER, Part, SCHEDULER, checkpoint, load_weights};
use super::training::{Classifier, Teacher};
use crate::Error;
use crate::backend::Workplace;
use crate::data::Loaders;
use crate::models::Network;
use crate::output::say;

/// One training.
pub(crate) struct Session<'a> {
    /// The folder for checkpoints and logs.
    pub(crate) folder: &'a Path,
    pub(crate) recipe: &'a Recipe,
    /// The coefficients of the network, which decide its losses and its pruning; none if the network is
    /// dense.
    pub(crate) coefficients: Option<CoefficientsConfig>,
    /// The number of finished epochs in the folder.
    pub(crate) finished_epochs: usize,
}

/// The result of a training.
pub(crate) struct Trained<N: Network> {
    /// The network in its validation state, with the weights of the best epoch.
    pub(crate) classifier: Classifier<N>,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) best_epoch: usize,
    /// The median time of a training step, in seconds; none if there was no step left.
    pub(crate) step_seconds: Option<f64>,
    /// The number of readings of the device, divided by the number of training steps. Each reading waits for
    /// the device.
    pub(crate) reads_per_step: Option<f64>,
}

impl Session<'_> {
    /// Trains a network on the labels, or on the scores of a teacher if there is one.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and every error that ends the training early.
    pub(crate) fn train<N: Network>(
        &self,
        network: N,
        teacher: Option<Teacher>,
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
        )?
        .with_teacher(teacher);
        if self.finished_epochs > 0 {
            // burn-train panics on a checkpoint of another network.
            let file = checkpoint(self.folder, MODEL, self.finished_epochs);
            load_weights(classifier.clone(), &file)?;
        }
        let schedule = learning_rates(recipe, steps_per_epoch).map_err(Error::Recipe)?;
        // PyTorch's default for epsilon, as in the reference implementation. Burn's default is larger.
        let optimizer = OnePassAdam::init(1e-8);

        let reads = Reads::default();
        let times = StepTimes::new(reads.clone(), workplace.devices.len());
        let interval = workplace.reading_interval;
        let watch = Watch::default();
        let accuracy = ImageMean::accuracy;
        let loss = |interval, reads| ImageMean::loss(interval, reads).with_watch(watch.clone());
        let pending = classifier.checkpoints.clone();
        let part = |name| Part::new(self.folder.into(), name, pending.clone());
        let interrupter = watch.interrupter.clone();
        let logs = Logs::new(self.folder, self.finished_epochs, interrupter)?;
        let (train, valid) = (loaders.train.clone(), loaders.valid.clone());
        let mut training = SupervisedTraining::new(self.folder, train, valid)
            .metric_train_numeric(accuracy(interval, reads.clone()))
            .metric_train_numeric(loss(interval, reads.clone()))
            .metric_valid_numeric(accuracy(interval, Reads::default()))
            .metric_valid_numeric(loss(interval, Reads::default()))
            .with_custom_checkpointers(part(MODEL), part(OPTIMIZER), part(SCHEDULER))
            .with_checkpointing_strategy(LastAndBest {
                folder: self.folder.into(),
                metric: accuracy(interval, Reads::default()).name(),
                pending: pending.clone(),
            })
            .with_metric_logger(logs)
            .with_application_logger(None)
            .renderer(Box::new(Lines::default()))
            .with_progress_logger(times.clone())
            .with_training_strategy(workplace.strategy().into())
            .with_interrupter(watch.interrupter.clone())
            .num_epochs(recipe.epochs);
        if self.finished_epochs > 0 {
            training = training.checkpoint(self.finished_epochs);
        }
        let stops = StopsOnSignal::new(watch.interrupter.clone());
        let result = training.launch(Learner::new(classifier, optimizer, schedule));
        drop(stops);
        // The last checkpoint may not be written yet, and writing it may fail.
        pending.wait();
        let steps = times.steps();
        let reads_per_step = (steps > 0).then(|| reads.count() as f64 / steps as f64);
        if let Some(diverged) = watch.found() {
            drop(result.renderer);
            let last = last_checkpoint(self.folder, recipe.epochs);
            return Err(Error::Diverged {
                epoch: last + 1,
                diverged,
                kept: (last > 0).then(|| checkpoint(self.folder, MODEL, last)),
            });
        }
        let (classifier, epochs, best_epoch) =
            self.select_best(result, watch.interrupter.error())?;
        Ok(Trained {
            classifier,
            epochs,
            best_epoch,
            step_seconds: times.median(),
            reads_per_step,
        })
    }

    /// Loads the weights of the epoch with the best accuracy on the validation images. Prints which damaged
    /// checkpoints it passes over.
    fn select_best<N: Network>(
        &self,
        result: LearningResult<Classifier<N>>,
        error: Option<Arc<TrainingError>>,
    ) -> Result<(Classifier<N>, Vec<Epoch>, usize), Error> {
        // Burn's dashboard releases the terminal when it is dropped.
        drop(result.renderer);
        if let Some(error) = error {
            return Err(Error::Training(match &*error {
                // The reason already names the file.
                TrainingError::Checkpoint(CheckpointerError::Unknown(reason)) => reason.clone(),
                error => error.to_string(),
            }));
        }
        // With the dashboard, the result does not tell that the training was interrupted. Missing checkpoints
        // tell it.
        if result.interrupted.is_some()
            || last_checkpoint(self.folder, self.recipe.epochs) < self.recipe.epochs
        {
            return Err(Error::Interrupted);
        }
        let epochs = Epoch::read_all(self.folder, self.recipe.epochs);
        let kept = epochs
            .iter()
            .filter(|epoch| checkpoint(self.folder, MODEL, epoch.epoch).exists());
        let mut kept: Vec<_> = kept
            .map(|epoch| (epoch.valid_accuracy, epoch.epoch))
            .collect();
        // Of several equally good epochs the first one, as `LastAndBest` keeps the checkpoints.
        kept.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (_, best_epoch) in kept {
            let file = checkpoint(self.folder, MODEL, best_epoch);
            match load_weights(result.model.clone(), &file) {
                Ok(classifier) => return Ok((classifier.valid(), epochs, best_epoch)),
                Err(error) => say!("passed over: {error}"),
            }
        }
        let reason =
            "no epoch has left a checkpoint that can be read, so there are no weights to test";
        Err(Error::Training(reason.into()))
    }
}

/// The logs of epochs that have left a checkpoint are gone. A training could not continue from the checkpoint, and
/// would write over it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is there, but the logs in `train` and `valid` end with epoch {logged}; put the logs back, or begin a new \
     run from these weights with --load",
    checkpoint.display()
)]
pub(crate) struct LostLogs {
    checkpoint: PathBuf,
    logged: usize,
}

impl LostLogs {
    /// What is lost in the folder of a run, if anything is. The last epoch may have a checkpoint and no logs: a
    /// training may end between the two.
    pub(crate) fn of(folder: &Path, epochs: usize) -> Option<Self> {
        let logged = Epoch::read_all(folder, epochs).len();
        let mut later = (logged + 2..=epochs).map(|epoch| checkpoint(folder, MODEL, epoch));
        let checkpoint = later.find(|path| path.exists())?;
        Some(Self { checkpoint, logged })
    }
}

/// The last epoch that a training can continue from, or 0 if there is none. The folder must hold a complete
/// checkpoint of the epoch, and the logs of all epochs up to it. Prints which damaged checkpoints it passes
/// over.
pub(crate) fn last_checkpoint(folder: &Path, epochs: usize) -> usize {
    let damaged = |epoch: &usize| {
        let path = |part| checkpoint(folder, part, *epoch);
        let broken = |part, error: Option<RecordError>| Some((path(part), error?));
        broken(MODEL, ModuleRecord::load(path(MODEL)).err())
            .or_else(|| broken(OPTIMIZER, OptimizerRecord::load(path(OPTIMIZER)).err()))
            .or_else(|| broken(SCHEDULER, LrSchedulerRecord::load(path(SCHEDULER)).err()))
    };
    let begun = |epoch: &usize| checkpoint(folder, MODEL, *epoch).exists();
    let whole = |epoch: &usize| match damaged(epoch) {
        Some((path, error)) => {
            say!("passed over: {}: {error}", path.display());
            false
        }
        None => true,
    };
    let logged = Epoch::read_all(folder, epochs).len();
    let mut checkpoints = (1..=logged).rev().filter(begun);
    checkpoints.find(whole).unwrap_or(0)
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
    use burn::module::{ModuleVisitor, Param};
    use burn::nn::conv::Conv2dConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{AdamConfig, GradientsAccumulator, GradientsParams};
    use burn::tensor::activation::relu;
    use burn::tensor::{Device, Tensor};
    use burn::train::TrainStep;
    use linearconv::{Conv, ConvConfig};
    use tempfile::TempDir;

    use std::time::Duration;

    use super::*;
    use crate::backend::Parallel;
    use crate::data::{DatasetName, LoaderConfig};
    use crate::models::{NetworkConfig, NetworkName};
    use crate::train::{PruningSchedule, RecipeName};

    /// A network without batch normalization and without dropout, so that the gradient of a step is a sum
    /// over images.
    #[derive(Module, Debug)]
    struct Plain {
        first: Conv,
        second: Conv,
        head: Linear,
    }

    impl Plain {
        fn new(policy: &ConvConfig, device: &Device) -> Self {
            let conv = |channels| {
                let layer = Conv2dConfig::new(channels, [5, 5]).with_stride([2, 2]);
                policy.with_layer(layer).init(device)
            };
            Self {
                first: conv([1, 12]),
                second: conv([12, 16]),
                head: LinearConfig::new(16, 10).init(device),
            }
        }
    }

    impl Network for Plain {
        fn forward(&self, images: Tensor<4>) -> Tensor<2> {
            let maps = relu(self.first.forward(images));
            let maps = relu(self.second.forward(maps));
            self.head.forward(maps.mean_dims(&[2, 3]).flatten(1, 3))
        }
    }

    /// 20 steps: 19 batches of 16 digits and one of 12. With regularization on every third step, and pruning.
    fn short_recipe() -> Recipe {
        Recipe {
            epochs: 1,
            batch_size: 16,
            regularization_interval: 3,
            pruning: PruningSchedule::Ramp { interval: 3 },
            train_limit: Some(332),
            validation_share: 16.0 / 332.0,
            ..recipe(RecipeName::Fast)
        }
    }

    fn loaders(recipe: &Recipe, devices: usize) -> Loaders {
        let name = DatasetName::MnistMini;
        let config = LoaderConfig {
            batch_size: recipe.batch_size,
            validation_share: recipe.validation_share,
            train_limit: recipe.train_limit,
            test_limit: Some(1),
            seed: 5,
            first_epoch: 1,
            devices,
        };
        let dataset = name.load(None, false).expect("embedded");
        Loaders::new(name, dataset, &config, &Device::flex()).expect("enough")
    }

    /// Trains in a folder. The folder must exist as long as the result is used, because Burn reads the
    /// weights of a checkpoint only when they are needed.
    fn train<N: Network>(
        network: N,
        coefficients: Option<CoefficientsConfig>,
        devices: usize,
        folder: &TempDir,
    ) -> Trained<N> {
        let recipe = short_recipe();
        let session = Session {
            folder: folder.path(),
            recipe: &recipe,
            coefficients,
            finished_epochs: 0,
        };
        let workplace = Workplace {
            devices: vec![Device::flex(); devices],
            parallel: Parallel::Multi,
            reading_interval: Duration::from_secs(1),
        };
        let trained = session.train(network, None, &loaders(&recipe, devices), &workplace);
        trained.expect("trained")
    }

    /// The trainable values of a module, without running statistics.
    fn weights<M: Module>(module: &M) -> Vec<f32> {
        struct Collect(Vec<f32>);
        impl ModuleVisitor for Collect {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    let values = param.val().try_to_vec_as::<f32>();
                    self.0.extend(values.expect("values"));
                }
            }
        }
        let mut collect = Collect(Vec::new());
        module.visit(&mut collect);
        collect.0
    }

    #[track_caller]
    fn assert_close(ours: &[f32], theirs: &[f32], tolerance: f32, what: &str) {
        assert_eq!(ours.len(), theirs.len());
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() <= tolerance, "{what}, {index}: {a} and {b}");
        }
    }

    #[test]
    fn several_devices_train_as_one_with_the_same_batches() {
        let full = CoefficientsConfig::Full;
        let rank = CoefficientsConfig::RankRatio { ratio: 0.5 };
        let sparse = CoefficientsConfig::Sparse { sparsity: 0.5 };
        for coefficients in [None, Some(full), Some(rank), Some(sparse)] {
            let policy = coefficients.map_or(ConvConfig::dense(), ConvConfig::linear);
            let device = Device::flex().autodiff();
            let network = with_fixed_values(Plain::new(&policy, &device).train());
            let folder = || tempfile::tempdir().expect("a temporary folder");
            let folders = [folder(), folder(), folder()];
            let one = train(network.clone(), coefficients, 1, &folders[0]);
            for devices in [2, 3] {
                let folder = &folders[devices - 1];
                let several = train(network.clone(), coefficients, devices, folder);
                let what = format!("{coefficients:?}, {devices} devices");
                let losses = |trained: &Trained<Plain>| {
                    let epoch = &trained.epochs[0];
                    [epoch.train_loss, epoch.valid_loss].map(|loss| loss as f32)
                };
                assert_close(&losses(&several), &losses(&one), 1e-4, &what);
                let [ours, theirs] = [&several, &one]
                    .map(|trained| weights(&trained.classifier.network.clone().train()));
                assert_close(&ours, &theirs, 1e-4, &what);
                let [ours, theirs] = [&several, &one]
                    .map(|trained| linearconv::pruning::sparsity(&trained.classifier));
                assert_eq!(ours, theirs, "{what}");
                assert_eq!(ours > 0.0, coefficients == Some(sparse), "{what}");
                assert_eq!(
                    several.epochs[0].valid_accuracy,
                    one.epochs[0].valid_accuracy
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_written_is_named_and_what_was_good_stays() {
        for obstacle in [
            "train",
            "valid",
            "checkpoint",
            "checkpoint/partial",
            "checkpoint/model-2.bpk",
            "checkpoint/optim-2.bpk",
            "checkpoint/scheduler-2.bpk",
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join(obstacle);
            // Puts a file in the place of a folder, or a folder that is not empty in the place of a file.
            if obstacle.ends_with(".bpk") {
                std::fs::create_dir_all(path.join("full")).expect("created");
            } else {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
                std::fs::write(&path, "").expect("written");
            }
            let recipe = Recipe {
                epochs: 2,
                train_limit: Some(64),
                validation_share: 0.25,
                ..short_recipe()
            };
            let session = Session {
                folder: folder.path(),
                recipe: &recipe,
                coefficients: None,
                finished_epochs: 0,
            };
            let workplace = Workplace {
                devices: vec![Device::flex()],
                parallel: Parallel::Multi,
                reading_interval: Duration::ZERO,
            };
            let network = Plain::new(&ConvConfig::dense(), &Device::flex().autodiff());
            let trained = session.train(network.train(), None, &loaders(&recipe, 1), &workplace);
            let Err(error) = trained else {
                panic!("{obstacle} was in the way")
            };
            let (error, path) = (error.to_string(), path.display().to_string());
            assert!(error.contains(&path), "{obstacle}: {error}");
            let kept = obstacle.ends_with(".bpk");
            assert_eq!(
                last_checkpoint(folder.path(), 2),
                usize::from(kept),
                "{obstacle}"
            );
        }
    }

    /// Batch normalization sees only the images of its own device, as in PyTorch's data parallelism. So
    /// several devices are compared with one device that takes the parts of every batch one after another.
    #[test]
    fn several_devices_train_as_one_that_accumulates_their_gradients() {
        let coefficients = Some(CoefficientsConfig::Full);
        let config = NetworkConfig {
            conv: ConvConfig::linear(CoefficientsConfig::Full),
            channels: 1,
            classes: 10,
        };
        let device = Device::flex().autodiff();
        let network = NetworkName::Base.try_init(&config, &device).expect("valid");
        let network = with_fixed_values(network.train());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let several = train(network.valid().train(), coefficients, 2, &folder);

        let recipe = short_recipe();
        let loaders = loaders(&recipe, 2);
        let steps = loaders.steps_per_epoch;
        let mut one = Classifier::new(network, &recipe, coefficients, steps, 0).expect("valid");
        let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        let mut rates = learning_rates(&recipe, steps).expect("valid");
        let devices = vec![device.clone(); 2];
        let parts = burn::data::dataloader::split::split_dataloader(loaders.train, &devices);
        let mut parts: Vec<_> = parts.iter().map(|part| part.iter()).collect();
        for _ in 0..steps {
            let mut sum = GradientsAccumulator::new();
            for part in &mut parts {
                let batch = part.next().expect("a part").expect("a batch");
                let gradients: GradientsParams = TrainStep::step(&one, batch).grads;
                sum.accumulate(&one, gradients);
            }
            one = one.optimize(&mut optimizer, rates.step(), sum.grads());
        }
        let ours = weights(&several.classifier.network.train());
        assert_close(&ours, &weights(&one.network), 1e-4, "base");
    }

    #[test]
    fn several_devices_are_refused_what_burn_cannot_do() {
        for (flags, expected) in [
            ("--parallel ddp", "on cuda, not on flex"),
            (
                "--backend remote:ws://192.0.2.1:3000",
                "between two devices of a server",
            ),
        ] {
            let flags = format!("base --devices 2 {flags}");
            let args = <crate::cli::Args as clap::Parser>::try_parse_from(flags.split(' '));
            let Err(error) = args.expect("flags").training.workplace() else {
                panic!("{flags} is not refused")
            };
            let error = error.to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Fills a module with values of a generator of this test. Burn has one generator for all threads, so
    /// other tests would change its values.
    fn with_fixed_values<M: Module>(module: M) -> M {
        struct Fill(u64);
        impl burn::module::ModuleMapper for Fill {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if D < 2 {
                    return param;
                }
                self.0 += 1;
                let seed = self.0;
                param.map(|old| {
                    let shape = old.shape();
                    let scale = (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
                    let unit = |random: u64| (random >> 11) as f32 / (1u64 << 52) as f32 - 1.0;
                    let values = (0..shape.num_elements() as u64)
                        .map(|index| scale * unit(crate::data::split_mix(seed, index)));
                    let data = burn::tensor::TensorData::new(values.collect::<Vec<_>>(), shape);
                    let new = Tensor::from_data(data, &old.device());
                    new.set_require_grad(old.is_require_grad())
                })
            }
        }
        module.map(&mut Fill(0))
    }

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
