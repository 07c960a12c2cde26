//! The small baseline of the LinearConv paper (Kahatapitiya and Rodrigo 2019,
//! [arXiv 1907.11432](https://arxiv.org/abs/1907.11432)): four stages of VGG with one convolution
//! each.

use burn::tensor::Device;
use linearconv::Error;

use super::{NetworkConfig, Vgg};

/// The baseline network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseConfig;

impl BaseConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<Vgg, Error> {
        Vgg::try_init(&[&[32], &[64], &[128], &[256]], config, device)
    }
}
