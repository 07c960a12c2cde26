//! A whole run: data, network, training, test, report.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::{Device, Tensor};
use burn::train::checkpoint::{
    ComposedCheckpointingStrategy, KeepLastNCheckpoints, MetricCheckpointingStrategy,
};
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{ExecutionStrategy, Learner, LearningResult, SupervisedTraining};
use linearconv::pruning::sparsity;

use crate::Error;
use crate::cli::{Args, TrainingArgs};
use crate::data::{LoaderConfig, Loaders};
use crate::models::{
    AnyNetwork, IMAGE_SIDE, Network, NetworkConfig, NetworkName, trainable_parameters,
};
use crate::progress::{Lines, StepTimes};
use crate::recipe::{Recipe, Schedule};
use crate::report::{Cost, Epoch, Report};
use crate::settings::Run;
use crate::trace::trace;
use crate::training::Classifier;

/// The main function of a network's example: reads the command line, then trains and tests.
pub fn run(network: NetworkName) -> ExitCode {
    exit(execute(network, Args::read(network)))
}

/// Prints a result, or what went wrong, and says so to the operating system.
pub fn exit<T: std::fmt::Display>(result: Result<T, Error>) -> ExitCode {
    match result {
        Ok(result) => {
            print!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Trains and tests a network as the command line says.
///
/// # Errors
/// Whatever keeps the run from its result; see [`Error`].
pub fn execute(network: NetworkName, args: Args) -> Result<Report, Error> {
    Run::new(network, args)?.execute()
}

impl Run {
    fn execute(&self) -> Result<Report, Error> {
        let settings = &self.settings;
        let (training, recipe) = (&settings.training, &settings.recipe);
        let device = training.backend.device()?;
        let loaders = load(training, recipe, self.finished_epochs, &device)?;
        let config = NetworkConfig {
            conv: settings
                .conv
                .policy(settings.network)
                .map_err(Error::Recipe)?,
            channels: training.dataset.channels(),
            classes: training.dataset.classes(),
        };
        device.seed(training.seed);
        // Parameters are lazy: this draws them now, in the order of their declaration.
        let autodiff = device.clone().autodiff();
        let network = settings.network.try_init(&config, &autodiff)?.train();
        let (cost, dense_cost) = self.cost(&network, &device);
        self.print_settings(&loaders, cost, dense_cost);
        self.create_folder()?;

        let started = Instant::now();
        let trained = self.train(network, &loaders, &device)?;
        let test_accuracy = trained.classifier.accuracy(&loaders.test)?;
        let report = Report {
            network: settings.network,
            variant: settings.conv.slug(),
            dataset: training.dataset,
            recipe: recipe.clone(),
            seed: training.seed,
            cost,
            dense_cost,
            sparsity: sparsity(&trained.classifier),
            epochs: trained.epochs,
            best_epoch: trained.best_epoch,
            test_accuracy,
            test_images: loaders.test.num_items(),
            step_seconds: trained.step_seconds,
            seconds: started.elapsed().as_secs_f64(),
        };
        report.write(&self.folder)?;
        let model = self.folder.join("model.bpk");
        trained.classifier.network.save_file(model)?;
        Ok(report)
    }

    /// The cost of the network, and of its dense twin.
    fn cost(&self, network: &AnyNetwork, device: &Device) -> (Cost, Cost) {
        let channels = self.settings.training.dataset.channels();
        let image = Tensor::zeros([1, channels, IMAGE_SIDE, IMAGE_SIDE], device);
        let trace = trace(|| network.valid().forward(image));
        let cost = Cost {
            parameters: trainable_parameters(network),
            multiply_adds: trace.multiply_adds(self.settings.conv.evaluation.into()),
        };
        let dense_cost = Cost {
            parameters: cost.parameters - trace.parameters() + trace.dense_parameters(),
            multiply_adds: trace.dense_multiply_adds(),
        };
        (cost, dense_cost)
    }

    fn print_settings(&self, loaders: &Loaders, cost: Cost, dense: Cost) {
        let settings = &self.settings;
        let (training, recipe) = (&settings.training, &settings.recipe);
        let line = |name: &str, ours: usize, dense: usize| {
            let ratio = ours as f64 / dense as f64;
            println!("{name:<13} {ours} ({ratio:.2} of the dense twin's {dense})");
        };
        println!(
            "network       {} {}",
            settings.network,
            settings.conv.slug()
        );
        line("parameters", cost.parameters, dense.parameters);
        line("multiply-adds", cost.multiply_adds, dense.multiply_adds);
        println!(
            "data          {}: {} training, {} validation, {} test images",
            training.dataset,
            loaders.train.num_items(),
            loaders.valid.num_items(),
            loaders.test.num_items()
        );
        println!("recipe        {recipe}");
        println!("backend       {}, seed {}", training.backend, training.seed);
        println!("results       {}", self.folder.display());
        if self.finished_epochs > 0 {
            println!("resumed       after epoch {}", self.finished_epochs);
        }
    }

    fn train(
        &self,
        network: AnyNetwork,
        loaders: &Loaders,
        device: &Device,
    ) -> Result<Trained, Error> {
        let recipe = &self.settings.recipe;
        let steps_per_epoch = loaders.train.num_items().div_ceil(recipe.batch_size);
        let settings = &self.settings;
        let coefficients = settings.conv.coefficients(settings.network);
        let coefficients = coefficients.map_err(Error::Recipe)?;
        let classifier = Classifier::new(
            network,
            recipe,
            coefficients,
            steps_per_epoch,
            self.finished_epochs,
        )?;
        let schedule = learning_rates(recipe, steps_per_epoch).map_err(Error::Recipe)?;
        // PyTorch's epsilon, as in the reference; Burn's default is larger.
        let optimizer = AdamConfig::new().with_epsilon(1e-8).init();

        let times = StepTimes::default();
        let best = MetricCheckpointingStrategy::new(
            &AccuracyMetric::new(),
            Aggregate::Mean,
            Direction::Highest,
            Split::Valid,
        );
        let checkpoints = ComposedCheckpointingStrategy::builder()
            .add(KeepLastNCheckpoints::new(2))
            .add(best)
            .build();
        let (train, valid) = (loaders.train.clone(), loaders.valid.clone());
        let mut training = SupervisedTraining::new(&self.folder, train, valid)
            .metrics((AccuracyMetric::new(), LossMetric::new()))
            .with_default_checkpointers()
            .with_checkpointing_strategy(checkpoints)
            .with_application_logger(None)
            .with_progress_logger(times.clone())
            .with_training_strategy(ExecutionStrategy::single(device.clone()).into())
            .num_epochs(recipe.epochs);
        if self.finished_epochs > 0 {
            training = training.checkpoint(self.finished_epochs);
        }
        if !std::io::stdout().is_terminal() {
            training = training.renderer(Box::new(Lines::default()));
        }
        let result = training.launch(Learner::new(classifier, optimizer, schedule));
        self.select_best(result, times.median())
    }

    /// The weights of the epoch that did best on the validation images.
    fn select_best(
        &self,
        result: LearningResult<Classifier<AnyNetwork>>,
        step_seconds: f64,
    ) -> Result<Trained, Error> {
        // Burn's dashboard gives the terminal back when it is dropped.
        drop(result.renderer);
        if let Some(error) = result.error {
            return Err(Error::Training(error.to_string()));
        }
        if result.interrupted.is_some() {
            let folder = self.folder.display();
            let reason = format!("interrupted; `--resume {folder}` continues after the last epoch");
            return Err(Error::Training(reason));
        }
        let epochs = Epoch::read_all(&self.folder, self.settings.recipe.epochs);
        let kept = epochs
            .iter()
            .filter(|epoch| self.checkpoint(epoch.epoch).exists());
        let best = kept.max_by(|a, b| a.valid_accuracy.total_cmp(&b.valid_accuracy));
        let Some(best_epoch) = best.map(|epoch| epoch.epoch) else {
            let reason = "no epoch has left a checkpoint, so there are no weights to test";
            return Err(Error::Training(reason.into()));
        };
        let classifier = result
            .model
            .try_load_file(self.checkpoint(best_epoch))?
            .valid();
        Ok(Trained {
            classifier,
            epochs,
            best_epoch,
            step_seconds,
        })
    }
}

/// The data that the flags name, from the given epoch on.
///
/// # Errors
/// What keeps the data set from being read or split.
pub(crate) fn load(
    training: &TrainingArgs,
    recipe: &Recipe,
    finished_epochs: usize,
    device: &Device,
) -> Result<Loaders, Error> {
    let data_dir = training.data_dir.as_deref();
    let dataset = training.dataset.load(data_dir, training.download)?;
    let config = LoaderConfig {
        batch_size: recipe.batch_size,
        validation_share: recipe.validation_share,
        train_limit: recipe.train_limit,
        test_limit: training.test_limit,
        seed: training.seed,
        first_epoch: finished_epochs + 1,
    };
    Ok(Loaders::new(training.dataset, dataset, &config, device)?)
}

/// What comes out of training.
struct Trained {
    classifier: Classifier<AnyNetwork>,
    epochs: Vec<Epoch>,
    best_epoch: usize,
    step_seconds: f64,
}

/// The learning rate of every step.
pub(crate) fn learning_rates(
    recipe: &Recipe,
    steps_per_epoch: usize,
) -> Result<ModuleLrScheduler, String> {
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
