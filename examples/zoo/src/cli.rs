//! The command line that every network shares.

use std::fmt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use linearconv::{CoefficientsConfig, ConvConfig, Evaluation, LinearConv2dConfig};
use serde::{Deserialize, Serialize};

use crate::backend::{DeviceName, DeviceNameParser};
use crate::data::DatasetName;
use crate::models::{NetworkConfig, NetworkName};
use crate::recipe::{Recipe, RecipeName};
use crate::value_name::value_name;

/// Train a network with LinearConv, or dense, and test it.
#[derive(Parser, Clone, Debug, Serialize, Deserialize)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// What the convolutions are.
    #[command(flatten)]
    pub conv: ConvArgs,

    /// How the network is trained, and on what.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// Continue the run whose results are in DIR from its last whole checkpoint, with its settings, or
    /// start it over where no epoch was finished; on other devices where --backend, --devices or
    /// --parallel says so. On as many threads the result is that of a run without interruption. It has
    /// the epochs that it was planned for: its learning rate falls to nothing by their end, so a longer
    /// training is a new run.
    #[arg(long, value_name = "DIR", conflicts_with_all = SETTINGS)]
    pub resume: Option<PathBuf>,
}

/// The flags that a run keeps: what it resumes has them already.
const SETTINGS: [&str; 19] = [
    "variant",
    "rank",
    "sparsity",
    "channel_ratio",
    "layers",
    "evaluation",
    "dataset",
    "data_dir",
    "download",
    "partial",
    "recipe",
    "epochs",
    "batch_size",
    "lr",
    "correlation_weight",
    "seed",
    "train_limit",
    "test_limit",
    "out_dir",
];

/// What the convolutions are.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub struct ConvArgs {
    /// What the convolutions are.
    #[arg(long, value_enum, default_value = "full")]
    pub variant: Variant,

    /// With `rank`: the rank as a share of the primary filters, where 1 is the full matrix
    /// [default: 1]. With `low-rank`: the rank of every layer [default: 10,
    /// but 8 for squeezenet, whose narrowest layers allow no more].
    #[arg(long, value_name = "R")]
    pub rank: Option<f64>,

    /// With `sparse`: the share of coefficients to prune [default: 0.25].
    #[arg(long, value_name = "S")]
    pub sparsity: Option<f64>,

    /// The share of primary channels of LinearConv layers; the other input channels are combined
    /// with them [default: 1, as in the paper].
    #[arg(long, value_name = "C", value_parser = share)]
    pub channel_ratio: Option<f64>,

    /// Which convolutions are LinearConv layers.
    #[arg(long, value_enum, default_value = "auto")]
    pub layers: Layers,

    /// How LinearConv layers compute their output.
    #[arg(long, value_enum, default_value = "auto")]
    pub evaluation: EvaluationArg,
}

/// How a network is trained, and on what.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub struct TrainingArgs {
    /// The data set.
    #[arg(long, value_enum, default_value = "mnist-mini")]
    pub dataset: DatasetName,

    /// Where the files of a data set that is not embedded are.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Fetch the files of the data set that are missing from --data-dir, which then defaults to
    /// data/DATASET.
    #[arg(long)]
    pub download: bool,

    /// Train on what there is of a data set, also where files are missing or hold fewer images than are
    /// published.
    #[arg(long, conflicts_with = "download")]
    #[serde(default)]
    pub partial: bool,

    /// Where to compute: flex, ndarray, wgpu, cuda, a device by its number as in wgpu:1, or
    /// remote:ws://HOST:PORT; `list` prints what is there [default: flex].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser)]
    pub backend: Option<DeviceName>,

    /// Train on N devices at once, from that of --backend on; each has its share of every batch
    /// [default: 1].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub devices: Option<usize>,

    /// How several devices train together [default: multi].
    #[arg(long, value_enum)]
    pub parallel: Option<Parallel>,

    /// Where the settings come from that no flag gives.
    #[arg(long, value_enum, default_value = "fast")]
    pub recipe: RecipeName,

    /// Passes over the training images [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,

    /// Images in a batch [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,

    /// The highest learning rate [default: the recipe's].
    #[arg(long, value_name = "RATE", value_parser = share)]
    pub lr: Option<f64>,

    /// The weight of the correlation loss [default: the recipe's].
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub correlation_weight: Option<f64>,

    /// What initial weights, the order of images and their augmentation are drawn from. On a CPU, sums
    /// are made in an order that the number of threads decides: only as many give the same digits.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Use N training images, drawn by the seed, validation included [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub train_limit: Option<usize>,

    /// Use the first N test images.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub test_limit: Option<usize>,

    /// Where results go [default: a new folder under `runs`].
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
}

/// How several devices train together.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parallel {
    /// The first device adds up the gradients of all and makes the step.
    Multi,
    /// Every device makes the step, with gradients that all have reduced; needs cuda.
    Ddp,
}

impl TrainingArgs {
    /// Where to compute.
    pub fn device_name(&self) -> DeviceName {
        self.backend.clone().unwrap_or_default()
    }

    /// How many devices train.
    pub fn device_count(&self) -> usize {
        self.devices.unwrap_or(1)
    }

    /// A name of results, with the seed where that is not the usual one.
    pub(crate) fn with_seed(&self, name: String) -> String {
        match self.seed {
            0 => name,
            seed => format!("{name}-seed-{seed}"),
        }
    }

    /// The network for the data set, with convolutions of this kind.
    pub fn network_config(&self, conv: ConvConfig) -> NetworkConfig {
        NetworkConfig {
            conv,
            channels: self.dataset.channels(),
            classes: self.dataset.classes(),
        }
    }

    /// The recipe that the flags name, changed by those that change one.
    pub fn recipe(&self, network: NetworkName) -> Recipe {
        let recipe = Recipe::new(self.recipe, network, self.dataset);
        Recipe {
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            learning_rate: self.lr.unwrap_or(recipe.learning_rate),
            correlation_weight: self.correlation_weight.unwrap_or(recipe.correlation_weight),
            train_limit: self.train_limit.or(recipe.train_limit),
            ..recipe
        }
    }
}

/// What the convolutions of a network are.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Burn's Conv2d.
    Dense,
    /// LinearConv with all coefficients.
    Full,
    /// LinearConv whose rank is a share of the primary filters.
    Rank,
    /// LinearConv of constant rank.
    LowRank,
    /// LinearConv with pruned coefficients.
    Sparse,
}

/// Which convolutions of a network are LinearConv layers.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// Those that it makes smaller and faster; depthwise, grouped and tiny ones stay dense.
    Auto,
    /// All, as in the paper.
    All,
}

/// How LinearConv layers compute their output.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationArg {
    /// The cheaper of the two for each layer.
    Auto,
    /// Convolve with the primary filters, then combine their feature maps.
    Factored,
    /// Build every kernel, then convolve with it.
    Materialized,
}

impl From<EvaluationArg> for Evaluation {
    fn from(evaluation: EvaluationArg) -> Self {
        match evaluation {
            EvaluationArg::Auto => Self::Auto,
            EvaluationArg::Factored => Self::Factored,
            EvaluationArg::Materialized => Self::Materialized,
        }
    }
}

impl Args {
    /// Reads the command line of a network's example; on a mistake prints a message and exits, as
    /// clap does.
    pub fn read(network: NetworkName) -> Self {
        let args = Self::parse();
        if let Err(message) = args.conv.coefficients(network) {
            let mut command = Self::command().bin_name(network.to_string());
            command.error(ErrorKind::ValueValidation, message).exit();
        }
        args
    }
}

impl ConvArgs {
    /// A variant with its usual rank or sparsity.
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            rank: None,
            sparsity: None,
            channel_ratio: None,
            layers: Layers::Auto,
            evaluation: EvaluationArg::Auto,
        }
    }

    /// The convolutions that the flags describe.
    ///
    /// # Errors
    /// A message, if the variant does not take a flag that is there or not its value.
    pub fn policy(&self, network: NetworkName) -> Result<ConvConfig, String> {
        let Some(coefficients) = self.coefficients(network)? else {
            return Ok(ConvConfig::dense());
        };
        let linear = LinearConv2dConfig::new([0, 0], [0, 0])
            .with_coefficients(coefficients)
            .with_channel_ratio(self.channel_ratio.unwrap_or(1.0))
            .with_evaluation(self.evaluation.into());
        Ok(match self.layers {
            Layers::Auto => ConvConfig::Auto(linear),
            Layers::All => ConvConfig::Linear(linear),
        })
    }

    /// The coefficients that the flags describe; none for dense convolutions.
    ///
    /// # Errors
    /// As [`policy`](Self::policy).
    pub fn coefficients(&self, network: NetworkName) -> Result<Option<CoefficientsConfig>, String> {
        if self.rank.is_some() && !matches!(self.variant, Variant::Rank | Variant::LowRank) {
            return Err("--rank goes with --variant rank or low-rank".into());
        }
        if self.channel_ratio.is_some() && self.variant == Variant::Dense {
            return Err("--channel-ratio goes with every --variant but dense".into());
        }
        if self.sparsity.is_some() && self.variant != Variant::Sparse {
            return Err("--sparsity goes with --variant sparse".into());
        }
        Ok(Some(match self.variant {
            Variant::Dense => return Ok(None),
            Variant::Full => CoefficientsConfig::Full,
            Variant::Rank => match self.rank.unwrap_or(1.0) {
                // As the reference's README promises; its code builds two square factors.
                1.0 => CoefficientsConfig::Full,
                ratio if ratio > 0.0 && ratio < 1.0 => CoefficientsConfig::RankRatio { ratio },
                ratio => {
                    return Err(format!(
                        "--rank {ratio}: with --variant rank, a share above 0 and at most 1"
                    ));
                }
            },
            Variant::LowRank => {
                let rank = self.rank.unwrap_or(network.usual_rank() as f64);
                if !(rank >= 1.0 && rank.fract() == 0.0 && rank <= f64::from(u32::MAX)) {
                    return Err(format!(
                        "--rank {rank}: with --variant low-rank, a whole number of at least 1"
                    ));
                }
                CoefficientsConfig::LowRank {
                    rank: rank as usize,
                }
            }
            Variant::Sparse => {
                let sparsity = self.sparsity.unwrap_or(0.25);
                if !(0.0..1.0).contains(&sparsity) {
                    return Err(format!("--sparsity {sparsity}: at least 0 and below 1"));
                }
                CoefficientsConfig::Sparse { sparsity }
            }
        }))
    }

    /// The variant and its number in a word, for the name of a folder and of a row.
    pub fn slug(&self) -> String {
        let mut slug = value_name(&self.variant);
        if let Some(number) = self.rank.or(self.sparsity) {
            slug = format!("{slug}-{number}");
        }
        if let Some(ratio) = self.channel_ratio {
            slug = format!("{slug}-channels-{ratio}");
        }
        slug
    }
}

/// All that the flags say.
impl fmt::Display for ConvArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.slug())?;
        if self.variant == Variant::Dense {
            return Ok(());
        }
        let [layers, evaluation] = [value_name(&self.layers), value_name(&self.evaluation)];
        write!(f, ", layers {layers}, evaluation {evaluation}")
    }
}

pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    number(
        text,
        |share| share > 0.0 && share <= 1.0,
        "above 0 and at most 1",
    )
}

pub(crate) fn share_below_1(text: &str) -> Result<f64, String> {
    number(
        text,
        |share| share > 0.0 && share < 1.0,
        "above 0 and below 1",
    )
}

pub(crate) fn points(text: &str) -> Result<f64, String> {
    number(
        text,
        |points| (0.0..=100.0).contains(&points),
        "at least 0 and at most 100",
    )
}

fn weight(text: &str) -> Result<f64, String> {
    number(
        text,
        |weight| weight >= 0.0 && weight.is_finite(),
        "at least 0",
    )
}

fn number(text: &str, valid: fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if valid(number) => Ok(number),
        Ok(_) => Err(format!("must be {expected}")),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["vgg11"].into_iter().chain(flags.split_whitespace()))
    }

    fn coefficients(flags: &str) -> Result<Option<CoefficientsConfig>, String> {
        parse(flags)
            .expect("flags")
            .conv
            .coefficients(NetworkName::Vgg11)
    }

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_describe_the_coefficients() {
        let full = Ok(Some(CoefficientsConfig::Full));
        assert_eq!(coefficients(""), full);
        assert_eq!(coefficients("--variant full"), full);
        assert_eq!(coefficients("--variant rank"), full);
        assert_eq!(coefficients("--variant rank --rank 1"), full);
        assert_eq!(coefficients("--variant dense"), Ok(None));
        assert_eq!(
            coefficients("--variant rank --rank 0.25"),
            Ok(Some(CoefficientsConfig::RankRatio { ratio: 0.25 }))
        );
        assert_eq!(
            coefficients("--variant low-rank"),
            Ok(Some(CoefficientsConfig::LowRank { rank: 10 }))
        );
        assert_eq!(
            coefficients("--variant low-rank --rank 3"),
            Ok(Some(CoefficientsConfig::LowRank { rank: 3 }))
        );
        assert_eq!(
            coefficients("--variant sparse --sparsity 0.5"),
            Ok(Some(CoefficientsConfig::Sparse { sparsity: 0.5 }))
        );
    }

    #[test]
    fn values_that_a_variant_does_not_take_are_named() {
        for (flags, message) in [
            (
                "--variant dense --rank 1",
                "--rank goes with --variant rank or low-rank",
            ),
            (
                "--variant dense --channel-ratio 0.5",
                "--channel-ratio goes with every --variant but dense",
            ),
            (
                "--variant full --sparsity 0.5",
                "--sparsity goes with --variant sparse",
            ),
            ("--variant rank --rank 1.5", "--rank 1.5: with"),
            ("--variant rank --rank NaN", "--rank NaN: with"),
            ("--variant rank --rank 0", "--rank 0: with"),
            ("--variant low-rank --rank 2.5", "--rank 2.5: with"),
            ("--variant low-rank --rank 0", "--rank 0: with"),
            ("--variant low-rank --rank inf", "--rank inf: with"),
            ("--variant sparse --sparsity 1", "--sparsity 1: at least 0"),
        ] {
            let error = coefficients(flags).expect_err(flags);
            assert!(error.starts_with(message), "{flags}: {error}");
        }
    }

    #[test]
    fn unknown_and_impossible_values_are_refused() {
        for flags in [
            "--variant dens",
            "--dataset imagenet",
            "--backend tpu",
            "--epochs 0",
            "--batch-size -1",
            "--lr 0",
            "--lr 2",
            "--lr NaN",
            "--correlation-weight -0.1",
            "--correlation-weight inf",
            "--train-limit 0",
        ] {
            let error = parse(flags).expect_err(flags).to_string();
            let value = flags.split(' ').nth(1).expect("a value");
            assert!(error.contains(value), "{flags}: {error}");
        }
    }

    #[test]
    fn flags_override_the_recipe() {
        let recipe = |flags: &str| {
            let args = parse(flags).expect("flags");
            args.training.recipe(NetworkName::Vgg11)
        };
        let expected = Recipe {
            epochs: 7,
            batch_size: 8,
            learning_rate: 0.5,
            correlation_weight: 0.0,
            train_limit: Some(9),
            ..recipe("")
        };
        let flags = "--epochs 7 --batch-size 8 --lr 0.5 --correlation-weight 0 --train-limit 9";
        assert_eq!(recipe(flags), expected);
        assert_eq!(recipe("--recipe paper").epochs, 250);
    }

    #[test]
    fn resume_takes_all_settings_from_the_run_but_where_to_compute() {
        assert!(parse("--resume runs/one").expect("flags").resume.is_some());
        let elsewhere = parse("--resume runs/one --backend flex:0 --devices 2").expect("flags");
        assert_eq!(elsewhere.training.device_name().to_string(), "flex:0");
        assert_eq!(elsewhere.training.devices, Some(2));

        let places = ["resume", "backend", "devices", "parallel", "help"];
        for arg in Args::command().get_arguments() {
            let id = arg.get_id().as_str();
            assert_ne!(SETTINGS.contains(&id), places.contains(&id), "{id}");
        }
        let error = parse("--resume runs/one --epochs 3")
            .expect_err("conflict")
            .to_string();
        assert!(error.contains("--resume"), "{error}");
    }
}
