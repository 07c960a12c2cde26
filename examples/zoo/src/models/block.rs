//! The blocks that the networks consist of.

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use linearconv::{Conv, ConvConfig, Epilogue, Error};

use super::layers::{Layer, LayerName, Norm};

/// A convolution with a square kernel of odd size. It is padded so that only its stride changes the size of
/// feature maps.
pub fn layer(channels: [usize; 2], kernel: usize, stride: usize) -> Conv2dConfig {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
}

/// A convolution and batch normalization.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// The combination of input channels as a separate layer. Only networks that are exported have it.
    mix: Option<Conv>,
    conv: Conv,
    /// The normalization; none once it is folded into the convolution.
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// The given convolution, followed by a normalization.
    pub fn new(conv: Conv, device: &Device) -> Self {
        let filters = conv.cost().dense().primary;
        Self {
            mix: None,
            conv,
            norm: Some(BatchNormConfig::new(filters).init(device)),
        }
    }

    /// The convolution that the policy makes of the given layer, followed by a normalization.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`].
    pub fn try_init(
        policy: &ConvConfig,
        layer: Conv2dConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let conv = policy.with_layer(layer).try_init(device)?;
        Ok(Self::new(conv, device))
    }

    /// Applies the convolution, the normalization and the epilogue.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        let input = match &self.mix {
            Some(mix) => mix.forward(input),
            None => input,
        };
        let norm = self.norm.as_ref();
        let epilogue = norm.map_or(epilogue.clone(), |norm| epilogue.with_norm(norm));
        self.conv.forward_with(input, epilogue)
    }

    /// The convolution and the normalization, by the path of the block in Burn and by their names in PyTorch.
    pub fn layer(&mut self, path: &str, [conv, norm]: [String; 2]) -> Layer<'_> {
        Layer::Conv {
            name: LayerName::new(format!("{path}.conv"), conv),
            conv: &mut self.conv,
            mix: Some(&mut self.mix),
            norm: Some(Norm {
                name: LayerName::new(format!("{path}.norm"), norm),
                layer: &mut self.norm,
            }),
        }
    }
}

/// Applies blocks one after another, with ReLU between them and the epilogue after the last block.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - output: `[batch_size, channels_out, height_out, width_out]`
pub fn chain(blocks: &[ConvNorm], input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
    let Some((last, inner)) = blocks.split_last() else {
        return input;
    };
    let relu = |x, block: &ConvNorm| block.forward(x, Epilogue::new().with_relu());
    last.forward(inner.iter().fold(input, relu), epilogue)
}

/// The layers of the blocks of a body. PyTorch numbers these blocks from 1.
pub fn numbered<'a>(
    body: &'a mut [ConvNorm],
    path: &str,
    name: &str,
) -> impl Iterator<Item = Layer<'a>> {
    body.iter_mut().enumerate().map(move |(index, block)| {
        let number = index + 1;
        let names = [format!("{name}.conv{number}"), format!("{name}.bn{number}")];
        block.layer(&format!("{path}.body.{index}"), names)
    })
}
