//! A trained network made smaller: compressed under a budget, fine-tuned, and dense again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::Module;
use clap::{Parser, ValueEnum};
use linearconv::{CoefficientsConfig, Compression, LinearConv, Plan, Search, Sensitivity, Verdict};
use serde::{Deserialize, Serialize};

use super::table::{Format, Table};
use crate::Error;
use crate::calibration::{calibrate, first_images, normalize_again};
use crate::cli::{
    Args, ConvArgs, FileArgs, TrainingArgs, check_needed, count_or_none, points, positive, share,
    share_below_1,
};
use crate::data::{DatasetName, Loaders};
use crate::files::{read_json, write_json};
use crate::memory::keep_freed_memory;
use crate::models::{AnyNetwork, Network, NetworkName, Variant, sizes, trainable_parameters};
use crate::output::say;
use crate::quantization::{quantize, scheme};
use crate::run::{Claim, REPORT, execute, load, load_for};
use crate::train::{Recipe, Session, Teacher, accuracy, save_weights};
use crate::weights::Metadata;
use crate::weights::export::make_dense;

/// Train a dense network, or load one, compress its convolutions under a budget, fine-tune it, make
/// it dense again, and test it at each stage.
#[derive(Parser, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct CompressArgs {
    /// The network.
    #[arg(long, value_enum, default_value = "vgg11")]
    pub network: NetworkName,

    /// The weights of a network of this kind in place of training one: burnpack, SafeTensors, or a
    /// checkpoint of PyTorch or of the reference implementation. Layers that are not dense become so.
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,

    /// Keep this share of the weights of the convolutions [default: 0.5].
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["error", "uniform"])]
    pub parameters: Option<f64>,

    /// Keep as few weights as possible with at most this relative error.
    #[arg(long, value_name = "ERROR", value_parser = share, conflicts_with = "uniform")]
    pub error: Option<f64>,

    /// Keep this share of primary filters in every layer that gets smaller, instead of a plan.
    #[arg(long, value_name = "RATIO", value_parser = share_below_1)]
    pub uniform: Option<f64>,

    /// With --uniform: the rank of every layer [default: full coefficients].
    #[arg(long, value_name = "R", value_parser = positive, requires = "uniform")]
    pub rank: Option<usize>,

    /// Keep this share of the multiply-adds of the convolutions.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["parameters", "error", "uniform"])]
    pub multiply_adds: Option<f64>,

    /// Search for the smallest network that answers at most so many points fewer of the validation
    /// images rightly, before it is fine-tuned.
    #[arg(long, value_name = "POINTS", value_parser = points, conflicts_with_all = ["error", "uniform"])]
    pub lose: Option<f64>,

    /// With --lose: keep in FILE which budgets were tried, and continue from those that it holds.
    #[arg(long, value_name = "FILE", requires = "lose")]
    pub search: Option<PathBuf>,

    /// With --uniform: the share of primary channels.
    #[arg(long, value_name = "RATIO", value_parser = share, default_value_t = 1.0, requires = "uniform")]
    pub channel_ratio: f64,

    /// Fit what the filters answer to training images, not the filters.
    #[arg(long)]
    pub data_aware: bool,

    /// Choose the sizes by how much the outputs for training images change when one layer is
    /// compressed alone, in place of the energy of the filters.
    #[arg(long)]
    pub measure: bool,

    /// Compress one layer after the other. Each is fitted to the outputs of the dense network, behind the
    /// layers that are compressed already: deep networks lose less.
    #[arg(long)]
    pub in_turn: bool,

    /// Training images for --data-aware, --measure and --in-turn.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 500)]
    pub calibration_images: usize,

    /// Estimate the statistics of normalization layers anew, from training images without labels,
    /// once the network is compressed.
    #[arg(long)]
    pub normalize: bool,

    /// What fine-tuning learns.
    #[arg(long, value_enum, default_value = "labels")]
    pub targets: Targets,

    /// Epochs of fine-tuning. The correlation loss takes part only if --correlation-weight is given, since
    /// the primary filters of a fit are independent already.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count_or_none)]
    pub fine_tune: usize,

    /// The highest learning rate of fine-tuning, as a share of that of training.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.1)]
    pub fine_tune_lr: f64,

    /// Round the weights of the compressed network to 8 bits, test it, and save it beside the one in
    /// 32 bits.
    #[arg(long)]
    pub int8: bool,

    /// How the dense network is trained, and on what the compressed one is fine-tuned.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// How the table is printed.
    #[command(flatten)]
    pub format: Format,
}

/// What a compressed network is fine-tuned on.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// The labels of the training images.
    Labels,
    /// The answers of the dense network, without labels.
    Dense,
}

/// What a compression leaves in `report.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompressReport {
    /// The network.
    pub network: NetworkName,
    /// The data set.
    pub dataset: DatasetName,
    /// What the order of the images and the augmentation were drawn from.
    pub seed: u64,
    /// Weights of all convolutions before.
    pub dense_weights: usize,
    /// Weights and coefficients of all convolutions after.
    pub weights: usize,
    /// The relative error of the plan.
    pub error: f64,
    /// How the compressed network was fine-tuned. With no epoch, the network was not.
    pub fine_tuning: Recipe,
    /// The network at each stage, in the order of the stages.
    pub stages: Vec<Stage>,
}

impl CompressReport {
    /// The accuracy at a stage, in percent.
    pub fn accuracy(&self, stage: &str) -> Option<f64> {
        let mut stages = self.stages.iter();
        Some(stages.find(|one| one.stage == stage)?.test_accuracy)
    }

    /// The last stage of the small network, before it is dense again.
    pub fn compressed(&self) -> Option<&Stage> {
        let mut stages = self.stages.iter();
        stages.rfind(|one| one.stage != MATERIALIZED)
    }
}

/// A network at a stage of its compression.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// What was done last.
    pub stage: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Correct answers among the test images, in percent.
    pub test_accuracy: f64,
    /// The time of the test, in seconds.
    pub seconds: f64,
}

const HEADER: [&str; 4] = [
    "stage",
    "trainable parameters",
    "test accuracy %",
    "s to test",
];

/// The last stage.
const MATERIALIZED: &str = "materialized";
/// The weights of the compressed network, and those in 8 bits.
const COMPRESSED: &str = "compressed.bpk";
const INT8: &str = "int8.bpk";

/// Goes through the stages, printing the plan on the way. The folder of results then has the dense
/// network's run in `dense`, the logs of fine-tuning in `fine-tuned`, the small network's weights in
/// `compressed.bpk` with the `plan.json` that it is built by, the same in 8 bits in `int8.bpk` if
/// asked for, the weights of the last stage in `model.bpk`, and a [`CompressReport`] in `report.json`.
///
/// # Errors
/// Whatever keeps a stage from its result; see [`Error`].
pub fn compress(args: &CompressArgs) -> Result<Table, Error> {
    keep_freed_memory();
    args.check()?;
    let training = &args.training;
    let recipe = training.recipe(args.network);
    let name = format!("{}-compressed-{}", args.network, training.dataset);
    let name = training.with_seed(name);
    if let Some(file) = &args.load {
        let found = std::fs::File::open(file);
        found.map_err(|source| Error::Io {
            path: file.clone(),
            source,
        })?;
    }
    let workplace = training.workplace()?;
    let device = workplace.main().clone();
    let scheme = args.int8.then(|| scheme(&device)).transpose()?;
    let claim = Claim::new(training.out_dir.as_deref(), &name, |_| false)?;
    let folder = claim.path();
    let loaders = load(training, &recipe, 0, &device)?;
    let mut stages = Vec::new();
    let mut stage = |name: &str, network: &AnyNetwork, tested: AnyNetwork| -> Result<f64, Error> {
        let started = Instant::now();
        let accuracy = accuracy(&tested, loaders.test.as_ref())?;
        let seconds = started.elapsed().as_secs_f64();
        let parameters = trainable_parameters(network);
        say!("{name}: {parameters} parameters, {accuracy:.2} %");
        stages.push(Stage {
            stage: name.into(),
            parameters,
            test_accuracy: accuracy,
            seconds,
        });
        Ok(accuracy)
    };

    let dense = match &args.load {
        Some(file) => file.clone(),
        None => train_dense(args, folder.join("dense"))?,
    };
    let autodiff = device.clone().autodiff();
    let mut network = load_for(args.network, &dense, training.dataset, &autodiff)?.network;
    make_dense(&mut network);
    let network = network.train();
    stage("dense", &network, network.valid())?;

    let again = |error| with_way_on(error, &dense);
    let plan = plan(args, &network, &loaders).map_err(again)?;
    say!("{plan}");
    let teacher = (args.targets == Targets::Dense).then(|| Teacher::new(network.valid()));
    let mut network = if args.in_turn {
        let images = first_images(loaders.calibration.as_ref(), args.calibration_images)?;
        plan.apply_in_turn(network, |network: &AnyNetwork| {
            network.valid().forward(images.clone());
        })?
    } else {
        plan.apply(network)?
    };
    let mut accuracy = stage("compressed", &network, network.valid())?;
    if args.normalize {
        network = normalize_again(network, loaders.calibration.as_ref())?;
        accuracy = stage("normalized", &network, network.valid())?;
    }

    let tuning = Recipe {
        epochs: args.fine_tune,
        learning_rate: recipe.learning_rate * args.fine_tune_lr,
        correlation_weight: training.correlation_weight.unwrap_or(0.0),
        ..recipe.clone()
    };
    let network = if tuning.epochs > 0 {
        let session = Session {
            folder: &folder.join("fine-tuned"),
            recipe: &tuning,
            // Of any kind but sparse ones, so that a correlation loss is possible, but not pruning.
            coefficients: Some(CoefficientsConfig::Full),
            finished_epochs: 0,
        };
        let trained = session
            .train(network, teacher, &loaders, &workplace)
            .map_err(again)?;
        let network = trained.classifier.network.train();
        accuracy = stage("fine-tuned", &network, network.valid())?;
        network
    } else {
        network
    };

    let compressed = folder.join(COMPRESSED);
    let dataset = training.dataset;
    let about = |variant: &str| Metadata::new(args.network, dataset.classes(), variant);
    let planned = about("compressed")
        .with_plan(&plan)
        .map_err(|error| Error::Training(format!("the plan cannot be written: {error}")))?;
    let metadata = planned.clone().with_test(dataset, accuracy);
    save_weights(&network.valid(), &compressed, &metadata)?;
    write_json(&folder.join("plan.json"), &plan)?;
    if let Some(scheme) = scheme {
        let quantized = quantize(network.valid(), scheme);
        let accuracy = stage("int8", &network, quantized.clone())?;
        let int8 = folder.join(INT8);
        save_weights(&quantized, &int8, &planned.with_test(dataset, accuracy))?;
        let (all, less) = (size(&compressed)?, size(&int8)?);
        say!("{COMPRESSED}: {all} bytes, {INT8}: {less} bytes");
    }

    let network = network.materialize();
    let accuracy = stage(MATERIALIZED, &network, network.valid())?;
    let metadata = about("dense").with_test(dataset, accuracy);
    save_weights(&network.valid(), &folder.join("model.bpk"), &metadata)?;
    let table = table(args.format, &stages);
    let report = CompressReport {
        network: args.network,
        dataset,
        seed: training.seed,
        dense_weights: plan.dense_parameters(),
        weights: plan.parameters(),
        error: plan.error(),
        fine_tuning: tuning,
        stages,
    };
    write_json(&folder.join(REPORT), &report)?;
    Ok(table)
}

/// The stages, one to a row.
fn table(format: Format, stages: &[Stage]) -> Table {
    let mut table = Table::new(format, 1, &HEADER);
    for stage in stages {
        table.row(vec![
            stage.stage.clone(),
            stage.parameters.to_string(),
            format!("{:.2}", stage.test_accuracy),
            format!("{:.2}", stage.seconds),
        ]);
    }
    table
}

/// The bytes of a file.
fn size(path: &Path) -> Result<u64, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })?;
    Ok(metadata.len())
}

/// The weights of a run of the dense network.
fn train_dense(args: &CompressArgs, folder: PathBuf) -> Result<PathBuf, Error> {
    let run = Args {
        conv: ConvArgs::new(Variant::Dense),
        training: TrainingArgs {
            out_dir: Some(folder.clone()),
            ..args.training.clone()
        },
        files: FileArgs::default(),
        resume: None,
    };
    say!("{}", execute(args.network, run)?);
    Ok(folder.join("model.bpk"))
}

/// An error after the dense network was trained, and how to keep it.
fn with_way_on(error: Error, dense: &Path) -> Error {
    let dense = dense.display();
    Error::Training(format!(
        "{error}; `--load {dense}` and another --out-dir start again from the dense network"
    ))
}

/// The plan that the flags ask for.
fn plan(args: &CompressArgs, network: &AnyNetwork, loaders: &Loaders) -> Result<Plan, Error> {
    let compression = match (args.uniform, args.error, args.multiply_adds) {
        (Some(ratio), ..) => {
            let coefficients = match args.rank {
                Some(rank) => CoefficientsConfig::LowRank { rank },
                None => CoefficientsConfig::Full,
            };
            let policy = LinearConv::new(coefficients).with_primary_ratio(ratio);
            Compression::like(policy.with_channel_ratio(args.channel_ratio))
        }
        (None, Some(error), _) => Compression::to_error(error),
        (None, None, Some(share)) => Compression::to_multiply_adds(share),
        (None, None, None) => Compression::to_parameters(args.share_of_parameters()),
    };
    let dense = network.valid();
    let batches = loaders.calibration.as_ref();
    let compression = compression.with_calibration(if args.data_aware {
        calibrate(&dense, batches, args.calibration_images)?
    } else {
        sizes(&dense, args.training.dataset.channels())
    });
    let compression = if args.measure {
        let images = first_images(batches, args.calibration_images)?;
        let mut sensitivity = Sensitivity::default();
        let outputs = |network: &AnyNetwork| network.forward(images.clone());
        compression.measure(&dense, &mut sensitivity, outputs, |_| {})?;
        say!("{}", sensitivity.to_string().trim_end());
        compression.with_sensitivity(sensitivity)
    } else {
        compression
    };
    let plan = match args.lose {
        Some(points) => smallest(args, &compression, &dense, loaders, points)?,
        None => compression.plan(network)?,
    };
    if args.uniform.is_some() && plan.choices().is_empty() {
        let reason = "--uniform and --rank leave every convolution dense; choose a lower rank";
        return Err(Error::Flags(reason.into()));
    }
    Ok(plan)
}

impl CompressArgs {
    /// Checks what clap does not check.
    ///
    /// # Errors
    /// [`Error::Flags`], which names the flags.
    fn check(&self) -> Result<(), Error> {
        let (uniform, lose) = (self.uniform.is_some(), self.lose.is_some());
        check_needed([
            ("--rank", self.rank.is_some(), "--uniform", uniform),
            (
                "--channel-ratio",
                self.channel_ratio != 1.0,
                "--uniform",
                uniform,
            ),
            ("--search", self.search.is_some(), "--lose", lose),
        ])
        .map_err(Error::Flags)
    }

    /// The share of the weights to keep, where no other budget is given.
    fn share_of_parameters(&self) -> f64 {
        self.parameters.unwrap_or(0.5)
    }

    /// What a search depends on, apart from the content of the file of weights.
    fn question(&self, points: f64) -> String {
        let budget = match self.multiply_adds {
            Some(share) => format!("multiply-adds {share}"),
            None => format!("parameters {}", self.share_of_parameters()),
        };
        let training = &self.training;
        let recipe = training.recipe(self.network);
        let weights = match &self.load {
            Some(file) => file.display().to_string(),
            None => recipe.to_string(),
        };
        let images = recipe
            .train_limit
            .map_or("all".into(), |limit| limit.to_string());
        // The seed and the limit decide which images are for validation.
        format!(
            "{} on {} ({weights}), seed {}, {images} images, {budget}, lose {points}, data-aware {}, measure {}, \
             calibration images {}",
            self.network,
            training.dataset,
            training.seed,
            self.data_aware,
            self.measure,
            self.calibration_images
        )
    }
}

/// The trials of a search in a file, and the question that they answer.
#[derive(Serialize, Deserialize)]
struct SearchFile {
    #[serde(default)]
    question: String,
    #[serde(flatten)]
    search: Search,
}

/// The smallest plan that loses at most so many points on the validation images.
fn smallest(
    args: &CompressArgs,
    compression: &Compression,
    dense: &AnyNetwork,
    loaders: &Loaders,
    points: f64,
) -> Result<Plan, Error> {
    let file = args.search.as_deref();
    let question = args.question(points);
    let mut search = match file.filter(|file| file.exists()) {
        Some(file) => {
            let SearchFile {
                question: found,
                search,
            } = read_json(file)?;
            if found != question {
                let file = file.display();
                return Err(Error::Flags(format!(
                    "--search {file}: its trials are of another search; give another file\n\
                     it has  {found}\nasked   {question}"
                )));
            }
            search
        }
        None => Search::default(),
    };
    let images = loaders.valid.as_ref();
    let least = accuracy(dense, images)? - points;
    let mut failed = None;
    let plan = compression.smallest(
        dense,
        &mut search,
        |network, _| {
            let measured = accuracy(network, images);
            let measured = measured.unwrap_or_else(|error| {
                failed = Some(error);
                f64::NAN
            });
            Verdict::at_least(measured, least)
        },
        |search| {
            if let Some(last) = search.trials().last() {
                say!("{last}");
            }
            let kept = |file| {
                let (question, search) = (question.clone(), search.clone());
                write_json(file, &SearchFile { question, search })
            };
            if let Some(Err(error)) = file.map(kept) {
                say!("{error}");
            }
        },
    );
    match failed {
        Some(error) => Err(error),
        None => Ok(plan?),
    }
}
