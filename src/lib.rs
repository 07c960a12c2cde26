#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod coefficients;
mod conv;
mod correlation;
mod cost;
mod error;
mod linear_conv2d;
pub mod pruning;

pub use coefficients::{
    Coefficients, CoefficientsConfig, FullCoefficients, LowRankCoefficients, SparseCoefficients,
};
pub use conv::{Conv, ConvConfig};
pub use correlation::{coefficient_l1, correlation_loss, correlation_matrix};
pub use cost::{Evaluation, LayerCost};
pub use error::Error;
pub use linear_conv2d::{LinearConv2d, LinearConv2dConfig};
