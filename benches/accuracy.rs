//! How exact the formulations of a layer are: `cargo bench --bench accuracy -- --help`.

mod policies;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{DType, Device, Distribution, Tensor};
use clap::Parser;
use linearconv::{Conv, Inference, without_kernel};
use policies::Policy;

/// Print the largest error of each formulation in f32 on flex, divided by the largest output, against
/// Burn's operations in f64: for 3×3 layers of VGG11, with random weights and images.
#[derive(Parser)]
struct Args {
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Channels, filters and side of the images.
const LAYERS: [[usize; 3]; 6] = [
    [3, 64, 32],
    [64, 128, 16],
    [128, 256, 8],
    [256, 512, 4],
    [512, 512, 4],
    [512, 512, 2],
];
/// A single image of a deep layer has too few pixels for Winograd's transform, so many have enough.
const COUNTS: [usize; 2] = [1, 64];

fn main() {
    Args::parse();
    let columns = [
        "Burn",
        "kernel",
        "for inference, 1 image",
        "for inference, 64 images",
    ];
    println!("| | {} |", columns.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
    for [channels, filters, side] in LAYERS {
        for policy in [Policy::Dense, Policy::Rank10, Policy::BothSides] {
            let layer =
                Conv2dConfig::new([channels, filters], [3, 3]).with_padding(PaddingConfig2d::Same);
            let conv = policy.everywhere().with_layer(layer).init(&Device::flex());
            let errors = errors(&conv, [channels, side, side]);
            let cells = errors.map(|error| format!("{error:.1e}"));
            println!(
                "| {channels}-{filters}, {side}x{side}, {policy} | {} |",
                cells.join(" | ")
            );
        }
    }
}

fn errors(conv: &Conv, [channels, height, width]: [usize; 3]) -> [f64; 4] {
    struct Exact;
    impl ModuleMapper for Exact {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::from_tensor(param.val().cast(DType::F64))
        }
    }
    let exact = conv.clone().map(&mut Exact);
    let of_count = COUNTS.map(|count| {
        let size = [count, channels, height, width];
        let images = Tensor::<4>::random(size, Distribution::Normal(0.0, 1.0), &Device::flex());
        let expected = without_kernel(|| exact.forward(images.clone().cast(DType::F64)));
        let largest = |tensor: Tensor<4>| tensor.abs().max().into_scalar::<f64>();
        let error = |output: Tensor<4>| {
            largest(output.cast(DType::F64) - expected.clone()) / largest(expected.clone())
        };
        [
            error(without_kernel(|| conv.forward(images.clone()))),
            error(conv.forward(images.clone())),
            error(Inference::new(conv.clone()).forward(images)),
        ]
    });
    let [[_, _, single], [burn, kernel, many]] = of_count;
    [burn, kernel, single, many]
}
