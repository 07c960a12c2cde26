//! Whole networks and a step of their training, which the benches `model` and `gpu` share.

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor};
use linearconv::{ConvConfig, correlation_loss};
use linearconv_zoo::models::{AnyNetwork, IMAGE_SIDE, Network, NetworkConfig, NetworkName};

const CLASSES: usize = 10;

/// A network for colour images with these convolutions.
pub fn init(network: NetworkName, conv: ConvConfig, device: &Device) -> AnyNetwork {
    let config = NetworkConfig {
        conv,
        channels: 3,
        classes: CLASSES,
    };
    network.try_init(&config, device).expect("a valid network")
}

pub fn images(batch: usize, device: &Device) -> Tensor<4> {
    let size = [batch, 3, IMAGE_SIDE, IMAGE_SIDE];
    Tensor::random(size, Distribution::Default, device)
}

pub fn labels(batch: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::arange(0..batch as i64, device).remainder_scalar(CLASSES as i64)
}

/// A step by the optimizer, the correlation loss included where it is regularized.
pub fn step(
    network: AnyNetwork,
    mut optimizer: ModuleOptimizer,
    images: &Tensor<4>,
    labels: &Tensor<1, Int>,
    regularized: bool,
) -> (AnyNetwork, ModuleOptimizer) {
    let scores = network.forward(images.clone());
    let cross_entropy = CrossEntropyLossConfig::new().init(&images.device());
    let mut loss = cross_entropy.forward(scores, labels.clone());
    if regularized {
        loss = loss + correlation_loss(&network) * 0.01;
    }
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    (optimizer.step(1e-3, network, gradients), optimizer)
}
