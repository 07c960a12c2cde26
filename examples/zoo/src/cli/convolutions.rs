//! The flags that describe the convolutions of a network.

use std::fmt;

use linearconv::{CoefficientsConfig, ConvConfig, LinearConv2dConfig};
use serde::{Deserialize, Serialize};

use super::values::share;
use crate::models::{EvaluationArg, Layers, NetworkName, Variant};
use crate::value_name::value_name;

/// The kind of convolutions that a network has.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub struct ConvArgs {
    /// The kind of convolutions.
    #[arg(long, value_enum, default_value = "full")]
    pub variant: Variant,

    /// With `rank`: the rank divided by the number of primary filters; 1 is the full matrix
    /// [default: 1]. With `low-rank`: the rank of every layer [default: 10; 8 for squeezenet,
    /// whose narrowest layers allow no higher rank].
    #[arg(long, value_name = "R")]
    pub rank: Option<f64>,

    /// With `sparse`: the fraction of the coefficients to prune [default: 0.25].
    #[arg(long, value_name = "S")]
    pub sparsity: Option<f64>,

    /// The fraction of input channels that are primary; LinearConv layers add the other channels
    /// onto them [default: 1, as in the paper].
    #[arg(long, value_name = "C", value_parser = share)]
    pub channel_ratio: Option<f64>,

    /// Which convolutions become LinearConv layers.
    #[arg(long, value_enum, default_value = "auto")]
    pub layers: Layers,

    /// How LinearConv layers compute their output.
    #[arg(long, value_enum, default_value = "auto")]
    pub evaluation: EvaluationArg,
}

impl ConvArgs {
    /// A variant with its default rank or sparsity.
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
    /// A message, if the variant does not accept one of the flags or the value of a flag.
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
    /// The errors of [`policy`](Self::policy).
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
                // The README of the reference implementation says the same. Its code builds two square
                // factors.
                1.0 => CoefficientsConfig::Full,
                ratio if ratio > 0.0 && ratio < 1.0 => CoefficientsConfig::RankRatio { ratio },
                ratio => {
                    return Err(format!(
                        "--rank {ratio}: with --variant rank, a number above 0 and at most 1"
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

    /// The variant and its number in one word, for the name of a folder or of a row.
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

/// All values of the flags.
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
