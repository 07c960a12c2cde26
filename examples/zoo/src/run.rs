//! A whole run: data, network, training, test, report.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::{Device, Tensor};
use burn::train::checkpoint::{
    ComposedCheckpointingStrategy, KeepLastNCheckpoints, MetricCheckpointingStrategy,
};
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{ExecutionStrategy, Learner, LearningResult, SupervisedTraining};
use linearconv::CoefficientsConfig;
use linearconv::pruning::{CubicRamp, sparsity};

use crate::Error;
use crate::cli::Args;
use crate::data::Loaders;
use crate::models::{Network, NetworkConfig, trainable_parameters};
use crate::progress::{Lines, StepTimes};
use crate::recipe::Recipe;
use crate::report::{Cost, Epoch, Report, write_json};
use crate::trace::trace;
use crate::training::{Classifier, Pruning, Regularization};

/// The side of the images that every network takes.
const IMAGE_SIDE: usize = 32;

/// The main function of an example: reads the command line, then trains and tests the network
/// that `init` builds.
pub fn run<N: Network>(
    network: &'static str,
    recipe: Recipe,
    init: impl Fn(&NetworkConfig, &Device) -> Result<N, linearconv::Error>,
) -> ExitCode {
    match execute(network, recipe, Args::read(network), init) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Trains and tests the network that `init` builds, as the command line says.
///
/// # Errors
/// Whatever keeps the run from its result; see [`Error`].
pub fn execute<N: Network>(
    network: &str,
    recipe: Recipe,
    args: Args,
    init: impl Fn(&NetworkConfig, &Device) -> Result<N, linearconv::Error>,
) -> Result<Report, Error> {
    let run = Run {
        network,
        recipe: args.recipe(recipe),
        args,
    };
    run.execute(init)
}

struct Run<'a> {
    network: &'a str,
    recipe: Recipe,
    args: Args,
}

impl Run<'_> {
    fn execute<N: Network>(
        &self,
        init: impl Fn(&NetworkConfig, &Device) -> Result<N, linearconv::Error>,
    ) -> Result<Report, Error> {
        let args = &self.args;
        let device = args.backend.device()?;
        let loaders = Loaders::new(args, &self.recipe, &device)?;
        let config = NetworkConfig {
            conv: args.conv().map_err(Error::Recipe)?,
            channels: args.dataset.channels(),
            classes: args.dataset.classes(),
        };
        device.seed(args.seed);
        // Parameters are lazy: this draws them now, in the order of their declaration.
        let network = init(&config, &device.clone().autodiff())?.train();
        let (cost, dense_cost) = self.cost(&network, &device);
        self.print_settings(&loaders, cost, dense_cost);

        let folder = self.create_folder()?;
        println!("results       {}", folder.display());
        write_json(&folder.join("config.json"), &(args, &self.recipe))?;

        let started = Instant::now();
        let trained = self.train(network, &loaders, &folder, &device)?;
        let test_accuracy = trained.network.accuracy(&loaders.test)?;
        let report = Report {
            network: self.network.into(),
            variant: args.slug(),
            dataset: args.dataset,
            recipe: self.recipe.clone(),
            seed: args.seed,
            cost,
            dense_cost,
            sparsity: sparsity(&trained.network),
            epochs: trained.epochs,
            best_epoch: trained.best_epoch,
            test_accuracy,
            test_images: loaders.test.num_items(),
            step_seconds: trained.step_seconds,
            seconds: started.elapsed().as_secs_f64(),
        };
        report.write(&folder)?;
        trained
            .network
            .network
            .save_file(folder.join("model.bpk"))?;
        Ok(report)
    }

    /// The cost of the network, and of its dense twin.
    fn cost<N: Network>(&self, network: &N, device: &Device) -> (Cost, Cost) {
        let shape = [1, self.args.dataset.channels(), IMAGE_SIDE, IMAGE_SIDE];
        let trace = trace(|| network.valid().forward(Tensor::zeros(shape, device)));
        let cost = Cost {
            parameters: trainable_parameters(network),
            multiply_adds: trace.multiply_adds(self.args.evaluation.into()),
        };
        let dense_cost = Cost {
            parameters: cost.parameters - trace.parameters() + trace.dense_parameters(),
            multiply_adds: trace.dense_multiply_adds(),
        };
        (cost, dense_cost)
    }

    fn print_settings(&self, loaders: &Loaders, cost: Cost, dense: Cost) {
        let (args, recipe) = (&self.args, &self.recipe);
        let line = |name: &str, ours: usize, dense: usize| {
            let ratio = ours as f64 / dense as f64;
            println!("{name:<13} {ours} ({ratio:.2} of the dense twin's {dense})");
        };
        println!("network       {} {}", self.network, args.slug());
        line("parameters", cost.parameters, dense.parameters);
        line("multiply-adds", cost.multiply_adds, dense.multiply_adds);
        println!(
            "data          {}: {} training, {} validation, {} test images",
            args.dataset,
            loaders.train.num_items(),
            loaders.valid.num_items(),
            loaders.test.num_items()
        );
        println!(
            "recipe        {} epochs in batches of {}, Adam from {} along a cosine, \
             correlation weight {}",
            recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.correlation_weight
        );
        println!("backend       {}, seed {}", args.backend, args.seed);
    }

    /// The folder for results: the one given, which must be new or empty, or a new one.
    fn create_folder(&self) -> Result<PathBuf, Error> {
        let in_use = |path: &Path| fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
        let path = match &self.args.out_dir {
            Some(path) if in_use(path) => return Err(Error::OutDirInUse { path: path.clone() }),
            Some(path) => path.clone(),
            None => {
                let name = format!(
                    "{}-{}-{}",
                    self.network,
                    self.args.slug(),
                    self.args.dataset
                );
                let numbered = (2..).map(|number| format!("{name}-{number}"));
                let mut names = std::iter::once(name.clone()).chain(numbered);
                let free = names.find(|name| !Path::new("runs").join(name).exists());
                Path::new("runs").join(free.unwrap_or(name))
            }
        };
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn train<N: Network>(
        &self,
        network: N,
        loaders: &Loaders,
        folder: &Path,
        device: &Device,
    ) -> Result<Trained<N>, Error> {
        let recipe = &self.recipe;
        let steps = recipe.epochs * loaders.train.num_items().div_ceil(recipe.batch_size);
        let learning_rate = CosineAnnealingLrSchedulerConfig::new(recipe.learning_rate, steps)
            .init()
            .map_err(Error::Recipe)?;
        // PyTorch's epsilon, as in the reference; Burn's default is larger.
        let optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        let (regularization, pruning) = self.extras(steps)?;
        let classifier = Classifier::new(network, regularization, pruning);

        let times = StepTimes::default();
        let best = MetricCheckpointingStrategy::new(
            &AccuracyMetric::new(),
            Aggregate::Mean,
            Direction::Highest,
            Split::Valid,
        );
        let mut training =
            SupervisedTraining::new(folder, loaders.train.clone(), loaders.valid.clone())
                .metrics((AccuracyMetric::new(), LossMetric::new()))
                .with_default_checkpointers()
                .with_checkpointing_strategy(
                    ComposedCheckpointingStrategy::builder()
                        .add(KeepLastNCheckpoints::new(1))
                        .add(best)
                        .build(),
                )
                .with_application_logger(None)
                .with_progress_logger(times.clone())
                .with_training_strategy(ExecutionStrategy::single(device.clone()).into())
                .num_epochs(recipe.epochs);
        if !std::io::stdout().is_terminal() {
            training = training.renderer(Box::new(Lines::default()));
        }
        let result = training.launch(Learner::new(classifier, optimizer, learning_rate));
        self.select_best(result, folder, times.median())
    }

    /// What a variant adds to the cross-entropy and to the optimizer's step.
    fn extras(&self, steps: usize) -> Result<(Regularization, Option<Pruning>), Error> {
        let recipe = &self.recipe;
        let coefficients = self.args.coefficients().map_err(Error::Recipe)?;
        let mut regularization = Regularization {
            correlation_weight: recipe.correlation_weight,
            coefficient_l1_weight: 0.0,
            interval: recipe.regularization_interval,
        };
        let mut pruning = None;
        match coefficients {
            None => regularization.correlation_weight = 0.0,
            Some(CoefficientsConfig::Sparse { sparsity }) => {
                regularization.coefficient_l1_weight = recipe.coefficient_l1_weight;
                // The middle half of the run: first learn which coefficients matter, at the end
                // learn without the others.
                let (begin, end) = (steps / 4, (steps * 3 / 4).max(steps / 4 + 1));
                pruning = Some(Pruning {
                    ramp: CubicRamp::new(sparsity, begin, end)?,
                    interval: recipe.pruning_interval,
                });
            }
            Some(_) => {}
        }
        Ok((regularization, pruning))
    }

    /// The weights of the epoch that did best on the validation images.
    fn select_best<N: Network>(
        &self,
        result: LearningResult<Classifier<N>>,
        folder: &Path,
        step_seconds: f64,
    ) -> Result<Trained<N>, Error> {
        // Burn's dashboard gives the terminal back when it is dropped.
        drop(result.renderer);
        if let Some(error) = result.error {
            return Err(Error::Training(error.to_string()));
        }
        let epochs = Epoch::read_all(folder, self.recipe.epochs);
        let checkpoint = |epoch: usize| folder.join(format!("checkpoint/model-{epoch}.bpk"));
        let kept = epochs
            .iter()
            .filter(|epoch| checkpoint(epoch.epoch).exists());
        let best = kept.max_by(|a, b| a.valid_accuracy.total_cmp(&b.valid_accuracy));
        let Some(best_epoch) = best.map(|epoch| epoch.epoch) else {
            let reason = "no epoch was finished, so there are no weights to test";
            return Err(Error::Training(reason.into()));
        };
        let network = if best_epoch == self.recipe.epochs {
            result.model
        } else {
            result.model.try_load_file(checkpoint(best_epoch))?.valid()
        };
        Ok(Trained {
            network,
            epochs,
            best_epoch,
            step_seconds,
        })
    }
}

/// What comes out of training.
struct Trained<N: Network> {
    network: Classifier<N>,
    epochs: Vec<Epoch>,
    best_epoch: usize,
    step_seconds: f64,
}
