//! Whole networks, a step of their training, and their multiply-adds.

#![allow(dead_code, reason = "not every bench trains or counts")]

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor};
use linearconv::{ConvConfig, Evaluation, LayerCost, Pixels, correlation_loss};
use linearconv_zoo::models::{
    AnyNetwork, Costs, IMAGE_SIDE, Network, NetworkConfig, NetworkName, sizes,
};

/// Channels of an image.
const CHANNELS: usize = 3;
const CLASSES: usize = 10;

/// A network for colour images with these convolutions.
pub fn init(network: NetworkName, conv: ConvConfig, device: &Device) -> AnyNetwork {
    let config = NetworkConfig {
        conv,
        channels: CHANNELS,
        classes: CLASSES,
    };
    network.try_init(&config, device).expect("a valid network")
}

pub fn images(batch: usize, device: &Device) -> Tensor<4> {
    let size = [batch, CHANNELS, IMAGE_SIDE, IMAGE_SIDE];
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

/// The multiply-adds of a forward pass of a network that computes its layers in this way.
pub fn multiply_adds(network: &AnyNetwork, batch: usize, evaluation: Evaluation) -> u64 {
    let convolutions = convolutions(network, batch);
    let of_batch = convolutions
        .iter()
        .map(|(cost, pixels)| cost.multiply_adds(evaluation, *pixels));
    let dense = convolutions.iter().map(|(cost, pixels)| {
        cost.dense()
            .multiply_adds(Evaluation::Materialized, *pixels)
    });
    let all = batch as u64 * Costs::of(network, CHANNELS).dense_multiply_adds();
    let linear = all - dense.sum::<u64>();
    of_batch.sum::<u64>() + linear
}

/// The multiply-adds of a training step. The gradients of weights and inputs take as many as the forward
/// pass each; nobody needs the gradient of the images.
pub fn multiply_adds_to_train(network: &AnyNetwork, batch: usize, evaluation: Evaluation) -> u64 {
    let convolutions = convolutions(network, batch).into_iter();
    let of_images = convolutions
        .filter(|(cost, _)| cost.groups == 1 && cost.dense().primary_channels == CHANNELS)
        .map(|(cost, pixels)| cost.multiply_adds(evaluation, pixels));
    3 * multiply_adds(network, batch, evaluation) - of_images.sum::<u64>()
}

/// The convolutions of a network, and their pixels for a batch.
fn convolutions(network: &AnyNetwork, batch: usize) -> Vec<(LayerCost, Pixels)> {
    let sizes = sizes(network, CHANNELS);
    let of_batch = |(cost, pixels): (LayerCost, Pixels)| {
        let pixels = Pixels {
            input: batch * pixels.input,
            output: batch * pixels.output,
        };
        (cost, pixels)
    };
    sizes.layers().map(of_batch).collect()
}
