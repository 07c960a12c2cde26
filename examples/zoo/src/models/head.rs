//! The last layers of networks: from feature maps to class scores.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};

use super::layers::{Layer, LayerName};

/// A linear layer on all features of an image.
#[derive(Module, Debug)]
pub struct Head {
    linear: Linear,
}

impl Head {
    /// A head for `features` features of an image.
    pub fn new(features: usize, classes: usize, device: &Device) -> Self {
        Self {
            linear: LinearConfig::new(features, classes).init(device),
        }
    }

    /// The class scores of feature maps.
    ///
    /// # Shapes
    /// - maps: `[batch_size, channels, height, width]`, with channels · height · width = `features`
    /// - output: `[batch_size, classes]`
    pub fn forward(&self, maps: Tensor<4>) -> Tensor<2> {
        self.linear.forward(maps.flatten(1, 3))
    }

    /// The linear layer, with its name in PyTorch.
    pub fn layer(&mut self, pytorch: &str) -> Layer<'_> {
        Layer::Linear {
            name: LayerName::new("head.linear", pytorch),
            linear: &mut self.linear,
        }
    }
}

/// The mean of every feature map.
///
/// # Shapes
/// - maps: `[batch_size, channels, height, width]`
/// - output: `[batch_size, channels, 1, 1]`
pub fn global_average(maps: Tensor<4>) -> Tensor<4> {
    adaptive_avg_pool2d(maps, [1, 1])
}
