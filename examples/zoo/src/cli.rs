//! The command line that every network shares.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use linearconv::{CoefficientsConfig, ConvConfig, Evaluation, LinearConv2dConfig};
use serde::Serialize;

use crate::backend::Backend;
use crate::data::DatasetName;
use crate::recipe::Recipe;

/// Train a network with LinearConv, or dense, and test it.
#[derive(Parser, Clone, Debug, Serialize)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// What the convolutions are.
    #[arg(long, value_enum, default_value = "full")]
    pub variant: Variant,

    /// With `rank`: the rank as a share of the primary filters, where 1 is the full matrix
    /// [default: 1]. With `low-rank`: the rank of every layer [default: 10].
    #[arg(long, value_name = "R")]
    pub rank: Option<f64>,

    /// With `sparse`: the share of coefficients to prune [default: 0.25].
    #[arg(long, value_name = "S")]
    pub sparsity: Option<f64>,

    /// How LinearConv layers compute their output.
    #[arg(long, value_enum, default_value = "auto")]
    pub evaluation: EvaluationArg,

    /// The data set.
    #[arg(long, value_enum, default_value = "mnist-mini")]
    pub dataset: DatasetName,

    /// Where the files of a data set that is not embedded are.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where to compute.
    #[arg(long, value_enum, default_value = "flex")]
    pub backend: Backend,

    /// Passes over the training images [default: the network's recipe].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,

    /// Images in a batch [default: the network's recipe].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,

    /// The learning rate at the start [default: the network's recipe].
    #[arg(long, value_name = "RATE", value_parser = learning_rate)]
    pub lr: Option<f64>,

    /// The weight of the correlation loss [default: the network's recipe].
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub correlation_weight: Option<f64>,

    /// What initial weights and the order of images are drawn from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Use the first N training images, drawn by the seed, validation included.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub train_limit: Option<usize>,

    /// Use the first N test images.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub test_limit: Option<usize>,

    /// Where results go [default: a new folder under `runs`].
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
}

/// What the convolutions of a network are.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// How LinearConv layers compute their output.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// Reads the command line of the named example; on a mistake prints a message and exits, as
    /// clap does.
    pub fn read(name: &'static str) -> Self {
        let args = Self::parse();
        if let Err(message) = args.coefficients() {
            let kind = ErrorKind::ValueValidation;
            Self::command().name(name).error(kind, message).exit();
        }
        args
    }

    /// The convolutions that the flags describe.
    ///
    /// # Errors
    /// A message, if the variant does not take a flag that is there or not its value.
    pub fn conv(&self) -> Result<ConvConfig, String> {
        Ok(match self.coefficients()? {
            Some(coefficients) => LinearConv2dConfig::new([0, 0], [0, 0])
                .with_coefficients(coefficients)
                .with_evaluation(self.evaluation.into())
                .into(),
            None => ConvConfig::dense(),
        })
    }

    /// The coefficients that the flags describe; none for dense convolutions.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn coefficients(&self) -> Result<Option<CoefficientsConfig>, String> {
        if self.rank.is_some() && !matches!(self.variant, Variant::Rank | Variant::LowRank) {
            return Err("--rank goes with --variant rank or low-rank".into());
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
                let rank = self.rank.unwrap_or(10.0);
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

    /// The variant and its number in a word, for the name of a folder.
    pub fn slug(&self) -> String {
        let variant = match self.variant {
            Variant::Dense => "dense",
            Variant::Full => "full",
            Variant::Rank => "rank",
            Variant::LowRank => "low-rank",
            Variant::Sparse => "sparse",
        };
        match self.rank.or(self.sparsity) {
            Some(number) => format!("{variant}-{number}"),
            None => variant.into(),
        }
    }

    /// The given recipe, changed by the flags.
    pub fn recipe(&self, recipe: Recipe) -> Recipe {
        Recipe {
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            learning_rate: self.lr.unwrap_or(recipe.learning_rate),
            correlation_weight: self.correlation_weight.unwrap_or(recipe.correlation_weight),
            ..recipe
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn learning_rate(text: &str) -> Result<f64, String> {
    number(
        text,
        |rate| rate > 0.0 && rate <= 1.0,
        "above 0 and at most 1",
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
        parse(flags).expect("flags").coefficients()
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
        let args =
            parse("--epochs 7 --batch-size 8 --lr 0.5 --correlation-weight 0").expect("flags");
        let recipe = args.recipe(Recipe::default());
        let expected = Recipe {
            epochs: 7,
            batch_size: 8,
            learning_rate: 0.5,
            correlation_weight: 0.0,
            ..Recipe::default()
        };
        assert_eq!(recipe, expected);
        let unchanged = parse("").expect("flags").recipe(Recipe::default());
        assert_eq!(unchanged, Recipe::default());
    }
}
