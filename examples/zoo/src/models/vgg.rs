//! VGG for 32×32 images (Simonyan and Zisserman 2014, [arXiv 1409.1556](https://arxiv.org/abs/1409.1556)),
//! with batch normalization and a single linear layer, as the LinearConv paper uses it.

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use linearconv::{Error, LayerCost};

use super::{ConvBlock, Network, NetworkConfig};
use crate::trace;

/// Filters of the convolutions of each stage; a 2×2 max pool ends a stage.
const VGG11: [&[usize]; 5] = [&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];

/// A network of the VGG family, named by the number of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VggConfig {
    /// Eight convolutions; the original has three linear layers, this one has one.
    Vgg11,
}

impl VggConfig {
    fn stages(self) -> [&'static [usize]; 5] {
        match self {
            Self::Vgg11 => VGG11,
        }
    }

    /// Initialize the network.
    ///
    /// # Errors
    /// Those of [`ConvConfig::try_init`](linearconv::ConvConfig::try_init).
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<Vgg, Error> {
        let mut channels = config.channels;
        let mut block = |filters: usize| {
            let layer = Conv2dConfig::new([channels, filters], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            channels = filters;
            ConvBlock::try_init(&config.conv, layer, device)
        };
        let stages = self
            .stages()
            .into_iter()
            .map(|filters| filters.iter().map(|filters| block(*filters)).collect())
            .collect::<Result<_, _>>()?;
        Ok(Vgg {
            stages,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            classifier: LinearConfig::new(channels, config.classes).init(device),
        })
    }
}

/// VGG; created by [`VggConfig`].
#[derive(Module, Debug)]
pub struct Vgg {
    stages: Vec<Vec<ConvBlock>>,
    pool: MaxPool2d,
    classifier: Linear,
}

impl Network for Vgg {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.stages.iter().fold(images, |x, blocks| {
            let x = blocks.iter().fold(x, |x, block| block.forward(x));
            self.pool.forward(x)
        });
        // [batch_size, 512, 1, 1]: five pools have halved 32×32 to one pixel.
        let scores = self.classifier.forward(features.flatten(1, 3));
        trace::record(linear_cost(&self.classifier), scores.dims()[0]);
        scores
    }
}

/// A linear layer costs what a 1×1 convolution of one pixel does.
fn linear_cost(linear: &Linear) -> LayerCost {
    let shape = linear.weight.lazy_shape();
    LayerCost {
        primary: shape[1],
        secondary: 0,
        filter_size: shape[0],
        groups: 1,
        rank: None,
        bias: linear.bias.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use linearconv::{CoefficientsConfig, ConvConfig, correlation_loss};

    use super::*;
    use crate::models::trainable_parameters;

    fn vgg11(conv: ConvConfig, channels: usize) -> Vgg {
        let config = NetworkConfig {
            conv,
            channels,
            classes: 10,
        };
        let device = Device::flex().autodiff();
        VggConfig::Vgg11.try_init(&config, &device).expect("valid")
    }

    fn parameters(conv: ConvConfig) -> usize {
        trainable_parameters(&vgg11(conv, 3))
    }

    #[test]
    fn vgg11_has_the_parameters_of_the_paper() {
        let linear = |coefficients| parameters(ConvConfig::linear(coefficients));
        assert_eq!(parameters(ConvConfig::dense()), 9_231_114);
        assert_eq!(linear(CoefficientsConfig::Full), 4_922_282);
        assert_eq!(linear(CoefficientsConfig::LowRank { rank: 10 }), 4_649_770);
        assert_eq!(
            linear(CoefficientsConfig::RankRatio { ratio: 0.25 }),
            4_772_266
        );
        assert_eq!(
            linear(CoefficientsConfig::Sparse { sparsity: 0.25 }),
            4_922_282
        );
    }

    #[test]
    fn every_layer_of_every_variant_learns() {
        for coefficients in [
            CoefficientsConfig::Full,
            CoefficientsConfig::LowRank { rank: 2 },
            CoefficientsConfig::Sparse { sparsity: 0.5 },
        ] {
            let model = vgg11(ConvConfig::linear(coefficients), 1);
            let device = Device::flex().autodiff();
            let scores = model.forward(Tensor::ones([2, 1, 32, 32], &device));
            assert_eq!(scores.dims(), [2, 10]);
            let loss = scores.square().sum() + correlation_loss(&model);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);

            struct Trainable<'a>(&'a GradientsParams, usize);
            impl ModuleVisitor for Trainable<'_> {
                fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                    if param.is_require_grad() {
                        assert!(self.0.get::<D>(param.id).is_some());
                        self.1 += 1;
                    }
                }
            }
            let mut trainable = Trainable(&gradients, 0);
            model.visit(&mut trainable);
            // Each of 8 blocks: filters, one or two coefficient matrices, bias, scale and shift.
            let matrices =
                usize::from(matches!(coefficients, CoefficientsConfig::LowRank { .. })) + 1;
            assert_eq!(trainable.1, 8 * (4 + matrices) + 2);
        }
    }

    #[test]
    fn a_rank_that_does_not_fit_is_an_error() {
        let config = NetworkConfig {
            conv: ConvConfig::linear(CoefficientsConfig::LowRank { rank: 33 }),
            channels: 3,
            classes: 10,
        };
        let error = VggConfig::Vgg11.try_init(&config, &Device::flex());
        let message = error
            .expect_err("the first layer has 32 primary filters")
            .to_string();
        assert!(message.contains("rank=33"), "{message}");
    }
}
