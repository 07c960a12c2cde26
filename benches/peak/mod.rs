//! The speed that a device reaches at best, to tell times as shares of it.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Distribution, Tensor};
use linearconv::{ConvConfig, Inference};

use crate::timing::time;

const SIDE: usize = 2048;
const CHANNELS: usize = 512;
/// Along a side of the image.
const PIXELS: usize = 64;
const TRIED_FOR: Duration = Duration::from_millis(500);

/// GFLOP/s: the better of a big product in f32 by Burn, and of a convolution of 1×1 by this crate's kernel
/// for inference, which is a big product too.
pub fn peak(device: &Device) -> f64 {
    let matrix = Tensor::<2>::random([SIDE, SIDE], Distribution::Default, device);
    let product = shortest(|| time(device, || matrix.clone().matmul(matrix.clone())));

    let layer = Conv2dConfig::new([CHANNELS, CHANNELS], [1, 1]);
    let conv = ConvConfig::dense().with_layer(layer).init(device);
    let conv = Inference::new(conv.valid());
    let size = [1, CHANNELS, PIXELS, PIXELS];
    // Channels-last in memory, as the kernel has the maps inside a network.
    let maps = conv.forward(Tensor::random(size, Distribution::Default, device));
    let convolution = shortest(|| time(device, || conv.forward(maps.clone())));

    let speed = |multiply_adds: usize, seconds: f64| 2.0 * multiply_adds as f64 / seconds / 1e9;
    speed(SIDE.pow(3), product).max(speed((CHANNELS * PIXELS).pow(2), convolution))
}

fn shortest(mut work: impl FnMut() -> f64) -> f64 {
    let started = Instant::now();
    let mut best = work();
    while started.elapsed() < TRIED_FOR {
        best = best.min(work());
    }
    best
}
