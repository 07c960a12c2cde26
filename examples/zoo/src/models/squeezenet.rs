//! SqueezeNet 1.1 for 32×32 images (Iandola et al. 2016,
//! [arXiv 1602.07360](https://arxiv.org/abs/1602.07360)). The original has no batch normalization. It is
//! added here, so that the network trains at the learning rate of the other networks.

use burn::module::Module;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use linearconv::{Conv, ConvConfig, Epilogue, Error};

use super::block::{ConvNorm, layer};
use super::head::global_average;
use super::{Layer, LayerName, Layered, Network, NetworkConfig};

/// Of each fire module: the filters that squeeze, and the filters of each of its two expansions. A max pool
/// comes before each stage.
const STAGES: [&[(usize, usize)]; 3] = [
    &[(16, 64), (16, 64)],
    &[(32, 128), (32, 128)],
    &[(48, 192), (48, 192), (64, 256), (64, 256)],
];
const STEM: usize = 64;

/// SqueezeNet 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqueezeNetConfig;

impl SqueezeNetConfig {
    /// Initialize the network.
    ///
    /// # Errors
    /// The errors of [`ConvConfig::try_init`]. The narrowest layers allow a constant rank of at most 8.
    pub fn try_init(self, config: &NetworkConfig, device: &Device) -> Result<SqueezeNet, Error> {
        let conv = |channels, kernel| {
            // No bias: normalization would subtract it.
            let layer = layer(channels, kernel, 1).with_bias(false);
            ConvNorm::try_init(&config.conv, layer, device)
        };
        // Stride 1, not 2, because images have only 32×32 pixels.
        let stem = conv([config.channels, STEM], 3)?;
        let mut channels = STEM;
        let mut fire = |&(squeeze, expand): &(usize, usize)| {
            let fire = Fire {
                squeeze: conv([channels, squeeze], 1)?,
                expand: [conv([squeeze, expand], 1)?, conv([squeeze, expand], 3)?],
            };
            channels = 2 * expand;
            Ok(fire)
        };
        let stages = STAGES
            .iter()
            .map(|fires| fires.iter().map(&mut fire).collect())
            .collect::<Result<_, _>>()?;
        // Dense in every variant, as the linear classifiers of the other networks are.
        let classifier = ConvConfig::from(layer([channels, config.classes], 1, 1));
        Ok(SqueezeNet {
            stem,
            // Sizes are rounded up, as in the original, so that 32 pixels become 16, 8 and 4.
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_ceil_mode(true)
                .init(),
            stages,
            dropout: DropoutConfig::new(0.5).init(),
            classifier: classifier.try_init(device)?,
        })
    }
}

/// SqueezeNet; created by [`SqueezeNetConfig`].
#[derive(Module, Debug)]
pub struct SqueezeNet {
    stem: ConvNorm,
    pool: MaxPool2d,
    stages: Vec<Vec<Fire>>,
    dropout: Dropout,
    classifier: Conv,
}

/// A fire module: a few 1×1 filters, then 1×1 filters and 3×3 filters side by side.
#[derive(Module, Debug)]
struct Fire {
    squeeze: ConvNorm,
    expand: [ConvNorm; 2],
}

impl Fire {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let relu = |block: &ConvNorm, x| block.forward(x, Epilogue::new().with_relu());
        let x = relu(&self.squeeze, input);
        let expanded = self.expand.iter().map(|expand| relu(expand, x.clone()));
        Tensor::cat(expanded.collect(), 1)
    }
}

impl Network for SqueezeNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(images, Epilogue::new().with_relu());
        let maps = self.stages.iter().fold(x, |x, fires| {
            let x = self.pool.forward(x);
            fires.iter().fold(x, |x, fire| fire.forward(x))
        });
        let maps = self.dropout.forward(maps);
        let scores = self
            .classifier
            .forward_with(maps, Epilogue::new().with_relu());
        global_average(scores).flatten(1, 3)
    }
}

impl Layered for SqueezeNet {
    fn layers(&mut self) -> Vec<Layer<'_>> {
        // The reference implementation lacks this network, so PyTorch's names are the names of Burn.
        fn layer(block: &mut ConvNorm, path: String) -> Layer<'_> {
            let names = ["conv", "norm"].map(|layer| format!("{path}.{layer}"));
            block.layer(&path, names)
        }
        let mut layers = vec![layer(&mut self.stem, "stem".into())];
        for (stage, fires) in self.stages.iter_mut().enumerate() {
            for (index, fire) in fires.iter_mut().enumerate() {
                let path = format!("stages.{stage}.{index}");
                layers.push(layer(&mut fire.squeeze, format!("{path}.squeeze")));
                for (side, expand) in fire.expand.iter_mut().enumerate() {
                    layers.push(layer(expand, format!("{path}.expand.{side}")));
                }
            }
        }
        layers.push(Layer::Conv {
            name: LayerName::new("classifier", "classifier"),
            conv: &mut self.classifier,
            mix: None,
            norm: None,
        });
        layers
    }
}
