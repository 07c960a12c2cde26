//! The policies that the benches compare.

#![allow(dead_code, reason = "not every bench has every policy")]

use std::fmt;

use linearconv::{CoefficientsConfig, ConvConfig, Evaluation, LinearConv2dConfig};

/// What a convolution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Dense,
    /// Full coefficients.
    Full,
    /// Coefficients of rank 10.
    Rank10,
    /// Coefficients of which half are pruned.
    Sparse,
    /// Half of the filters, of half of the channels.
    BothSides,
}

impl Policy {
    /// LinearConv where it pays, as [`ConvConfig::auto`].
    pub fn auto(self) -> ConvConfig {
        self.auto_by(Evaluation::Auto)
    }

    /// LinearConv in every layer, as [`ConvConfig::linear`].
    pub fn everywhere(self) -> ConvConfig {
        self.everywhere_by(Evaluation::Auto)
    }

    /// As [`auto`](Self::auto), computed in this way.
    pub fn auto_by(self, evaluation: Evaluation) -> ConvConfig {
        match self.config() {
            Some(config) => ConvConfig::Auto(config.with_evaluation(evaluation)),
            None => ConvConfig::dense(),
        }
    }

    /// As [`everywhere`](Self::everywhere), computed in this way.
    pub fn everywhere_by(self, evaluation: Evaluation) -> ConvConfig {
        match self.config() {
            Some(config) => ConvConfig::Linear(config.with_evaluation(evaluation)),
            None => ConvConfig::dense(),
        }
    }

    fn config(self) -> Option<LinearConv2dConfig> {
        let linear = LinearConv2dConfig::new([0, 0], [0, 0]);
        let with = |coefficients| Some(linear.clone().with_coefficients(coefficients));
        match self {
            Self::Dense => None,
            Self::Full => with(CoefficientsConfig::Full),
            Self::Rank10 => with(CoefficientsConfig::LowRank { rank: 10 }),
            Self::Sparse => with(CoefficientsConfig::Sparse { sparsity: 0.5 }),
            Self::BothSides => Some(linear.with_channel_ratio(0.5)),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(match self {
            Self::Dense => "dense",
            Self::Full => "full",
            Self::Rank10 => "rank 10",
            Self::Sparse => "sparse",
            Self::BothSides => "both sides",
        })
    }
}
