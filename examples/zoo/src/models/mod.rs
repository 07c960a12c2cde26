//! The networks. Each network is written once, for dense convolutions and for all variants of LinearConv.
//!
//! To add a network:
//! 1. Write its file here: a configuration with `try_init`, and a module that is a [`Network`].
//! 2. In the same file, list the layers of a new module with their names ([`Layered`]). In `name.rs`, give
//!    the module a row of `any_network!`.
//! 3. Give the network a row of `networks!` in `name.rs`.
//! 4. Write its example, `examples/NAME.rs`: the call of `linearconv_zoo::run`.
//! 5. Name the example in `examples/zoo/Cargo.toml`.
//! 6. Run the tests. The tests of all networks find the new network in the table.

mod all_conv;
mod base;
mod block;
mod cost;
mod head;
mod layers;
mod mobilenet_v2;
mod name;
mod residual;
mod resnet;
mod resnext;
mod squeezenet;
mod variant;
mod vgg;

pub use all_conv::{AllConv, AllConvConfig};
pub use base::BaseConfig;
pub use cost::{Costs, sizes, trainable_parameters};
pub use layers::{Layer, LayerName, Layered, Norm};
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Config};
pub use name::{AnyNetwork, Family, NetworkName};
pub use resnet::{ResNet, ResNetConfig};
pub use resnext::ResNeXtConfig;
pub use squeezenet::{SqueezeNet, SqueezeNetConfig};
pub use variant::{EvaluationArg, Layers, Variant};
pub use vgg::{Vgg, VggConfig};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use linearconv::ConvConfig;

/// The height and the width of the images that all networks take, in pixels.
pub const IMAGE_SIDE: usize = 32;

/// An image classifier.
pub trait Network: Module + ModuleDisplay + Sync + 'static {
    /// The class scores of images.
    ///
    /// # Shapes
    /// - images: `[batch_size, channels, 32, 32]`
    /// - output: `[batch_size, classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;
}

/// The configuration that all networks have in common.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The convolutions.
    pub conv: ConvConfig,
    /// The number of channels of the images.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
}
