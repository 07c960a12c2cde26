//! `LinearConv2d` against Burn's `Conv2d` of the same shape, for layers of VGG11, ResNet-18 and
//! MobileNetV2: `cargo bench --bench layer -- --help`.

mod common;
mod counting;
mod layers;
mod peak;
mod place;
mod policies;
mod report;
mod rows;
mod timing;

use std::time::Duration;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::Device;
use clap::Parser;
use common::{Args, BESIDE};
use layers::{SHAPES, Shape, run};
use linearconv::{CoefficientsConfig, Conv, Evaluation, LinearConv, Pixels};
use policies::Policy;
use report::{Measured, bytes};
use timing::{Contestant, medians};

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

fn main() {
    place::enter_root();
    let args = Args::parse();
    let device = args.device();
    let (batches, row): (&[usize], _) = match args.rows.quick {
        true => (&[1, 16], Duration::from_millis(300)),
        false => (&[1, 16, 64], Duration::from_millis(1000)),
    };
    let beside = args.beside();
    let mut report = args.report(COLUMNS.map(String::from).into());
    for pass in ["forward", "fwd+bwd"] {
        for &batch in batches {
            for shape in &SHAPES {
                let name = format!("{}, batch {batch}, {pass}", shape.name());
                if args.rows.have(&name) && (shape.is_quick() || !args.rows.quick) {
                    let backward = pass == "fwd+bwd";
                    let measured = measure(shape, batch, backward, row, &device, beside.as_ref());
                    report.row(&name, measured);
                }
            }
        }
        report.geometric_mean(&format!("3x3 and at least 64 channels, {pass}"), |name| {
            name.ends_with(pass) && name.contains("3x3") && !name.starts_with("3-")
        });
        report.geometric_mean(&format!("all, {pass}"), |name| name.ends_with(pass));
    }
    report.finish("layer", &args.rows);
}

/// A layer, how it is computed and where.
struct Column {
    conv: Conv,
    evaluation: Evaluation,
    device: Device,
}

/// Every contestant, then the time of the baseline times the ratio of the evaluation that `Auto` chooses for
/// full coefficients to the better one, then the contestants on the other device.
fn measure(
    shape: &Shape,
    batch: usize,
    backward: bool,
    row: Duration,
    device: &Device,
    beside: Option<&Device>,
) -> Vec<Measured> {
    use Evaluation::{Factored, Materialized};

    let column = |policy: Policy, evaluation: Evaluation, device: &Device| Column {
        conv: policy
            .everywhere_by(evaluation)
            .with_layer(shape.layer())
            .init(&device.clone().autodiff()),
        evaluation,
        device: device.clone(),
    };
    let mut columns: Vec<Column> = [
        (Policy::Dense, Factored),
        (Policy::Dense, Factored),
        (Policy::Full, Factored),
        (Policy::Full, Materialized),
        (Policy::Rank10, Factored),
        (Policy::Rank10, Materialized),
        (Policy::Sparse, Factored),
        (Policy::BothSides, Factored),
    ]
    .map(|(policy, evaluation)| column(policy, evaluation, device))
    .into();
    let split: Conv2d = shape.layer().init(&device.clone().autodiff());
    let split =
        split.apply_reparameterization(LinearConv::new(CoefficientsConfig::Full).with_all_layers());
    let split = Conv::from(split);
    columns.extend([Evaluation::Auto, Materialized].map(|evaluation| Column {
        conv: split.clone(),
        evaluation,
        device: device.clone(),
    }));
    columns.extend(
        beside
            .into_iter()
            .flat_map(|device| BESIDE.map(|policy| column(policy, Factored, device))),
    );

    let names = COLUMNS[..COLUMNS.len() - 1]
        .iter()
        .copied()
        .chain(BESIDE.map(|_| ""));
    let pixels = Pixels {
        input: batch * shape.side.pow(2),
        output: batch * shape.output_plane(),
    };
    let auto = columns[2].conv.cost().cheaper(pixels);
    let passes = if backward { 3 } else { 1 };
    let multiply_adds: Vec<u64> = columns
        .iter()
        .map(|column| passes * column.conv.cost().multiply_adds(column.evaluation, pixels))
        .collect();
    let devices: Vec<Device> = columns.iter().map(|column| column.device.clone()).collect();
    let mut contestants: Vec<Contestant> = columns
        .into_iter()
        .zip(names)
        .map(|(column, name)| -> Contestant {
            let input = shape.input(batch, &column.device);
            let conv = if backward {
                column.conv
            } else {
                column.conv.valid()
            };
            match name {
                BASELINE | SPLIT_CONV2D => {
                    let conv = dense(conv);
                    Box::new(move || run(&input, backward, |input| conv.forward(input)))
                }
                _ => Box::new(move || run(&input, backward, |input| conv.forward(input))),
            }
        })
        .collect();
    let seconds = medians(&mut contestants, 7, row);
    let mut measured: Vec<Measured> = contestants
        .iter_mut()
        .zip(&devices)
        .zip(seconds.iter().zip(multiply_adds))
        .map(
            |((contestant, device), (seconds, multiply_adds))| Measured {
                seconds: *seconds,
                multiply_adds: multiply_adds as f64,
                bytes: bytes(contestant, device),
            },
        )
        .collect();
    let [factored, materialized] = [seconds[2], seconds[3]];
    let chosen = if auto == Factored {
        factored
    } else {
        materialized
    };
    let auto = Measured::seconds(seconds[0] * chosen / factored.min(materialized));
    measured.insert(COLUMNS.len() - 1, auto);
    measured
}

fn dense(conv: Conv) -> Conv2d {
    match conv {
        Conv::Dense(conv) => conv,
        _ => unreachable!("the contestant is dense"),
    }
}
