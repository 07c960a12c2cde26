//! A model that is made for inference computes what it computed before.

mod common;

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Distribution, Tensor};
use linearconv::{
    CoefficientsConfig, Conv, ConvConfig, Epilogue, Evaluation, Inference, LinearConv2dConfig,
};

/// A convolution with what follows it.
#[derive(Module, Debug)]
struct Block {
    conv: Conv,
    norm: Option<BatchNorm>,
    pool: Option<MaxPool2d>,
    shortcut: bool,
    relu: bool,
}

impl Block {
    fn forward(&self, input: Tensor<4>, shortcut: &Tensor<4>) -> Tensor<4> {
        let mut epilogue = Epilogue::new();
        if let Some(norm) = &self.norm {
            epilogue = epilogue.with_norm(norm);
        }
        if self.shortcut {
            epilogue = epilogue.with_shortcut(shortcut.clone());
        }
        if self.relu {
            epilogue = epilogue.with_relu();
        }
        if let Some(pool) = &self.pool {
            epilogue = epilogue.with_max_pool(pool);
        }
        self.conv.forward_with(input, epilogue)
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn quick() {
    let device = Device::flex();
    for (channels, filters, kernel, stride, side, count) in [
        (3, 64, 3, 1, 32, 1),
        (64, 128, 3, 1, 16, 2),
        (40, 50, 3, 2, 7, 3),
        (20, 33, 1, 1, 9, 1),
        (128, 256, 3, 1, 2, 1),
        (7, 9, 2, 1, 5, 4),
        (21, 21, 3, 2, 9, 3),
        (64, 64, 3, 1, 8, 1),
    ] {
        for conv in [
            ConvConfig::dense(),
            ConvConfig::linear(CoefficientsConfig::Full),
            ConvConfig::linear(CoefficientsConfig::LowRank { rank: 3 }),
            ConvConfig::Linear(
                LinearConv2dConfig::new([0, 0], [0, 0])
                    .with_channel_ratio(0.5)
                    .with_evaluation(Evaluation::Factored),
            ),
        ] {
            let depthwise = channels == filters;
            if depthwise && !matches!(conv, ConvConfig::Dense(_)) {
                continue;
            }
            for mask in 0..16 {
                let layer = Conv2dConfig::new([channels, filters], [kernel, kernel])
                    .with_stride([stride, stride])
                    .with_groups(if depthwise { channels } else { 1 })
                    .with_padding(PaddingConfig2d::Same);
                let block = Block {
                    conv: conv.with_layer(layer).init(&device),
                    norm: (mask & 1 > 0).then(|| BatchNormConfig::new(filters).init(&device)),
                    pool: (mask & 2 > 0).then(|| MaxPool2dConfig::new([2, 2]).init()),
                    shortcut: mask & 4 > 0,
                    relu: mask & 8 > 0,
                };
                let input = random([count, channels, side, side], &device);
                let out = side.div_ceil(stride);
                let shortcut = random([count, filters, out, out], &device);
                let expected = block.forward(input.clone(), &shortcut);
                let block = Inference::new(block);
                for _ in 0..2 {
                    let output = block.forward(input.clone(), &shortcut);
                    let error = (output - expected.clone()).abs().max().into_scalar::<f32>();
                    assert!(
                        error < 1e-4,
                        "{channels} {filters} {kernel} {stride} {side} {mask}: {error}"
                    );
                }
            }
        }
    }
}
