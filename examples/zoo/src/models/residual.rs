//! Residual blocks, which add their input to their output, of [ResNet](super::ResNetConfig) and
//! [ResNeXt](super::ResNeXtConfig).

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Tensor};
use linearconv::{ConvConfig, Epilogue, Error};

use super::block::{ConvNorm, chain, layer, numbered};
use super::layers::Layer;

/// The kinds of residual blocks.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// A 1×1 convolution, a grouped 3×3 convolution, and a 1×1 convolution with `expansion` times as many
    /// filters.
    Bottleneck { expansion: usize, groups: usize },
}

impl Block {
    fn layers(self, channels: usize, width: usize, stride: usize) -> Vec<Conv2dConfig> {
        match self {
            Self::Basic => vec![
                layer([channels, width], 3, stride),
                layer([width, width], 3, 1),
            ],
            Self::Bottleneck { groups, .. } => vec![
                layer([channels, width], 1, 1),
                // The paper has the stride in the first 1×1 convolution, which then skips three of four
                // pixels. The later code of its authors has the stride here, and so do all others.
                layer([width, width], 3, stride).with_groups(groups),
                layer([width, self.filters(width)], 1, 1),
            ],
        }
    }

    /// The number of output channels of a block of this width.
    pub fn filters(self, width: usize) -> usize {
        match self {
            Self::Basic => width,
            Self::Bottleneck { expansion, .. } => expansion * width,
        }
    }
}

/// A residual block, and the ReLU after it.
#[derive(Module, Debug)]
pub struct Residual {
    body: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl Residual {
    /// A block with `channels` input channels. If the block changes the shape of its input, its shortcut is a
    /// 1×1 convolution.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`].
    pub fn try_init(
        conv: &ConvConfig,
        block: Block,
        channels: usize,
        width: usize,
        stride: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        // No bias: normalization would subtract it.
        let init = |layer: Conv2dConfig| ConvNorm::try_init(conv, layer.with_bias(false), device);
        let filters = block.filters(width);
        let layers = block.layers(channels, width, stride).into_iter();
        Ok(Self {
            body: layers.map(init).collect::<Result<_, _>>()?,
            shortcut: (stride != 1 || channels != filters)
                .then(|| init(layer([channels, filters], 1, stride)))
                .transpose()?,
        })
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some(projection) => projection.forward(input.clone(), Epilogue::new()),
            None => input.clone(),
        };
        let epilogue = Epilogue::new().with_shortcut(shortcut).with_relu();
        chain(&self.body, input, epilogue)
    }

    /// The layers of the block, by its path in Burn and by its name in PyTorch.
    pub fn layers(&mut self, path: &str, name: &str) -> impl Iterator<Item = Layer<'_>> {
        let body = numbered(&mut self.body, path, name);
        let shortcut = self.shortcut.iter_mut().map(move |block| {
            let names = [0, 1].map(|index| format!("{name}.shortcut.{index}"));
            block.layer(&format!("{path}.shortcut"), names)
        });
        body.chain(shortcut)
    }
}
