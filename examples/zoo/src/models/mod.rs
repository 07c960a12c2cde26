//! The networks, each written once for dense convolutions and every variant of LinearConv.

mod block;
mod vgg;

pub use block::ConvBlock;
pub use vgg::{Vgg, VggConfig};

use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::tensor::Tensor;
use linearconv::ConvConfig;

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

/// The trainable parameters of a module on an autodiff device.
///
/// Burn's `num_params` also counts running statistics and thresholds, which no paper does.
pub fn trainable_parameters<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
