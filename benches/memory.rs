//! How much memory single layers take beside Burn's `Conv2d`: `cargo bench --bench memory -- --help`.

mod memory_of;
mod policies;
mod process;

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Tensor};
use clap::Parser;
use linearconv::{Conv, without_kernel};
use policies::Policy;

/// Print, for layers on flex, the memory in MiB that one pass takes at the most beyond the layer and its
/// input, and how much of it stays once the results are dropped. Every figure is from a process of its
/// own.
#[derive(Parser)]
struct Args {
    /// Only rows whose name contains TEXT.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Measure one contestant of one row.
    #[arg(long, hide = true, num_args = 3)]
    measure: Vec<usize>,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Row {
    name: &'static str,
    input: [usize; 4],
    filters: usize,
    kernel: [usize; 2],
}

const fn row(name: &'static str, input: [usize; 4], filters: usize, kernel: [usize; 2]) -> Row {
    Row {
        name,
        input,
        filters,
        kernel,
    }
}

const ROWS: [Row; 4] = [
    row(
        "64-64 1x9, 1x160000, batch 4",
        [4, 64, 1, 160_000],
        64,
        [1, 9],
    ),
    row("64-64 3x3, 256x256, batch 4", [4, 64, 256, 256], 64, [3, 3]),
    row("64-64 3x3, 32x32, batch 64", [64, 64, 32, 32], 64, [3, 3]),
    row("512-512 3x3, 4x4, batch 64", [64, 512, 4, 4], 512, [3, 3]),
];

const PASSES: [&str; 2] = ["forward", "fwd+bwd"];

/// The name of a dense layer by Burn's own operations.
const BURN: &str = "Conv2d";

const CONTESTANTS: [(&str, Policy); 5] = [
    (BURN, Policy::Dense),
    ("dense, our kernel", Policy::Dense),
    ("full", Policy::Full),
    ("rank 10", Policy::Rank10),
    ("both sides", Policy::BothSides),
];

fn main() {
    let args = Args::parse();
    if let [row, contestant, pass] = args.measure[..] {
        return measure(
            &ROWS[row],
            CONTESTANTS[contestant],
            PASSES[pass] == "fwd+bwd",
        );
    }
    let names = CONTESTANTS.map(|(name, _)| name);
    println!("| MiB at the most / that stay | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
    for (pass_index, pass) in PASSES.iter().enumerate() {
        for (row_index, row) in ROWS.iter().enumerate() {
            let name = format!("{}, {pass}", row.name);
            if name.contains(&args.only) {
                let cell = |contestant| process::measure([row_index, contestant, pass_index]);
                let cells: Vec<String> = (0..CONTESTANTS.len()).map(cell).collect();
                println!("| {name} | {} |", cells.join(" | "));
            }
        }
    }
}

fn measure(row: &Row, (name, policy): (&str, Policy), backward: bool) {
    let device = Device::flex();
    let [_, channels, ..] = row.input;
    let layer =
        Conv2dConfig::new([channels, row.filters], row.kernel).with_padding(PaddingConfig2d::Same);
    let conv = policy
        .everywhere()
        .with_layer(layer)
        .init(&device.clone().autodiff());
    let conv = if backward { conv } else { conv.valid() };
    // Parameters are lazy, and the first pass of a process starts its threads.
    let side = row.kernel[0].max(row.kernel[1]);
    pass(
        &conv,
        Tensor::ones([1, channels, side, side], &device),
        backward,
        name,
    );

    let input = Tensor::ones(row.input, &device);
    let before = memory_of::resident();
    pass(&conv, input, backward, name);
    let mebibytes = |bytes: Option<usize>| match (bytes, before) {
        (Some(bytes), Some(before)) => (bytes.saturating_sub(before) >> 20).to_string(),
        _ => "?".into(),
    };
    println!(
        "{} / {}",
        mebibytes(memory_of::peak()),
        mebibytes(memory_of::resident())
    );
}

/// One pass, whose results are dropped.
fn pass(conv: &Conv, input: Tensor<4>, backward: bool, contestant: &str) {
    let work = || match backward {
        false => drop(conv.forward(input.clone())),
        true => {
            let input = input.clone().autodiff().require_grad();
            drop(conv.forward(input).sum().backward());
        }
    };
    match contestant {
        BURN => without_kernel(work),
        _ => work(),
    }
}
