//! `LinearConv2d` against Burn's `Conv2d` of the same shape, for the layers of VGG11.
//!
//! Prints the time of the plain convolution and, as ratios to it, that of each variant in each
//! evaluation. Within a row the contestants take turns, so that a machine whose speed drifts slows
//! all of them; every figure is a median. No benchmark library pairs its runs like this, hence
//! the few lines of timing here.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Distribution, Tensor};
use linearconv::{CoefficientsConfig, Conv, ConvConfig, Evaluation, LinearConv2dConfig};

/// Input channels, filters and side of the feature map.
const SHAPES: [(usize, usize, usize); 7] = [
    (3, 64, 32),
    (64, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    (512, 512, 4),
    (512, 512, 2),
];
const BATCHES: [usize; 2] = [1, 16];

/// How long a row may take, and how many turns it takes at least.
const ROW: Duration = Duration::from_millis(1500);
const TURNS: usize = 7;

fn main() {
    let device = Device::default();
    println!("{device:?}: ratios to Conv2d, medians of alternating runs\n");
    println!(
        "{:<16} {:>5}  {:<7} {:>9} {:>9} {:>9} {:>9} {:>9}  auto",
        "3x3 layer", "batch", "pass", "Conv2d ms", "full fac", "full mat", "r10 fac", "r10 mat"
    );
    for backward in [false, true] {
        let mut logarithms = [0.0; 4];
        for batch in BATCHES {
            for shape in SHAPES {
                for (sum, ratio) in logarithms
                    .iter_mut()
                    .zip(row(shape, batch, backward, &device))
                {
                    *sum += ratio.ln();
                }
            }
        }
        let rows = (SHAPES.len() * BATCHES.len()) as f64;
        let [a, b, c, d] = logarithms.map(|sum| (sum / rows).exp());
        let pass = pass_name(backward);
        println!("geometric mean          {pass:<7} {a:>19.2} {b:>9.2} {c:>9.2} {d:>9.2}\n");
    }
}

fn pass_name(backward: bool) -> &'static str {
    if backward { "fwd+bwd" } else { "forward" }
}

/// Measures and prints one shape; returns the ratios.
fn row(
    (channels, filters, side): (usize, usize, usize),
    batch: usize,
    backward: bool,
    device: &Device,
) -> [f64; 4] {
    let full = CoefficientsConfig::Full;
    let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
    let linear = |coefficients, evaluation| {
        let policy = LinearConv2dConfig::new([0, 0], [0, 0]).with_evaluation(evaluation);
        ConvConfig::from(policy.with_coefficients(coefficients))
    };
    let layer = Conv2dConfig::new([channels, filters], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let autodiff = device.clone().autodiff();
    let contestants = [
        ConvConfig::dense(),
        linear(full, Evaluation::Factored),
        linear(full, Evaluation::Materialized),
        linear(rank_10, Evaluation::Factored),
        linear(rank_10, Evaluation::Materialized),
    ]
    .map(|policy| policy.with_layer(layer.clone()).init(&autodiff));
    let auto = contestants[1].cost().cheaper(batch * side * side);

    let input = Tensor::random([batch, channels, side, side], Distribution::Default, device);
    let [dense, ratios @ ..] = medians(&contestants, &input, backward);
    let ratios = ratios.map(|time| time / dense);
    let [a, b, c, d] = ratios;
    println!(
        "{:<16} {batch:>5}  {:<7} {:>9.3} {a:>9.2} {b:>9.2} {c:>9.2} {d:>9.2}  {auto:?}",
        format!("{channels}-{filters} {side}x{side}"),
        pass_name(backward),
        dense * 1e3
    );
    ratios
}

/// The median time of each convolution in seconds, all of them taking turns.
fn medians(convs: &[Conv; 5], input: &Tensor<4>, backward: bool) -> [f64; 5] {
    let convs: [Conv; 5] = convs.clone().map(|conv| match backward {
        true => conv,
        false => conv.valid(),
    });
    let mut times: [Vec<f64>; 5] = Default::default();
    for conv in &convs {
        run(conv, input, backward);
    }
    let started = Instant::now();
    while times[0].len() < TURNS || started.elapsed() < ROW {
        for (conv, times) in convs.iter().zip(&mut times) {
            times.push(run(conv, input, backward));
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// The time of one pass in seconds, the device's work included.
fn run(conv: &Conv, input: &Tensor<4>, backward: bool) -> f64 {
    let device = input.device();
    if backward {
        // As inside a network, the gradient of the input is needed too.
        let input = input.clone().autodiff().require_grad();
        let started = Instant::now();
        let gradients = conv.forward(input.clone()).sum().backward();
        let gradient = input.grad(&gradients);
        device.sync().expect("the device finishes");
        let time = started.elapsed().as_secs_f64();
        assert!(gradient.is_some());
        time
    } else {
        let input = input.clone();
        let started = Instant::now();
        let _output = conv.forward(input);
        device.sync().expect("the device finishes");
        started.elapsed().as_secs_f64()
    }
}
