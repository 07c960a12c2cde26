//! VGG for 32×32 images (Simonyan and Zisserman 2014, [arXiv 1409.1556](https://arxiv.org/abs/1409.1556)),
//! with batch normalization, as in the LinearConv paper. The VGG paper is older than batch normalization.
//! With it, the deep networks of the family train from scratch.

use burn::module::Module;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::{Device, Tensor};
use linearconv::{Epilogue, Error};

use super::block::{ConvNorm, chain, layer};
use super::head::Head;
use super::{IMAGE_SIDE, Layer, Layered, Network, NetworkConfig};

/// The filters of the 3×3 convolutions of each stage. A 2×2 max pool ends each stage.
type Stages = [&'static [usize]];

const VGG11: &Stages = &[&[64], &[128], &[256; 2], &[512; 2], &[512; 2]];
const VGG13: &Stages = &[&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]];
const VGG16: &Stages = &[&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]];
const VGG19: &Stages = &[&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]];

/// A network of the VGG family. The number in its name counts the layers of the original, which has three
/// linear layers. This network has one linear layer, because 32×32 images leave one pixel of 512 features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VggConfig {
    /// Eight convolutions, configuration A.
    Vgg11,
    /// Ten convolutions, configuration B.
    Vgg13,
    /// Thirteen convolutions, configuration D.
    Vgg16,
    /// Sixteen convolutions, configuration E.
    Vgg19,
}

impl VggConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<Vgg, Error> {
        let stages = match self {
            Self::Vgg11 => VGG11,
            Self::Vgg13 => VGG13,
            Self::Vgg16 => VGG16,
            Self::Vgg19 => VGG19,
        };
        Vgg::try_init(stages, config, device)
    }
}

/// VGG; created by [`VggConfig`], and with fewer stages by [`BaseConfig`](super::BaseConfig).
#[derive(Module, Debug)]
pub struct Vgg {
    stages: Vec<Vec<ConvNorm>>,
    pool: MaxPool2d,
    head: Head,
}

impl Vgg {
    pub(super) fn try_init(
        stages: &Stages,
        config: &NetworkConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut channels = config.channels;
        let mut block = |filters: usize| {
            let layer = layer([channels, filters], 3, 1);
            channels = filters;
            ConvNorm::try_init(&config.conv, layer, device)
        };
        let blocks = stages
            .iter()
            .map(|filters| filters.iter().map(|filters| block(*filters)).collect())
            .collect::<Result<_, _>>()?;
        let side = IMAGE_SIDE >> stages.len();
        Ok(Self {
            stages: blocks,
            pool: MaxPool2dConfig::new([2, 2]).init(),
            head: Head::new(channels * side * side, config.classes, device),
        })
    }
}

impl Network for Vgg {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.stages.iter().fold(images, |x, blocks| {
            let epilogue = Epilogue::new().with_relu().with_max_pool(&self.pool);
            chain(blocks, x, epilogue)
        });
        self.head.forward(maps)
    }
}

impl Layered for Vgg {
    fn layers(&mut self) -> Vec<Layer<'_>> {
        let stages = self.stages.iter_mut().enumerate();
        let blocks = stages.flat_map(|(stage, blocks)| {
            // In PyTorch, the layers of all blocks of a stage have one numbering: convolution,
            // normalization, ReLU, convolution, and so on.
            blocks.iter_mut().enumerate().map(move |(block, layers)| {
                let names = [3 * block, 3 * block + 1].map(|index| format!("feat.{stage}.{index}"));
                layers.layer(&format!("stages.{stage}.{block}"), names)
            })
        });
        blocks.chain([self.head.layer("fc")]).collect()
    }
}
