//! The networks, each written once for dense convolutions and every variant of LinearConv.
//!
//! To add a network:
//! 1. Write its file here: a configuration with `try_init`, and a module that is a [`Network`].
//! 2. List the layers of a new module with their names ([`Layered`]), and give the module a row
//!    of `any_network!`, both in `name.rs` and its own file.
//! 3. Give the network a row of `networks!` in `name.rs`.
//! 4. Write its example, `examples/NAME.rs`: the call of `linearconv_zoo::run`.
//! 5. Name the example in `examples/zoo/Cargo.toml`.
//! 6. Run the tests: those of all networks take it from the table.

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

/// The side of the images that every network is made for.
pub const IMAGE_SIDE: usize = 32;

/// An image classifier.
pub trait Network: Module + ModuleDisplay + Sync + 'static {
    /// The class scores of images.
    ///
    /// # Shapes
    /// - images: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;
}

/// What every network is built for.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The convolutions.
    pub conv: ConvConfig,
    /// Channels of the images.
    pub channels: usize,
    /// Classes to tell apart.
    pub classes: usize,
}
