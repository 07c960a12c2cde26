//! The networks by name.

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use linearconv::Error;
use serde::{Deserialize, Serialize};

use super::{
    AllConv, AllConvConfig, BaseConfig, MobileNetV2, MobileNetV2Config, Network, NetworkConfig,
    ResNeXtConfig, ResNet, ResNetConfig, SqueezeNet, SqueezeNetConfig, Vgg, VggConfig,
};
use crate::value_name::value_name;

/// A network that can be built, trained and compared by name.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    non_camel_case_types,
    reason = "the names of the ResNeXts are the field's"
)]
pub enum NetworkName {
    /// The baseline of the LinearConv paper.
    #[serde(rename = "base")]
    #[value(name = "base")]
    Base,
    /// VGG with 11 layers.
    #[serde(rename = "vgg11")]
    #[value(name = "vgg11")]
    Vgg11,
    /// VGG with 13 layers.
    #[serde(rename = "vgg13")]
    #[value(name = "vgg13")]
    Vgg13,
    /// VGG with 16 layers.
    #[serde(rename = "vgg16")]
    #[value(name = "vgg16")]
    Vgg16,
    /// VGG with 19 layers.
    #[serde(rename = "vgg19")]
    #[value(name = "vgg19")]
    Vgg19,
    /// The all convolutional net.
    #[serde(rename = "allconv")]
    #[value(name = "allconv")]
    AllConv,
    /// ResNet with 18 layers.
    #[serde(rename = "resnet18")]
    #[value(name = "resnet18")]
    ResNet18,
    /// ResNet with 34 layers.
    #[serde(rename = "resnet34")]
    #[value(name = "resnet34")]
    ResNet34,
    /// ResNet with 50 layers.
    #[serde(rename = "resnet50")]
    #[value(name = "resnet50")]
    ResNet50,
    /// ResNet with 101 layers.
    #[serde(rename = "resnet101")]
    #[value(name = "resnet101")]
    ResNet101,
    /// ResNet with 152 layers.
    #[serde(rename = "resnet152")]
    #[value(name = "resnet152")]
    ResNet152,
    /// ResNeXt with 29 layers, 2×64d.
    #[serde(rename = "resnext29")]
    #[value(name = "resnext29")]
    ResNeXt29_2x64d,
    /// ResNeXt with 29 layers, 4×64d.
    #[serde(rename = "resnext29_4x64d")]
    #[value(name = "resnext29_4x64d")]
    ResNeXt29_4x64d,
    /// ResNeXt with 29 layers, 8×64d.
    #[serde(rename = "resnext29_8x64d")]
    #[value(name = "resnext29_8x64d")]
    ResNeXt29_8x64d,
    /// ResNeXt with 29 layers, 32×4d.
    #[serde(rename = "resnext29_32x4d")]
    #[value(name = "resnext29_32x4d")]
    ResNeXt29_32x4d,
    /// MobileNetV2.
    #[serde(rename = "mobilenet_v2")]
    #[value(name = "mobilenet_v2")]
    MobileNetV2,
    /// SqueezeNet 1.1.
    #[serde(rename = "squeezenet")]
    #[value(name = "squeezenet")]
    SqueezeNet,
}

impl NetworkName {
    /// Initialize the network.
    ///
    /// # Errors
    /// Those of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<AnyNetwork, Error> {
        Ok(match self {
            Self::Base => BaseConfig.try_init(config, device)?.into(),
            Self::Vgg11 => VggConfig::Vgg11.try_init(config, device)?.into(),
            Self::Vgg13 => VggConfig::Vgg13.try_init(config, device)?.into(),
            Self::Vgg16 => VggConfig::Vgg16.try_init(config, device)?.into(),
            Self::Vgg19 => VggConfig::Vgg19.try_init(config, device)?.into(),
            Self::AllConv => AllConvConfig.try_init(config, device)?.into(),
            Self::ResNet18 => ResNetConfig::ResNet18.try_init(config, device)?.into(),
            Self::ResNet34 => ResNetConfig::ResNet34.try_init(config, device)?.into(),
            Self::ResNet50 => ResNetConfig::ResNet50.try_init(config, device)?.into(),
            Self::ResNet101 => ResNetConfig::ResNet101.try_init(config, device)?.into(),
            Self::ResNet152 => ResNetConfig::ResNet152.try_init(config, device)?.into(),
            Self::ResNeXt29_2x64d => ResNeXtConfig::ResNeXt29_2x64d
                .try_init(config, device)?
                .into(),
            Self::ResNeXt29_4x64d => ResNeXtConfig::ResNeXt29_4x64d
                .try_init(config, device)?
                .into(),
            Self::ResNeXt29_8x64d => ResNeXtConfig::ResNeXt29_8x64d
                .try_init(config, device)?
                .into(),
            Self::ResNeXt29_32x4d => ResNeXtConfig::ResNeXt29_32x4d
                .try_init(config, device)?
                .into(),
            Self::MobileNetV2 => MobileNetV2Config.try_init(config, device)?.into(),
            Self::SqueezeNet => SqueezeNetConfig.try_init(config, device)?.into(),
        })
    }

    /// The rank of low-rank layers unless another is asked for: the paper's, or the highest that
    /// the narrowest layer allows.
    pub fn usual_rank(self) -> usize {
        match self {
            Self::SqueezeNet => 8,
            _ => 10,
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value_name(self))
    }
}

/// A network of any family.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a Box is not a Module")]
pub enum AnyNetwork {
    /// Vgg.
    Vgg(Vgg),
    /// AllConv.
    AllConv(AllConv),
    /// ResNet.
    ResNet(ResNet),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2),
    /// SqueezeNet.
    SqueezeNet(SqueezeNet),
}

impl Network for AnyNetwork {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Vgg(network) => network.forward(images),
            Self::AllConv(network) => network.forward(images),
            Self::ResNet(network) => network.forward(images),
            Self::MobileNetV2(network) => network.forward(images),
            Self::SqueezeNet(network) => network.forward(images),
        }
    }
}

macro_rules! from_family {
    ($($family:ident),*) => {$(
        impl From<$family> for AnyNetwork {
            fn from(network: $family) -> Self {
                Self::$family(network)
            }
        }
    )*};
}

from_family!(Vgg, AllConv, ResNet, MobileNetV2, SqueezeNet);
