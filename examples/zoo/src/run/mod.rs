//! A run: it reads the data, builds the network, trains it, tests it and writes a report.

mod claim;
mod report;
mod settings;
mod used;

pub use report::{Cost, Report};
pub use settings::Settings;

pub(crate) use claim::Claim;
pub(crate) use report::FILE as REPORT;
pub(crate) use settings::State;
pub(crate) use used::load_for;
pub use used::used;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use linearconv::pruning::sparsity;

use crate::Error;
use crate::cli::{Args, TrainingArgs};
use crate::data::{LoaderConfig, Loaders};
use crate::files::write_json;
use crate::memory::keep_freed_memory;
use crate::models::{AnyNetwork, Costs, NetworkName, trainable_parameters};
use crate::output::{exit, say};
use crate::train::{LostLogs, Recipe, Session, accuracy, last_checkpoint, save_weights};
use crate::weights::Metadata;

/// The main function of a network's example. Reads the command line, then trains and tests the network, or
/// evaluates, predicts or exports.
pub fn run(network: NetworkName) -> ExitCode {
    keep_freed_memory();
    let args = Args::read(network);
    if !args.files.trains() {
        let mut text = String::new();
        let result = used(network, &args, &mut text);
        let printed = exit::<_, Error>(Ok(text));
        return match result {
            Ok(()) => printed,
            Err(error) => exit::<String, _>(Err(error)),
        };
    }
    let files = args.files.clone();
    exit(Run::new(network, args).and_then(|run| {
        files.check_export()?;
        let report = run.execute()?;
        if files.export.is_some() {
            let trained = run.folder().join(WEIGHTS);
            let loaded = load_for(network, &trained, report.dataset, &Device::flex())?;
            let metadata = loaded.metadata_of(network);
            files.write_export(loaded, metadata)?;
        }
        Ok(report)
    }))
}

/// The name of the file with the trained weights, in the folder of a run.
const WEIGHTS: &str = "model.bpk";

/// Trains and tests a network as the command line says.
///
/// # Errors
/// Every error that ends the run without a result; see [`Error`].
pub fn execute(network: NetworkName, args: Args) -> Result<Report, Error> {
    Run::new(network, args)?.execute()
}

/// A run and its folder.
pub struct Run {
    /// The settings of the run.
    pub settings: Settings,
    /// The number of epochs that are finished.
    pub finished_epochs: usize,
    /// The folder for its results.
    claim: Claim,
}

impl Run {
    /// The new run that the command line describes, or the run to resume. The run takes its folder.
    ///
    /// # Errors
    /// - [`Error::OutDirInUse`] if the folder holds another run.
    /// - [`Error::Resume`] if the run to resume cannot be continued.
    pub fn new(network: NetworkName, args: Args) -> Result<Self, Error> {
        if let Some(folder) = args.resume {
            return Self::resume(network, &folder, &args.training);
        }
        let settings = Settings::new(network, args.conv, args.files.load, args.training)?;
        let (variant, dataset) = (settings.variant(), settings.training.dataset);
        let name = format!("{network}-{variant}-{dataset}");
        let name = settings.training.with_seed(name);
        let out_dir = settings.training.out_dir.as_deref();
        let claim = Claim::new(out_dir, &name, |folder| settings.left_nothing(folder))?;
        Ok(Self {
            claim,
            settings,
            finished_epochs: 0,
        })
    }

    fn resume(network: NetworkName, folder: &Path, flags: &TrainingArgs) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Resume {
            path: folder.into(),
            reason,
        };
        let mut settings = Settings::read(folder).map_err(refuse)?;
        if settings.network != network {
            return Err(refuse(format!(
                "it trains {}, not {network}",
                settings.network
            )));
        }
        let claim = Claim::of_existing(folder)?;
        let training = &mut settings.training;
        training.backend = flags.backend.clone().or(training.backend.take());
        training.devices = flags.devices.or(training.devices);
        training.parallel = flags.parallel.or(training.parallel);
        let epochs = settings.recipe.epochs;
        if folder.join(report::FILE).exists() {
            return Err(refuse(format!(
                "all {epochs} epochs are done: {} is there",
                report::FILE
            )));
        }
        if let Some(lost) = LostLogs::of(folder, epochs) {
            return Err(refuse(lost.to_string()));
        }
        let last = last_checkpoint(folder, epochs);
        if last == 0 {
            say!("no epoch was finished: the run starts over");
        }
        Ok(Self {
            settings,
            claim,
            finished_epochs: last,
        })
    }

    /// The folder for the results.
    pub fn folder(&self) -> &Path {
        self.claim.path()
    }

    /// Writes the settings to the folder. A run with finished epochs has them there already.
    ///
    /// # Errors
    /// [`Error::Io`], which names the file.
    pub fn write_settings(&self) -> Result<(), Error> {
        if self.finished_epochs > 0 {
            return Ok(());
        }
        write_json(&self.folder().join(settings::FILE), &self.settings)
    }

    fn execute(&self) -> Result<Report, Error> {
        let settings = &self.settings;
        let (training, recipe) = (&settings.training, &settings.recipe);
        let workplace = training.workplace()?;
        let device = workplace.main();
        let loaders = load(training, recipe, self.finished_epochs, device)?;
        let conv = &settings.conv;
        let policy = conv.policy(settings.network).map_err(Error::Flags)?;
        let coefficients = conv.coefficients(settings.network).map_err(Error::Flags)?;
        let config = training.network_config(policy);
        device.seed(training.seed);
        // Parameters are lazy. They are initialized here, in the order of their declaration, so that the seed
        // decides them.
        let autodiff = device.clone().autodiff();
        let (network, coefficients) = match &settings.load {
            Some(file) => {
                let loaded = load_for(settings.network, file, training.dataset, &autodiff)?;
                let coefficients = loaded.coefficients();
                (loaded.network, coefficients)
            }
            None => (settings.network.try_init(&config, &autodiff)?, coefficients),
        };
        let network = network.train();
        let (cost, dense_cost) = self.cost(&network);
        if settings.load.is_none() && coefficients.is_some() && cost == dense_cost {
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
            variant: settings.variant(),
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
        let classes = training.dataset.classes();
        let metadata = Metadata::new(settings.network, classes, &report.variant)
            .with_test(training.dataset, test_accuracy);
        let file = self.folder().join(WEIGHTS);
        save_weights(&trained.classifier.network, &file, &metadata)?;
        report.write(self.folder())?;
        Ok(report)
    }

    /// The costs of the network and of its dense twin.
    fn cost(&self, network: &AnyNetwork) -> (Cost, Cost) {
        let channels = self.settings.training.dataset.channels();
        let costs = Costs::of(&network.valid(), channels);
        let cost = Cost {
            parameters: trainable_parameters(network),
            multiply_adds: costs.multiply_adds(self.settings.conv.evaluation.into()),
        };
        let dense_cost = Cost {
            parameters: cost.parameters - costs.parameters() + costs.dense_parameters(),
            multiply_adds: costs.dense_multiply_adds(),
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
        match &settings.load {
            Some(file) => say!("network       {} of {}", settings.network, file.display()),
            None => say!("network       {} {}", settings.network, settings.conv),
        }
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

/// Loads the data that the flags name. The first pass over the training images is the epoch after
/// `finished_epochs`.
///
/// # Errors
/// [`Error::Data`] if the data set cannot be read or split.
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
