//! Layers of VGG11, ResNet-18 and MobileNetV2, and a pass through one.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Distribution, Tensor};

use crate::timing::time;

/// The shape of a layer.
pub struct Shape {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Of the input.
    pub side: usize,
}

const fn shape(
    channels: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
    side: usize,
) -> Shape {
    Shape {
        channels,
        filters,
        kernel,
        stride,
        side,
    }
}

pub const SHAPES: [Shape; 21] = [
    // VGG11
    shape(3, 64, 3, 1, 32),
    shape(64, 128, 3, 1, 16),
    shape(128, 256, 3, 1, 8),
    shape(256, 256, 3, 1, 8),
    shape(256, 512, 3, 1, 4),
    shape(512, 512, 3, 1, 4),
    shape(512, 512, 3, 1, 2),
    // ResNet-18
    shape(64, 64, 3, 1, 32),
    shape(64, 128, 3, 2, 32),
    shape(128, 128, 3, 1, 16),
    shape(128, 256, 3, 2, 16),
    shape(256, 512, 3, 2, 8),
    shape(64, 128, 1, 2, 32),
    shape(256, 512, 1, 2, 8),
    // ResNeXt and deeper ResNets: LinearConv saves a quarter.
    shape(256, 256, 1, 1, 16),
    // MobileNetV2
    shape(24, 144, 1, 1, 32),
    shape(144, 24, 1, 1, 32),
    shape(384, 64, 1, 1, 8),
    shape(160, 960, 1, 1, 4),
    shape(960, 160, 1, 1, 4),
    shape(320, 1280, 1, 1, 4),
];

/// The rows of a quick run.
const QUICK: [&str; 3] = ["64-128 3x3, 16x16", "256-256 3x3, 8x8", "512-512 3x3, 2x2"];

impl Shape {
    pub fn name(&self) -> String {
        let Self {
            channels,
            filters,
            kernel,
            stride,
            side,
        } = self;
        let stride = match stride {
            1 => String::new(),
            stride => format!("/{stride}"),
        };
        format!("{channels}-{filters} {kernel}x{kernel}{stride}, {side}x{side}")
    }

    /// Whether a quick run has it.
    pub fn is_quick(&self) -> bool {
        QUICK.contains(&self.name().as_str())
    }

    pub fn layer(&self) -> Conv2dConfig {
        let padding = self.kernel / 2;
        Conv2dConfig::new([self.channels, self.filters], [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
    }

    pub fn input(&self, batch: usize, device: &Device) -> Tensor<4> {
        let size = [batch, self.channels, self.side, self.side];
        Tensor::random(size, Distribution::Default, device)
    }

    /// Pixels of an output map.
    pub fn output_plane(&self) -> usize {
        self.side.div_ceil(self.stride).pow(2)
    }
}

/// The seconds of one pass.
pub fn run(input: &Tensor<4>, backward: bool, forward: impl FnOnce(Tensor<4>) -> Tensor<4>) -> f64 {
    let device = input.device();
    if !backward {
        return time(&device, || forward(input.clone()));
    }
    // As inside a network, the gradient of the input is needed too.
    let input = input.clone().autodiff().require_grad();
    time(&device, || {
        let gradients = forward(input.clone()).sum().backward();
        let gradient = input.grad(&gradients);
        assert!(gradient.is_some());
        gradient
    })
}
