//! How feature maps become class scores.

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
    /// The head for images of so many features.
    pub fn new(features: usize, classes: usize, device: &Device) -> Self {
        Self {
            linear: LinearConfig::new(features, classes).init(device),
        }
    }

    /// # Shapes
    /// - maps: `[batch_size, channels, height, width]` of `features` in all
    /// - output: `[batch_size, classes]`
    pub fn forward(&self, maps: Tensor<4>) -> Tensor<2> {
        self.linear.forward(maps.flatten(1, 3))
    }

    /// The layer, under this name in PyTorch.
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
