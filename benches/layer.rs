//! `LinearConv2d` against Burn's `Conv2d` of the same shape, for layers of VGG11, ResNet-18 and
//! MobileNetV2: `cargo bench --bench layer -- --help`.

mod common;
mod place;
mod timing;

use std::time::Duration;

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Distribution, Tensor};
use clap::Parser;
use common::{Args, Report};
use linearconv::{
    CoefficientsConfig, Conv, ConvConfig, Evaluation, LinearConv, LinearConv2dConfig,
};
use timing::{Contestant, medians, time};

struct Shape {
    channels: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
    /// Of the input.
    side: usize,
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

const SHAPES: [Shape; 21] = [
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

/// The dense layer as Burn runs it.
const BASELINE: &str = "Conv2d";
/// The dense layer in a `Conv`, by this crate's kernel: what of a ratio is the kernel and what is
/// LinearConv.
const KERNEL: &str = "dense, our kernel";
/// A dense layer that was reparameterized by full coefficients, in a model that declares `Conv`.
const SPLIT_CONV: &str = "split Conv";
/// The same in a model that declares `Conv2d`, which builds the kernel.
const SPLIT_CONV2D: &str = "split Conv2d";
const COLUMNS: [&str; 11] = [
    BASELINE,
    KERNEL,
    "full",
    "full mat",
    "rank 10",
    "rank 10 mat",
    "sparse",
    "both sides",
    SPLIT_CONV,
    SPLIT_CONV2D,
    "auto / better",
];

impl Shape {
    fn name(&self) -> String {
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

    fn layer(&self) -> Conv2dConfig {
        let padding = self.kernel / 2;
        Conv2dConfig::new([self.channels, self.filters], [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
    }
}

fn main() {
    place::enter_root();
    let args = Args::parse();
    let device = args.device();
    let (batches, row): (&[usize], _) = match args.quick {
        true => (&[1, 16], Duration::from_millis(300)),
        false => (&[1, 16, 64], Duration::from_millis(1000)),
    };
    let beside = args.beside();
    let mut report = Report::new(&COLUMNS, &args);
    for pass in ["forward", "fwd+bwd"] {
        for &batch in batches {
            for shape in &SHAPES {
                let name = format!("{}, batch {batch}, {pass}", shape.name());
                let quick = QUICK.contains(&shape.name().as_str());
                if name.contains(&args.only) && (quick || !args.quick) {
                    let backward = pass == "fwd+bwd";
                    let seconds = measure(shape, batch, backward, row, &device, beside.as_ref());
                    report.row(&name, &seconds);
                }
            }
        }
        report.geometric_mean(&format!("3x3 and at least 64 channels, {pass}"), |name| {
            name.ends_with(pass) && name.contains("3x3") && !name.starts_with("3-")
        });
        report.geometric_mean(&format!("all, {pass}"), |name| name.ends_with(pass));
    }
    report.finish("layer", &args);
}

/// Seconds of every contestant, then those of the baseline times the ratio of the evaluation that
/// `Auto` chooses for full coefficients to the better one, then those of the other device.
fn measure(
    shape: &Shape,
    batch: usize,
    backward: bool,
    row: Duration,
    device: &Device,
    beside: Option<&Device>,
) -> Vec<f64> {
    let linear = |coefficients, evaluation| {
        let policy = LinearConv2dConfig::new([0, 0], [0, 0]).with_evaluation(evaluation);
        ConvConfig::from(policy.with_coefficients(coefficients))
    };
    let full = CoefficientsConfig::Full;
    let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
    let sparse = CoefficientsConfig::Sparse { sparsity: 0.5 };
    let autodiff = device.clone().autodiff();
    let convs = [
        ConvConfig::dense(),
        ConvConfig::dense(),
        linear(full, Evaluation::Factored),
        linear(full, Evaluation::Materialized),
        linear(rank_10, Evaluation::Factored),
        linear(rank_10, Evaluation::Materialized),
        linear(sparse, Evaluation::Factored),
        // Half of the filters, of half of the channels.
        LinearConv2dConfig::new([0, 0], [0, 0])
            .with_evaluation(Evaluation::Factored)
            .with_channel_ratio(0.5)
            .into(),
    ]
    .map(|policy| policy.with_layer(shape.layer()).init(&autodiff));
    let split: Conv2d = shape.layer().init(&autodiff);
    let split = split.apply_reparameterization(LinearConv::new(full).with_all_layers());
    let split = Conv::from(split);
    let convs: Vec<Conv> = convs
        .into_iter()
        .chain([split.clone(), split])
        .map(|conv| if backward { conv } else { conv.valid() })
        .collect();

    let size = [batch, shape.channels, shape.side, shape.side];
    let elsewhere = beside.map(|device| {
        let autodiff = device.clone().autodiff();
        let policies = [
            ConvConfig::dense(),
            linear(full, Evaluation::Factored),
            linear(rank_10, Evaluation::Factored),
        ];
        let input = Tensor::random(size, Distribution::Default, device);
        policies.map(|policy| {
            let conv = policy.with_layer(shape.layer()).init(&autodiff);
            let conv = if backward { conv } else { conv.valid() };
            (conv, input.clone())
        })
    });
    let input = Tensor::random(size, Distribution::Default, device);
    let mut contestants: Vec<Contestant> = convs
        .iter()
        .zip(COLUMNS)
        .map(|(conv, column)| -> Contestant {
            let input = input.clone();
            Box::new(move || match column {
                BASELINE | SPLIT_CONV2D => {
                    run(&input, backward, |input| dense(conv).forward(input))
                }
                _ => run(&input, backward, |input| conv.forward(input)),
            })
        })
        .collect();
    for (conv, input) in elsewhere.iter().flatten() {
        contestants.push(Box::new(move || {
            run(input, backward, |input| conv.forward(input))
        }));
    }
    let mut seconds = medians(&mut contestants, 7, row);
    let elsewhere = seconds.split_off(COLUMNS.len() - 1);
    let [_, _, factored, materialized, ..] = seconds[..] else {
        unreachable!("one figure for each contestant")
    };
    let side = shape.side.div_ceil(shape.stride);
    let chosen = match convs[2].cost().cheaper(batch * side * side) {
        Evaluation::Factored => factored,
        _ => materialized,
    };
    seconds.push(seconds[0] * chosen / factored.min(materialized));
    seconds.extend(elsewhere);
    seconds
}

fn dense(conv: &Conv) -> &Conv2d {
    match conv {
        Conv::Dense(conv) => conv,
        _ => unreachable!("the contestant is dense"),
    }
}

/// The seconds of one pass.
fn run(input: &Tensor<4>, backward: bool, forward: impl FnOnce(Tensor<4>) -> Tensor<4>) -> f64 {
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
