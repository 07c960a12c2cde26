//! What the convolutions of a network can be, by name.

use clap::ValueEnum;
use linearconv::Evaluation;
use serde::{Deserialize, Serialize};

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
