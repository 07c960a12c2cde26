//! Convolutions that are prepared once for inference. Weights are packed in the order in which the
//! product reads them. Images are channels-last. The steps that follow a convolution are computed
//! while its output is in the cache.

mod combination;
mod depthwise;
mod finish;
mod images;
mod layer;
mod multiply;
mod panels;
mod pixels;
mod pool;
mod rows;
mod simd;
mod values;
mod winograd;

use burn::nn::PaddingConfig2d;
use burn::tensor::{DType, Tensor};

use crate::conv::Conv;
use crate::convolution::{check_reach, options};
use crate::epilogue::{Epilogue, is_plain};
use depthwise::Depthwise;
use images::Images;
use layer::PackedLayer;

/// A convolution with packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    layer: Layer,
    padding: PaddingConfig2d,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

#[derive(Clone, Debug)]
enum Layer {
    OfOneGroup(Box<PackedLayer>),
    Depthwise(Depthwise),
}

impl Layer {
    /// Channels of the input.
    fn channels(&self) -> usize {
        match self {
            Self::OfOneGroup(layer) => layer.channels(),
            Self::Depthwise(layer) => layer.channels(),
        }
    }
}

impl Packed {
    /// Packs a convolution in f32 on the flex backend that has one group, or one input and one
    /// output channel in each group. `None` for any other convolution.
    pub(crate) fn new(conv: &Conv) -> Option<Self> {
        match conv {
            Conv::Linear(layer) if layer.is_factored() => {
                let packs = packs(&layer.primary.val()) && layer.groups == 1;
                packs.then(|| Self {
                    layer: Layer::OfOneGroup(Box::new(PackedLayer::linear(layer))),
                    padding: layer.padding.clone(),
                    kernel_size: layer.kernel_size,
                    stride: layer.stride,
                    dilation: layer.dilation,
                })
            }
            conv => {
                let conv = conv.to_conv2d();
                let weight = conv.weight.val();
                if !packs(&weight) {
                    return None;
                }
                let bias = conv.bias.map(|bias| bias.val());
                let layer = match (conv.groups, weight.dims()) {
                    (1, _) => Layer::OfOneGroup(Box::new(PackedLayer::dense(weight, bias))),
                    (groups, [filters, 1, ..]) if filters == groups => {
                        Layer::Depthwise(Depthwise::new(weight, bias))
                    }
                    _ => return None,
                };
                Some(Self {
                    layer,
                    padding: conv.padding,
                    kernel_size: conv.kernel_size,
                    stride: conv.stride,
                    dilation: conv.dilation,
                })
            }
        }
    }

    /// Applies the convolution and the steps that follow it.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`, channels-last in memory
    ///
    /// # Panics
    /// Panics where the epilogue has a normalization, and where an input or a shortcut does not fit
    /// the convolution.
    pub(crate) fn forward(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        let Epilogue {
            norm: None,
            shortcut,
            relu,
            pool,
        } = epilogue
        else {
            unreachable!("the normalization is folded into the weights");
        };
        let options = options(
            &input,
            &self.padding,
            self.kernel_size,
            self.stride,
            self.dilation,
            1,
        );
        check_reach(&input, self.kernel_size, &options);
        let channels = self.layer.channels();
        let [_, found, _, _] = input.dims();
        assert_eq!(
            found, channels,
            "the input has {found} channels, the convolution has {channels}"
        );
        let shortcut = shortcut.map(Images::from_maps);
        let images = Images::from_maps(input);
        let shortcut = shortcut.as_ref();
        let plain = pool.filter(|pool| is_plain(pool));
        // Runs on a thread of the pool: from outside, each product would enter the pool by itself.
        let output = rayon::scope(|_| {
            let output = match &self.layer {
                Layer::OfOneGroup(layer) => layer.forward(&images, &options, shortcut, relu),
                Layer::Depthwise(layer) => layer.forward(&images, &options, shortcut, relu),
            };
            match plain {
                Some(pool) => pool::max_pool2d(&output, pool.kernel_size, pool.stride),
                None => output,
            }
        });
        match pool.filter(|_| plain.is_none()) {
            Some(pool) => pool.forward(output.into_maps()),
            None => output.into_maps(),
        }
    }
}

fn packs(weight: &Tensor<4>) -> bool {
    super::is_flex(weight) && weight.dtype() == DType::F32
}
