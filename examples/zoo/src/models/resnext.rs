//! ResNeXt-29 for 32×32 images (Xie et al. 2016,
//! [arXiv 1611.05431](https://arxiv.org/abs/1611.05431)): a ResNet with grouped 3×3 convolutions.

use burn::tensor::Device;
use linearconv::{ConvConfig, Error};

use super::NetworkConfig;
use super::block::{ConvNorm, layer};
use super::residual::Block;
use super::resnet::{ResNet, STEM, Stages};

/// A ResNeXt with 29 layers. Its name tells the number of groups × the filters of a group in the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNeXtConfig {
    /// The ResNeXt of the LinearConv paper.
    ResNeXt29_2x64d,
    /// Twice as wide as the first.
    ResNeXt29_4x64d,
    /// Four times as wide as the first.
    ResNeXt29_8x64d,
    /// As wide as the first, with many small groups.
    ResNeXt29_32x4d,
}

impl ResNeXtConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`].
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<ResNet, Error> {
        let (groups, group_width) = match self {
            Self::ResNeXt29_2x64d => (2, 64),
            Self::ResNeXt29_4x64d => (4, 64),
            Self::ResNeXt29_8x64d => (8, 64),
            Self::ResNeXt29_32x4d => (32, 4),
        };
        let stages = Stages {
            // As in the reference implementation. In the paper, the blocks of the first stage have 256 output
            // channels, whatever their width.
            block: Block::Bottleneck {
                expansion: 2,
                groups,
            },
            width: groups * group_width,
            counts: &[3, 3, 3],
        };
        // The paper has a 3×3 stem. The stem of the reference implementation is 1×1, and dense in every
        // variant, because it is small.
        let stem = layer([config.channels, STEM], 1, 1).with_bias(false);
        let stem = ConvNorm::try_init(&ConvConfig::dense(), stem, device)?;
        ResNet::try_init(stem, stages, config, device)
    }
}
