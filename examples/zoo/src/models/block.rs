use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use linearconv::{Conv, ConvConfig, Error};

use crate::trace;

/// A convolution, batch normalization and ReLU.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvBlock {
    /// A block around the given layer.
    ///
    /// # Errors
    /// Those of [`ConvConfig::try_init`].
    pub fn try_init(
        conv: &ConvConfig,
        layer: Conv2dConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        Ok(Self {
            norm: BatchNormConfig::new(layer.channels[1]).init(device),
            conv: conv.with_layer(layer).try_init(device)?,
        })
    }

    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.conv.forward(input);
        let [batch_size, _, height, width] = output.dims();
        trace::record(self.conv.cost(), batch_size * height * width);
        relu(self.norm.forward(output))
    }
}
