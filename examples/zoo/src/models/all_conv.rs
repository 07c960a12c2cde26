//! The all-convolutional network All-CNN-C (Springenberg et al. 2014,
//! [arXiv 1412.6806](https://arxiv.org/abs/1412.6806)), made for 32×32 images: convolutions of
//! stride 2 take the place of pools.

use std::f64::consts::SQRT_2;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Initializer};
use burn::tensor::{Device, Tensor};
use linearconv::{Conv, ConvConfig, Epilogue, Error};

use super::block::layer;
use super::head::global_average;
use super::{Layer, LayerName, Layered, Network, NetworkConfig};

/// Filters, kernel size and stride of a convolution.
type Filters = (usize, usize, usize);

/// The dropout before each stage, and the convolutions of the stage.
const STAGES: [(f64, &[Filters]); 3] = [
    (0.2, &[(96, 3, 1), (96, 3, 1), (96, 3, 2)]),
    (0.5, &[(192, 3, 1), (192, 3, 1), (192, 3, 2)]),
    (0.5, &[(192, 3, 1), (192, 1, 1)]),
];

/// The all-convolutional network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllConvConfig;

impl AllConvConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`].
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<AllConv, Error> {
        let policy = with_he_initialization(config.conv.clone());
        let mut channels = config.channels;
        let mut conv = |&(filters, kernel, stride): &Filters| {
            let layer = layer([channels, filters], kernel, stride);
            channels = filters;
            policy.with_layer(layer).try_init(device)
        };
        let stages = STAGES
            .iter()
            .map(|(dropout, layers)| {
                Ok(Stage {
                    dropout: DropoutConfig::new(*dropout).init(),
                    convs: layers.iter().map(&mut conv).collect::<Result<_, _>>()?,
                })
            })
            .collect::<Result<_, _>>()?;
        // Dense in every variant, as the linear classifiers of the other networks are.
        let classifier = ConvConfig::from(layer([channels, config.classes], 1, 1));
        Ok(AllConv {
            stages,
            classifier: classifier.try_init(device)?,
        })
    }
}

/// The policy with He initialization of the primary filters (He et al. 2015,
/// [arXiv 1502.01852](https://arxiv.org/abs/1502.01852)). Without normalization, and with the initial values
/// of [`LinearConv2dConfig`](linearconv::LinearConv2dConfig), the maps shrink from layer to layer, and the network
/// does not begin to learn.
fn with_he_initialization(mut policy: ConvConfig) -> ConvConfig {
    if let ConvConfig::Linear(policy) | ConvConfig::Auto(policy) = &mut policy {
        policy.initializer = Initializer::KaimingUniform {
            gain: SQRT_2,
            fan_out_only: false,
        };
    }
    policy
}

/// The all-convolutional network; created by [`AllConvConfig`].
#[derive(Module, Debug)]
pub struct AllConv {
    stages: Vec<Stage>,
    classifier: Conv,
}

#[derive(Module, Debug)]
struct Stage {
    dropout: Dropout,
    convs: Vec<Conv>,
}

impl Network for AllConv {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let relu = |x, conv: &Conv| conv.forward_with(x, Epilogue::new().with_relu());
        let maps = self.stages.iter().fold(images, |x, stage| {
            let x = stage.dropout.forward(x);
            let convs = stage.convs.iter();
            convs.fold(x, relu)
        });
        let scores = relu(maps, &self.classifier);
        global_average(scores).flatten(1, 3)
    }
}

impl Layered for AllConv {
    fn layers(&mut self) -> Vec<Layer<'_>> {
        let conv = |name, conv| Layer::Conv {
            name,
            conv,
            mix: None,
            norm: None,
        };
        let stages = self.stages.iter_mut().enumerate();
        let convs = stages.flat_map(|(stage, layers)| {
            let convs = layers.convs.iter_mut().enumerate();
            convs.map(move |(index, conv)| (format!("stages.{stage}.convs.{index}"), conv))
        });
        let convs = convs.zip(1..).map(|((path, layer), number)| {
            conv(LayerName::new(path, format!("conv{number}")), layer)
        });
        let classifier = LayerName::new("classifier", "class_conv");
        convs
            .chain([conv(classifier, &mut self.classifier)])
            .collect()
    }
}
