//! Whole networks with LinearConv against their dense twins: `cargo bench --bench model -- --help`.

mod common;
mod networks;
mod place;
mod timing;

use std::time::Duration;

use burn::optim::AdamConfig;
use burn::tensor::Device;
use clap::Parser;
use common::{Args, BESIDE, Report};
use linearconv::{
    CoefficientsConfig, ConvConfig, Evaluation, Inference, LinearConv2dConfig, without_kernel,
};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName};
use networks::{images, labels, step};
use timing::{Contestant, medians, time};

/// Every convolution by Burn's own `conv2d`.
const BASELINE: &str = "dense";
const COLUMNS: [&str; 13] = [
    BASELINE,
    "full",
    "rank 10",
    "full, all layers",
    "rank 10, all layers",
    "full, all mat",
    "rank 10, all mat",
    "both sides",
    "dense, our kernel",
    "dense, made for inference",
    "full, made for inference",
    "rank 10, made for inference",
    "both sides, made for inference",
];
/// How the name of a column ends whose model is made for inference; it takes no part in training.
const MADE: &str = "made for inference";
const TRAINING_BATCH: usize = 50;
/// Every how many batches the correlation loss is added, as the zoo's recipes do.
const INTERVAL: f64 = 10.0;

fn main() {
    place::enter_root();
    let args = Args::parse();
    let device = args.device();
    let networks: &[NetworkName] = match args.quick {
        true => &[NetworkName::Vgg11],
        false => &[
            NetworkName::Vgg11,
            NetworkName::ResNet18,
            NetworkName::MobileNetV2,
        ],
    };
    let beside = args.beside();
    let beside = beside.as_ref();
    let mut report = Report::new(&COLUMNS, &args);
    let mut overheads = Vec::new();
    for network in networks {
        for batch in [1, 32] {
            let name = format!("{network}, inference, batch {batch}");
            if name.contains(&args.only) {
                report.row(&name, &inference(*network, batch, &args, &device, beside));
            }
        }
        let name = format!("{network}, training step, batch {TRAINING_BATCH}");
        if name.contains(&args.only) {
            let (seconds, overhead) = training(*network, &args, &device, beside);
            report.row(&name, &seconds);
            overheads.push(format!("{network} {:.1} %", overhead * 100.0));
        }
    }
    for workload in ["inference, batch 1", "inference, batch 32", "training step"] {
        // The end keeps batch 1 from meaning others.
        report.geometric_mean(workload, |name| {
            name.ends_with(workload) || name.contains(&format!("{workload},"))
        });
    }
    if !overheads.is_empty() {
        println!("\nOf a step with rank 10, the correlation loss every 10 batches adds:");
        println!("{}", overheads.join(", "));
    }
    report.finish("model", &args);
}

/// The network as each contestant has it.
fn contestants(network: NetworkName, device: &Device) -> Vec<AnyNetwork> {
    let full = CoefficientsConfig::Full;
    let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
    let materialized = |coefficients| {
        LinearConv2dConfig::new([0, 0], [0, 0])
            .with_coefficients(coefficients)
            .with_evaluation(Evaluation::Materialized)
            .into()
    };
    // Half of the filters, of half of the channels.
    let both = ConvConfig::Auto(LinearConv2dConfig::new([0, 0], [0, 0]).with_channel_ratio(0.5));
    [
        ConvConfig::dense(),
        ConvConfig::auto(full),
        ConvConfig::auto(rank_10),
        ConvConfig::linear(full),
        ConvConfig::linear(rank_10),
        materialized(full),
        materialized(rank_10),
        both.clone(),
        ConvConfig::dense(),
        ConvConfig::dense(),
        ConvConfig::auto(full),
        ConvConfig::auto(rank_10),
        both,
    ]
    .map(|conv| networks::init(network, conv, device))
    .into()
}

/// Every contestant, and the first three on the other device too.
fn on_both(
    network: NetworkName,
    device: &Device,
    beside: Option<&Device>,
) -> Vec<(AnyNetwork, Device)> {
    let on = |device: &Device, most: usize| {
        let networks = contestants(network, device).into_iter().take(most);
        let networks = networks.map(|network| (network, device.clone()));
        networks.collect::<Vec<_>>()
    };
    let mut networks = on(device, usize::MAX);
    networks.extend(
        beside
            .into_iter()
            .flat_map(|device| on(device, BESIDE.len())),
    );
    networks
}

/// The column of every contestant of [`on_both`].
fn columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().chain(BESIDE)
}

/// What the contestant of this column does.
fn as_column<T>(column: &str, work: impl FnOnce() -> T) -> T {
    match column {
        BASELINE => without_kernel(work),
        _ => work(),
    }
}

/// Seconds of every contestant to classify a batch.
fn inference(
    network: NetworkName,
    batch: usize,
    args: &Args,
    device: &Device,
    beside: Option<&Device>,
) -> Vec<f64> {
    let networks = on_both(network, device, beside);
    let mut contestants: Vec<Contestant> = networks
        .into_iter()
        .zip(columns())
        .map(|((network, device), column)| -> Contestant {
            let images = images(batch, &device);
            if column.ends_with(MADE) {
                let network = Inference::new(network);
                return Box::new(move || time(&device, || network.forward(images.clone())));
            }
            Box::new(move || {
                time(&device, || {
                    as_column(column, || network.forward(images.clone()))
                })
            })
        })
        .collect();
    let (turns, row) = effort(args);
    medians(&mut contestants, turns, row)
}

/// Seconds of every contestant for a training step by Adam, a tenth of the correlation loss
/// included, and the share of that in a step with rank 10.
fn training(
    network: NetworkName,
    args: &Args,
    device: &Device,
    beside: Option<&Device>,
) -> (Vec<f64>, f64) {
    let autodiff = |device: &Device| device.clone().autodiff();
    let beside = beside.map(autodiff);
    let networks = on_both(network, &autodiff(device), beside.as_ref());
    // Each contestant twice: without the correlation loss and with it.
    let mut contestants: Vec<Contestant> = Vec::new();
    let count = networks.len();
    let networks = networks.into_iter().zip(columns());
    for ((network, device), column) in networks.filter(|(_, column)| !column.ends_with(MADE)) {
        let images = images(TRAINING_BATCH, &device);
        let labels = labels(TRAINING_BATCH, &device);
        for regularized in [false, true] {
            let mut trainer = Some((network.clone(), AdamConfig::new().init()));
            let (images, labels, device) = (images.clone(), labels.clone(), device.clone());
            contestants.push(Box::new(move || {
                let (network, optimizer) = trainer.take().expect("put back after each step");
                time(&device, || {
                    trainer = Some(as_column(column, || {
                        step(network, optimizer, &images, &labels, regularized)
                    }));
                })
            }));
        }
    }
    let (turns, row) = effort(args);
    let seconds = medians(&mut contestants, turns, row);
    let pairs: Vec<[f64; 2]> = seconds.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
    let mut amortized = pairs
        .iter()
        .map(|[plain, regularized]| plain + (regularized - plain) / INTERVAL);
    let amortized = columns().take(count).map(|column| {
        let is_made = column.ends_with(MADE);
        (!is_made)
            .then(|| amortized.next())
            .flatten()
            .unwrap_or(f64::NAN)
    });
    let amortized = amortized.collect();
    let [plain, regularized] = pairs[2];
    (amortized, (regularized - plain) / INTERVAL / plain)
}

/// How many turns a row takes at least, and how long.
fn effort(args: &Args) -> (usize, Duration) {
    match args.quick {
        true => (3, Duration::from_millis(500)),
        false => (5, Duration::from_secs(3)),
    }
}
