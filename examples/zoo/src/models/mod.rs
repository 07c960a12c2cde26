//! The networks, each written once for dense convolutions and every variant of LinearConv.

mod all_conv;
mod base;
mod block;
mod head;
mod mobilenet_v2;
mod name;
mod residual;
mod resnet;
mod resnext;
mod squeezenet;
mod vgg;

pub use all_conv::{AllConv, AllConvConfig};
pub use base::BaseConfig;
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Config};
pub use name::{AnyNetwork, NetworkName};
pub use resnet::{ResNet, ResNetConfig};
pub use resnext::ResNeXtConfig;
pub use squeezenet::{SqueezeNet, SqueezeNetConfig};
pub use vgg::{Vgg, VggConfig};

use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
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

/// The trainable parameters of a module on an autodiff device, without drawing those that are
/// still lazy.
///
/// Burn's `num_params` also counts running statistics and thresholds, which no paper does.
pub fn trainable_parameters<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Only what an initializer is yet to draw is lazy, and that trains. To ask it would
            // draw it.
            if !param.is_initialized() || param.is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
