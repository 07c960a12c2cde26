//! A whole run: data, network, training, test, report.

use std::process::ExitCode;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use linearconv::pruning::sparsity;

use crate::Error;
use crate::cli::{Args, TrainingArgs};
use crate::data::{LoaderConfig, Loaders};
use crate::models::{AnyNetwork, IMAGE_SIDE, Network, NetworkName, trainable_parameters};
use crate::output::{exit, say};
use crate::recipe::Recipe;
use crate::report::{Cost, Report};
use crate::saving::save_weights;
use crate::session::{Session, Workplace};
use crate::settings::Run;
use crate::trace::trace;
use crate::training::accuracy;

/// The main function of a network's example: reads the command line, then trains and tests.
pub fn run(network: NetworkName) -> ExitCode {
    exit(execute(network, Args::read(network)))
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
        let workplace = Workplace::new(training)?;
        let device = workplace.main();
        let loaders = load(training, recipe, self.finished_epochs, device)?;
        let conv = &settings.conv;
        let policy = conv.policy(settings.network).map_err(Error::Flags)?;
        let coefficients = conv.coefficients(settings.network).map_err(Error::Flags)?;
        let config = training.network_config(policy);
        device.seed(training.seed);
        // Parameters are lazy: this draws them now, in the order of their declaration.
        let autodiff = device.clone().autodiff();
        let network = settings.network.try_init(&config, &autodiff)?.train();
        let (cost, dense_cost) = self.cost(&network, device);
        if coefficients.is_some() && cost == dense_cost {
            let reason = format!(
                "{} leaves every convolution of {} dense; choose a lower rank, or see why \
                 with --layers all",
                conv.slug(),
                settings.network
            );
            return Err(Error::Flags(reason));
        }
        self.print_settings(&loaders, cost, dense_cost);
        self.write_settings()?;

        let started = Instant::now();
        let session = Session {
            folder: self.folder(),
            recipe,
            coefficients,
            finished_epochs: self.finished_epochs,
        };
        let trained = session.train(network, None, &loaders, &workplace);
        let trained = trained.map_err(|error| match error {
            Error::Interrupted => {
                let folder = self.folder().display();
                let way_on = format!("`--resume {folder}` continues after the last epoch");
                Error::Training(format!("interrupted; {way_on}"))
            }
            error => error,
        })?;
        let test_accuracy = accuracy(&trained.classifier.network, loaders.test.as_ref())?;
        let report = Report {
            network: settings.network,
            variant: settings.conv.slug(),
            layers: settings.conv.layers,
            evaluation: settings.conv.evaluation,
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
            reads_per_step: trained.reads_per_step,
            seconds: started.elapsed().as_secs_f64(),
        };
        save_weights(trained.classifier.network, &self.folder().join("model.bpk"))?;
        report.write(self.folder())?;
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
        let line = |name: &str, ours: u64, dense: u64| {
            let ratio = ours as f64 / dense as f64;
            say!("{name:<13} {ours} ({ratio:.2} of the dense twin's {dense})");
        };
        say!("network       {} {}", settings.network, settings.conv);
        line(
            "parameters",
            cost.parameters as u64,
            dense.parameters as u64,
        );
        line("multiply-adds", cost.multiply_adds, dense.multiply_adds);
        say!(
            "data          {}: {} training, {} validation, {} test images",
            training.dataset,
            loaders.train.num_items(),
            loaders.valid.num_items(),
            loaders.test.num_items()
        );
        say!("recipe        {recipe}");
        let devices = match training.device_count() {
            1 => String::new(),
            count => format!(" and on, {count} devices"),
        };
        let name = training.device_name();
        say!("backend       {name}{devices}, seed {}", training.seed);
        say!("results       {}", self.folder().display());
        if self.finished_epochs > 0 {
            say!("resumed       after epoch {}", self.finished_epochs);
        }
    }
}

/// The data that the flags name, from the given epoch on.
///
/// # Errors
/// What keeps the data set from being read or split.
pub fn load(
    training: &TrainingArgs,
    recipe: &Recipe,
    finished_epochs: usize,
    device: &Device,
) -> Result<Loaders, Error> {
    let data_dir = training.data_dir.as_deref();
    let dataset = match training.partial {
        true => training.dataset.load_partial(data_dir),
        false => training.dataset.load(data_dir, training.download),
    }?;
    let config = LoaderConfig {
        batch_size: recipe.batch_size,
        validation_share: recipe.validation_share,
        train_limit: recipe.train_limit,
        test_limit: training.test_limit,
        seed: training.seed,
        first_epoch: finished_epochs + 1,
        devices: training.device_count(),
    };
    Ok(Loaders::new(training.dataset, dataset, &config, device)?)
}
