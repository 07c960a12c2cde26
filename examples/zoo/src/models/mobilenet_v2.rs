//! MobileNetV2 for 32×32 images (Sandler et al. 2018,
//! [arXiv 1801.04381](https://arxiv.org/abs/1801.04381)), with the reference implementation's
//! departures: ReLU in place of ReLU6, which is for low-precision arithmetic, an expansion also
//! where it is by 1, and projected shortcuts.

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

/// Expansion, filters, number of blocks, and stride of the first of them.
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
    /// Those of [`ConvConfig::try_init`]. A constant rank may exceed the 8×8 coefficients of the
    /// narrowest layers, as in the reference implementation.
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

/// Initialize a layer and its normalization, which subtracts what a bias would add.
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

/// Initialize one of the narrowest layers, also at a constant rank above that of its coefficients.
/// The reference implementation keeps the rank there and counts its parameters so; it buys
/// nothing, which is why the layer itself refuses it.
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
    // What the layer draws its coefficients from.
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

/// A block that widens its input, convolves each channel by itself, and narrows the result. There
/// is no activation after it.
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
            // The original has no shortcut where the widths differ.
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
