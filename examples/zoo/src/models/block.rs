//! What the networks are made of. A layer computes and records itself here and in
//! [`Head`](super::head::Head) only.

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use linearconv::{Conv, ConvConfig, Error, Pixels};

use crate::trace;

/// A convolution of an odd, square kernel, padded so that only its stride changes the size of
/// images.
pub fn layer(channels: [usize; 2], kernel: usize, stride: usize) -> Conv2dConfig {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
}

/// Applies a convolution and records it.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - output: `[batch_size, channels_out, height_out, width_out]`
pub fn convolve(conv: &Conv, input: Tensor<4>) -> Tensor<4> {
    let [images, _, rows, columns] = input.dims();
    let pixels_in = images * rows * columns;
    let output = conv.forward(input);
    let [batch_size, _, height, width] = output.dims();
    trace::record(|| trace::Layer {
        cost: conv.cost(),
        pixels: Pixels {
            input: pixels_in,
            output: batch_size * height * width,
        },
    });
    output
}

/// A convolution and batch normalization.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    /// The given convolution, normalized.
    pub fn new(conv: Conv, device: &Device) -> Self {
        let filters = conv.cost().dense().primary;
        Self {
            conv,
            norm: BatchNormConfig::new(filters).init(device),
        }
    }

    /// The policy's convolution for the given layer, normalized.
    ///
    /// # Errors
    /// Those of [`ConvConfig::try_init`].
    pub fn try_init(
        policy: &ConvConfig,
        layer: Conv2dConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let conv = policy.with_layer(layer).try_init(device)?;
        Ok(Self::new(conv, device))
    }

    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.norm.forward(convolve(&self.conv, input))
    }
}

/// Applies blocks with ReLU between them and none after the last.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - output: `[batch_size, channels_out, height_out, width_out]`
pub fn chain(blocks: &[ConvNorm], input: Tensor<4>) -> Tensor<4> {
    let Some((last, inner)) = blocks.split_last() else {
        return input;
    };
    let x = inner.iter().fold(input, |x, block| relu(block.forward(x)));
    last.forward(x)
}
