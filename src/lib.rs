//! LinearConv for the [Burn](https://burn.dev) deep learning framework
//! ([arXiv 1907.11432](https://arxiv.org/abs/1907.11432)).
//!
//! A [`LinearConv2d`] is a convolution whose filters are primary filters and learned linear
//! combinations of them, kept independent by [`correlation_loss`]: about half the parameters of
//! Burn's `Conv2d` at about the same accuracy. Its configuration has the fields and builders of
//! `Conv2dConfig`, so that swapping the two is one word.
//!
//! The [guide] explains how it works, how to train, to compress and to prune, and what is promised.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::conv::Conv2dConfig;
//! use burn::nn::{Linear, LinearConfig, PaddingConfig2d, loss::CrossEntropyLossConfig};
//! use burn::optim::{AdamConfig, GradientsParams};
//! use burn::tensor::{Device, Tensor, activation::relu};
//! use linearconv::{CoefficientsConfig, Conv, ConvConfig, correlation_loss};
//!
//! /// Written once for dense convolutions and every variant of LinearConv.
//! #[derive(Module, Debug)]
//! struct Model {
//!     stem: Conv,
//!     body: Conv,
//!     head: Linear,
//! }
//!
//! impl Model {
//!     fn new(conv: &ConvConfig, device: &Device) -> Self {
//!         let layer = |channels| {
//!             Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same)
//!         };
//!         Self {
//!             stem: conv.with_layer(layer([3, 32])).init(device),
//!             body: conv.with_layer(layer([32, 64])).init(device),
//!             head: LinearConfig::new(64, 10).init(device),
//!         }
//!     }
//!
//!     fn forward(&self, images: Tensor<4>) -> Tensor<2> {
//!         let features = relu(self.body.forward(relu(self.stem.forward(images))));
//!         self.head.forward(features.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2))
//!     }
//! }
//!
//! let device = Device::default().autodiff();
//! let low_rank = ConvConfig::linear(CoefficientsConfig::LowRank { rank: 10 });
//! let model = Model::new(&low_rank, &device);
//! let dense = Model::new(&ConvConfig::dense(), &device);
//! assert!(model.num_params() < dense.num_params() * 6 / 10);
//!
//! // One training step; the correlation loss keeps the primary filters independent. The paper
//! // adds it on every tenth step.
//! let images = Tensor::zeros([4, 3, 8, 8], &device);
//! let labels = Tensor::from_ints([0, 1, 2, 3], &device);
//! let cross_entropy = CrossEntropyLossConfig::new().init(&device);
//! let loss = cross_entropy.forward(model.forward(images), labels)
//!     + correlation_loss(&model) * 0.01;
//! let gradients = GradientsParams::from_grads(loss.backward(), &model);
//! let model = AdamConfig::new().init().step(1e-3, model, gradients);
//!
//! // Afterwards: the dense layer with the same output.
//! let Conv::Linear(body) = &model.valid().body else { unreachable!() };
//! let exported = body.to_conv2d();
//! # assert_eq!(exported.weight.dims(), [64, 32, 3, 3]);
//! ```
#![warn(missing_docs)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

/// Runs the examples of the README.
#[cfg(all(doctest, feature = "fit"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(any(doc, doctest))]
pub mod guide;

mod channels;
mod coefficients;
#[cfg(feature = "fit")]
mod compress;
mod conv;
mod conv_module;
mod convolution;
mod correlation;
mod cost;
mod epilogue;
mod error;
#[cfg(feature = "flex")]
mod flex;
mod folding;
#[cfg(feature = "std")]
mod inference;
mod linear_conv2d;
#[cfg(feature = "std")]
mod packed_conv;
pub mod pruning;

pub use coefficients::{
    Coefficients, CoefficientsConfig, FullCoefficients, LowRankCoefficients, SparseCoefficients,
};
#[cfg(feature = "fit")]
pub use compress::{
    Calibration, Choice, CombinedFilters, Compression, Dense, LinearConv, Measurement, OtherLayer,
    Plan, PlannedLayer, Search, Sensitivity, Trial, Verdict, conv2d_weights,
};
pub use conv::{Conv, ConvConfig};
pub use convolution::conv2d;
pub use correlation::{coefficient_l1, correlation_loss, correlation_matrix};
pub use cost::{Evaluation, LayerCost, Pixels};
pub use epilogue::Epilogue;
pub use error::Error;
#[cfg(feature = "flex")]
pub use flex::without_kernel;
#[cfg(feature = "std")]
pub use inference::Inference;
pub use linear_conv2d::{LinearConv2d, LinearConv2dConfig};
#[cfg(feature = "std")]
pub use packed_conv::PackedConv;
