//! ResNeXt-29 for 32×32 images (Xie et al. 2016,
//! [arXiv 1611.05431](https://arxiv.org/abs/1611.05431)): ResNet whose 3×3 convolutions are in
//! groups.

use burn::tensor::Device;
use linearconv::{ConvConfig, Error};

use super::NetworkConfig;
use super::block::{ConvNorm, layer};
use super::residual::Block;
use super::resnet::{ResNet, STEM, Stages};

/// A ResNeXt of 29 layers, named by groups × filters of a group in the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNeXtConfig {
    /// The one of the LinearConv paper.
    ResNeXt29_2x64d,
    /// Twice as wide.
    ResNeXt29_4x64d,
    /// Four times as wide.
    ResNeXt29_8x64d,
    /// As wide as the first, in many small groups.
    ResNeXt29_32x4d,
}

impl ResNeXtConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// Those of [`ConvConfig::try_init`].
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<ResNet, Error> {
        let (groups, group_width) = match self {
            Self::ResNeXt29_2x64d => (2, 64),
            Self::ResNeXt29_4x64d => (4, 64),
            Self::ResNeXt29_8x64d => (8, 64),
            Self::ResNeXt29_32x4d => (32, 4),
        };
        let stages = Stages {
            // As in the reference implementation. The original's blocks put out 256 channels in
            // the first stage, whatever their width.
            block: Block::Bottleneck {
                expansion: 2,
                groups,
            },
            width: groups * group_width,
            counts: &[3, 3, 3],
        };
        // The original's stem is 3×3. The reference implementation's is 1×1 and, so small, dense
        // in every variant.
        let stem = layer([config.channels, STEM], 1, 1).with_bias(false);
        let stem = ConvNorm::try_init(&ConvConfig::dense(), stem, device)?;
        ResNet::try_init(stem, stages, config, device)
    }
}
