//! The networks by name.

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use linearconv::Error;
use serde::{Deserialize, Serialize};

use super::{
    AllConv, AllConvConfig, BaseConfig, Layer, Layered, MobileNetV2, MobileNetV2Config, Network,
    NetworkConfig, ResNeXtConfig, ResNet, ResNetConfig, SqueezeNet, SqueezeNetConfig, Vgg,
    VggConfig,
};
use crate::value_name::value_name;

/// The networks. A row has the name in Rust, the name on the command line, the family and the
/// configuration.
macro_rules! networks {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $family:ident, $config:expr;)*) => {
        /// A network that can be built, trained and compared by name.
        #[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(
            non_camel_case_types,
            reason = "the names of the ResNeXts are the field's"
        )]
        pub enum NetworkName {
            $($(#[$doc])* #[serde(rename = $text)] #[value(name = $text)] $name,)*
        }

        impl NetworkName {
            /// Initialize the network.
            ///
            /// # Errors
            /// The errors of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
            pub fn try_init(
                self,
                config: &NetworkConfig,
                device: &Device,
            ) -> Result<AnyNetwork, Error> {
                Ok(match self {
                    $(Self::$name => $config.try_init(config, device)?.into(),)*
                })
            }

            /// The family of the network.
            pub fn family(self) -> Family {
                match self {
                    $(Self::$name => Family::$family,)*
                }
            }
        }
    };
}

networks! {
    /// The baseline of the LinearConv paper.
    Base, "base", Vgg, BaseConfig;
    /// VGG with 11 layers.
    Vgg11, "vgg11", Vgg, VggConfig::Vgg11;
    /// VGG with 13 layers.
    Vgg13, "vgg13", Vgg, VggConfig::Vgg13;
    /// VGG with 16 layers.
    Vgg16, "vgg16", Vgg, VggConfig::Vgg16;
    /// VGG with 19 layers.
    Vgg19, "vgg19", Vgg, VggConfig::Vgg19;
    /// All-CNN-C, the all-convolutional network.
    AllConv, "allconv", AllConv, AllConvConfig;
    /// ResNet with 18 layers.
    ResNet18, "resnet18", ResNet, ResNetConfig::ResNet18;
    /// ResNet with 34 layers.
    ResNet34, "resnet34", ResNet, ResNetConfig::ResNet34;
    /// ResNet with 50 layers.
    ResNet50, "resnet50", ResNet, ResNetConfig::ResNet50;
    /// ResNet with 101 layers.
    ResNet101, "resnet101", ResNet, ResNetConfig::ResNet101;
    /// ResNet with 152 layers.
    ResNet152, "resnet152", ResNet, ResNetConfig::ResNet152;
    /// ResNeXt with 29 layers, 2×64d.
    ResNeXt29_2x64d, "resnext29", ResNeXt, ResNeXtConfig::ResNeXt29_2x64d;
    /// ResNeXt with 29 layers, 4×64d.
    ResNeXt29_4x64d, "resnext29_4x64d", ResNeXt, ResNeXtConfig::ResNeXt29_4x64d;
    /// ResNeXt with 29 layers, 8×64d.
    ResNeXt29_8x64d, "resnext29_8x64d", ResNeXt, ResNeXtConfig::ResNeXt29_8x64d;
    /// ResNeXt with 29 layers, 32×4d.
    ResNeXt29_32x4d, "resnext29_32x4d", ResNeXt, ResNeXtConfig::ResNeXt29_32x4d;
    /// MobileNetV2.
    MobileNetV2, "mobilenet_v2", MobileNetV2, MobileNetV2Config;
    /// SqueezeNet 1.1.
    SqueezeNet, "squeezenet", SqueezeNet, SqueezeNetConfig;
}

/// Networks that are trained with the same settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// [`Vgg`].
    Vgg,
    /// [`AllConv`].
    AllConv,
    /// [`ResNet`].
    ResNet,
    /// [`ResNet`] with grouped convolutions.
    ResNeXt,
    /// [`MobileNetV2`].
    MobileNetV2,
    /// [`SqueezeNet`].
    SqueezeNet,
}

impl NetworkName {
    /// The default rank of low-rank layers: the paper's rank, or the highest rank that the narrowest layer
    /// allows.
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

/// The modules of the networks.
macro_rules! any_network {
    ($($(#[$doc:meta])* $module:ident;)*) => {
        /// A network of any family.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant, reason = "a Box is not a Module")]
        pub enum AnyNetwork {
            $($(#[$doc])* $module($module),)*
        }

        impl AnyNetwork {
            /// The names of the variants, which are parts of the paths in records of Burn.
            pub(crate) const MODULES: &[&str] = &[$(stringify!($module)),*];
        }

        impl Network for AnyNetwork {
            fn forward(&self, images: Tensor<4>) -> Tensor<2> {
                match self {
                    $(Self::$module(network) => network.forward(images),)*
                }
            }
        }

        impl Layered for AnyNetwork {
            fn layers(&mut self) -> Vec<Layer<'_>> {
                match self {
                    $(Self::$module(network) => network.layers(),)*
                }
            }
        }

        $(impl From<$module> for AnyNetwork {
            fn from(network: $module) -> Self {
                Self::$module(network)
            }
        })*
    };
}

any_network! {
    /// Vgg.
    Vgg;
    /// AllConv.
    AllConv;
    /// ResNet.
    ResNet;
    /// MobileNetV2.
    MobileNetV2;
    /// SqueezeNet.
    SqueezeNet;
}
