//! The kinds of convolutions that a network can have, by name.

use clap::ValueEnum;
use linearconv::Evaluation;
use serde::{Deserialize, Serialize};

/// The kind of convolutions of a network.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Burn's Conv2d.
    Dense,
    /// LinearConv with all coefficients.
    Full,
    /// LinearConv whose rank is a fraction of the number of primary filters.
    Rank,
    /// LinearConv of constant rank.
    LowRank,
    /// LinearConv with pruned coefficients.
    Sparse,
}

/// Which convolutions of a network become LinearConv layers.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// Layers that get smaller and faster; depthwise, grouped and tiny layers stay dense.
    Auto,
    /// All layers, as in the paper.
    All,
}

/// How LinearConv layers compute their output.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationArg {
    /// For each layer, the evaluation that is expected to be faster.
    Auto,
    /// Convolve with the primary filters, then combine their feature maps.
    Factored,
    /// Build every kernel, then convolve with the kernel.
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
