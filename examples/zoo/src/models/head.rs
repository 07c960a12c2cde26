//! How feature maps become class scores.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use linearconv::LayerCost;

use crate::trace;

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
        let scores = self.linear.forward(maps.flatten(1, 3));
        trace::record(|| trace::Layer {
            cost: self.cost(),
            pixels: scores.dims()[0].into(),
        });
        scores
    }

    /// A linear layer costs what a 1×1 convolution of one pixel does.
    fn cost(&self) -> LayerCost {
        let shape = self.linear.weight.lazy_shape();
        LayerCost {
            primary: shape[1],
            secondary: 0,
            filter_size: shape[0],
            primary_channels: shape[0],
            secondary_channels: 0,
            groups: 1,
            rank: None,
            bias: self.linear.bias.is_some(),
        }
    }
}

/// The mean of every feature map.
///
/// # Shapes
/// - maps: `[batch_size, channels, height, width]`
/// - output: `[batch_size, channels, 1, 1]`
pub fn global_average(maps: Tensor<4>) -> Tensor<4> {
    maps.mean_dims(&[2, 3])
}
