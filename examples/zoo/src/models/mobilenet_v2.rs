//! MobileNetV2 for 32×32 images (Sandler et al. 2018,
//! [arXiv 1801.04381](https://arxiv.org/abs/1801.04381)). As in the reference implementation, three things
//! differ from the paper: ReLU replaces ReLU6, which serves low-precision arithmetic; a block that expands
//! by 1 has its expansion layer too; shortcuts are projected where the numbers of channels differ.

use burn::module::Module;
use burn::nn::Initializer;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Tensor};
use linearconv::{
    Coefficients, CoefficientsConfig, Conv, ConvConfig, Epilogue, Error, LinearConv2d,
    LinearConv2dConfig, LowRankCoefficients,
};

use super::block::{ConvNorm, chain, layer, numbered};
use super::head::{Head, global_average};
use super::{Layer, Layered, Network, NetworkConfig};

/// Of each stage: expansion, filters, number of blocks, and stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, NARROWEST, 1, 1),
    (6, 24, 2, 1), // stride 1, not 2: a 32×32 image
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM: usize = 32;
const LAST: usize = 1280;
const NARROWEST: usize = 16;

/// MobileNetV2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileNetV2Config;

impl MobileNetV2Config {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`]. A constant rank above 8 is not an error for the narrowest
    /// layers, which have 8×8 coefficients. The reference implementation allows it too.
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<MobileNetV2, Error> {
        let conv = |layer| try_init_conv(&config.conv, layer, device);
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for (expansion, filters, count, first_stride) in STAGES {
            for index in 0..count {
                let stride = if index == 0 { first_stride } else { 1 };
                let width = expansion * channels;
                let block = InvertedResidual::try_init([channels, width, filters], stride, conv)?;
                blocks.push(block);
                channels = filters;
            }
        }
        Ok(MobileNetV2 {
            // Stride 1, not 2: a 32×32 image.
            stem: conv(layer([config.channels, STEM], 3, 1))?,
            blocks,
            last: conv(layer([channels, LAST], 1, 1))?,
            head: Head::new(LAST, config.classes, device),
        })
    }
}

/// Initialize a layer and its normalization. The layer has no bias, because the normalization would subtract
/// it.
fn try_init_conv(
    policy: &ConvConfig,
    layer: Conv2dConfig,
    device: &Device,
) -> Result<ConvNorm, Error> {
    let config = policy.with_layer(layer.with_bias(false));
    let conv = match &config {
        ConvConfig::Linear(config) if config.channels[1] == NARROWEST => {
            try_init_narrow(config, device).map(Conv::Linear)
        }
        config => config.try_init(device),
    };
    Ok(ConvNorm::new(conv?, device))
}

/// Initialize one of the narrowest layers, also with a constant rank above the size of its coefficient
/// matrix. Such a rank has no use, so [`LinearConv2dConfig`] does not accept it. The reference implementation
/// has it, and the paper counts its parameters.
fn try_init_narrow(config: &LinearConv2dConfig, device: &Device) -> Result<LinearConv2d, Error> {
    let result = config.try_init(device);
    let (
        CoefficientsConfig::LowRank { rank: rank @ 1.. },
        &Err(Error::Rank {
            secondary, primary, ..
        }),
    ) = (config.coefficients, &result)
    else {
        return result;
    };
    let fitting = CoefficientsConfig::LowRank {
        rank: secondary.min(primary),
    };
    let mut conv = config.clone().with_coefficients(fitting).try_init(device)?;
    // The distribution that `LinearConv2dConfig` draws low-rank coefficients from.
    let uniform = Initializer::Uniform {
        min: -0.1,
        max: 0.1,
    };
    conv.coefficients = Coefficients::LowRank(LowRankCoefficients {
        column: uniform.init([secondary, rank], device),
        row: uniform.init([rank, primary], device),
    });
    Ok(conv)
}

/// MobileNetV2; created by [`MobileNetV2Config`].
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    head: Head,
}

/// A block that increases the number of channels, convolves each channel separately, and decreases the number
/// of channels. There is no activation after the block.
#[derive(Module, Debug)]
struct InvertedResidual {
    body: Vec<ConvNorm>,
    projection: Option<ConvNorm>,
    adds_input: bool,
}

impl InvertedResidual {
    fn try_init(
        [channels, width, filters]: [usize; 3],
        stride: usize,
        conv: impl Fn(Conv2dConfig) -> Result<ConvNorm, Error>,
    ) -> Result<Self, Error> {
        Ok(Self {
            body: vec![
                conv(layer([channels, width], 1, 1))?,
                conv(layer([width, width], 3, stride).with_groups(width))?,
                conv(layer([width, filters], 1, 1))?,
            ],
            // The original has no shortcut where the numbers of channels differ.
            projection: (stride == 1 && channels != filters)
                .then(|| conv(layer([channels, filters], 1, 1)))
                .transpose()?,
            adds_input: stride == 1 && channels == filters,
        })
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let epilogue = Epilogue::new();
        let epilogue = match &self.projection {
            Some(projection) => {
                epilogue.with_shortcut(projection.forward(input.clone(), Epilogue::new()))
            }
            None if self.adds_input => epilogue.with_shortcut(input.clone()),
            None => epilogue,
        };
        chain(&self.body, input, epilogue)
    }
}

impl Network for MobileNetV2 {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(images, Epilogue::new().with_relu());
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let maps = self.last.forward(x, Epilogue::new().with_relu());
        self.head.forward(global_average(maps))
    }
}

impl Layered for MobileNetV2 {
    fn layers(&mut self) -> Vec<Layer<'_>> {
        let stem = self.stem.layer("stem", ["conv1", "bn1"].map(String::from));
        let mut layers = vec![stem];
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let (path, name) = (format!("blocks.{index}"), format!("layers.{index}"));
            layers.extend(numbered(&mut block.body, &path, &name));
            if let Some(projection) = &mut block.projection {
                let names = [0, 1].map(|index| format!("{name}.shortcut.{index}"));
                layers.push(projection.layer(&format!("{path}.projection"), names));
            }
        }
        layers.push(self.last.layer("last", ["conv2", "bn2"].map(String::from)));
        layers.push(self.head.layer("linear"));
        layers
    }
}
