//! ResNet for 32×32 images (He et al. 2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385)): the
//! networks of the paper's ImageNet table.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use linearconv::{Epilogue, Error};

use super::block::{ConvNorm, layer};
use super::head::{Head, global_average};
use super::residual::{Block, Residual};
use super::{Layer, Layered, Network, NetworkConfig};

/// The number of output channels of the stem.
pub(super) const STEM: usize = 64;

/// A ResNet, named by the number of its layers. Shortcuts are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetConfig {
    /// With basic blocks.
    ResNet18,
    /// With basic blocks.
    ResNet34,
    /// With bottleneck blocks.
    ResNet50,
    /// With bottleneck blocks.
    ResNet101,
    /// With bottleneck blocks.
    ResNet152,
}

impl ResNetConfig {
    fn stages(self) -> Stages {
        let bottleneck = Block::Bottleneck {
            expansion: 4,
            groups: 1,
        };
        let (block, counts): (_, &[usize]) = match self {
            Self::ResNet18 => (Block::Basic, &[2, 2, 2, 2]),
            Self::ResNet34 => (Block::Basic, &[3, 4, 6, 3]),
            Self::ResNet50 => (bottleneck, &[3, 4, 6, 3]),
            Self::ResNet101 => (bottleneck, &[3, 4, 23, 3]),
            Self::ResNet152 => (bottleneck, &[3, 8, 36, 3]),
        };
        Stages {
            block,
            width: 64,
            counts,
        }
    }

    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<ResNet, Error> {
        // The stem of the paper is a 7×7 convolution of stride 2 and a pool. For 32×32 images it would leave
        // only 8×8 pixels.
        let stem = layer([config.channels, STEM], 3, 1).with_bias(false);
        let stem = ConvNorm::try_init(&config.conv, stem, device)?;
        ResNet::try_init(stem, self.stages(), config, device)
    }
}

/// The residual blocks of a network: their kind, the width of the first stage, and the number of blocks in
/// each stage. Each later stage has twice the width of the stage before, and its first block has stride 2.
pub(super) struct Stages {
    pub block: Block,
    pub width: usize,
    pub counts: &'static [usize],
}

/// ResNet; created by [`ResNetConfig`], and with grouped blocks by
/// [`ResNeXtConfig`](super::ResNeXtConfig).
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    stages: Vec<Vec<Residual>>,
    head: Head,
}

impl ResNet {
    pub(super) fn try_init(
        stem: ConvNorm,
        Stages {
            block,
            width,
            counts,
        }: Stages,
        config: &NetworkConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut channels = STEM;
        let mut residual = |stage: usize, index: usize| {
            let (input, width) = (channels, width << stage);
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            channels = block.filters(width);
            Residual::try_init(&config.conv, block, input, width, stride, device)
        };
        let stages = counts
            .iter()
            .enumerate()
            .map(|(stage, count)| (0..*count).map(|index| residual(stage, index)).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stem,
            stages,
            head: Head::new(channels, config.classes, device),
        })
    }
}

impl Network for ResNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(images, Epilogue::new().with_relu());
        let blocks = self.stages.iter().flatten();
        let maps = blocks.fold(x, |x, block| block.forward(x));
        self.head.forward(global_average(maps))
    }
}

impl Layered for ResNet {
    fn layers(&mut self) -> Vec<Layer<'_>> {
        let stem = self.stem.layer("stem", ["conv1", "bn1"].map(String::from));
        let mut layers = vec![stem];
        for (stage, blocks) in self.stages.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                let path = format!("stages.{stage}.{index}");
                let name = format!("layer{}.{index}", stage + 1);
                layers.extend(block.layers(&path, &name));
            }
        }
        layers.push(self.head.layer("linear"));
        layers
    }
}
