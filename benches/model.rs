//! Whole networks with LinearConv against their dense twins: `cargo bench --bench model -- --help`.

mod common;
mod counting;
mod networks;
mod peak;
mod place;
mod policies;
mod report;
mod rows;
mod timing;

use std::time::Duration;

use burn::optim::AdamConfig;
use burn::tensor::Device;
use clap::Parser;
use common::{Args, BESIDE};
use linearconv::{ConvConfig, Evaluation, Inference, without_kernel};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName};
use networks::{images, labels, multiply_adds, multiply_adds_to_train, step};
use policies::Policy;
use report::{Measured, bytes};
use timing::{Contestant, medians, time};

const TRAINING_BATCH: usize = 50;
/// Every how many batches the correlation loss is added, as the zoo's recipes do.
const INTERVAL: f64 = 10.0;

/// What a network is run by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Burn's own operations.
    Burn,
    Kernel,
    /// A model that is made for inference; it takes no part in training.
    Inference,
}

/// A contestant.
#[derive(Clone)]
struct Column {
    name: String,
    conv: ConvConfig,
    evaluation: Evaluation,
    by: By,
    device: Device,
}

/// The contestants, the baseline first, those on the other device last.
fn columns(device: &Device, beside: Option<&Device>) -> Vec<Column> {
    use Policy::{BothSides, Dense, Full, Rank10};

    let column = |name: String, conv, by| Column {
        name,
        conv,
        evaluation: Evaluation::Auto,
        by,
        device: device.clone(),
    };
    let auto = |policy: Policy| column(policy.to_string(), policy.auto(), By::Kernel);
    let everywhere = |policy: Policy| {
        let name = format!("{policy}, all layers");
        column(name, policy.everywhere(), By::Kernel)
    };
    let materialized = |policy: Policy| {
        let evaluation = Evaluation::Materialized;
        let name = format!("{policy}, all mat");
        Column {
            evaluation,
            ..column(name, policy.everywhere_by(evaluation), By::Kernel)
        }
    };
    let made = |policy: Policy| {
        let name = format!("{policy}, made for inference");
        column(name, policy.auto(), By::Inference)
    };
    let mut columns = vec![column(Dense.to_string(), Dense.auto(), By::Burn)];
    columns.extend([Full, Rank10].map(auto));
    columns.extend([Full, Rank10].map(everywhere));
    columns.extend([Full, Rank10].map(materialized));
    columns.push(auto(BothSides));
    columns.push(column(
        format!("{Dense}, our kernel"),
        Dense.auto(),
        By::Kernel,
    ));
    columns.extend([Dense, Full, Rank10, BothSides].map(made));
    columns.extend(beside.into_iter().flat_map(|device| {
        BESIDE.map(|policy| Column {
            device: device.clone(),
            ..auto(policy)
        })
    }));
    columns
}

impl Column {
    fn init(&self, network: NetworkName, device: &Device) -> AnyNetwork {
        networks::init(network, self.conv.clone(), device)
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.by {
            By::Burn => without_kernel(work),
            _ => work(),
        }
    }
}

fn main() {
    place::enter_root();
    let args = Args::parse();
    let networks: &[NetworkName] = match args.rows.quick {
        true => &[NetworkName::Vgg11],
        false => &[
            NetworkName::Vgg11,
            NetworkName::ResNet18,
            NetworkName::MobileNetV2,
        ],
    };
    let columns = columns(&args.device(), args.beside().as_ref());
    let names = columns[..columns.len() - args.beside.iter().len() * BESIDE.len()].iter();
    let mut report = args.report(names.map(|column| column.name.clone()).collect());
    let mut overheads = Vec::new();
    for network in networks {
        for batch in [1, 32] {
            let name = format!("{network}, inference, batch {batch}");
            if args.rows.have(&name) {
                report.row(&name, inference(*network, batch, &args, &columns));
            }
        }
        let name = format!("{network}, training step, batch {TRAINING_BATCH}");
        if args.rows.have(&name) {
            let (measured, overhead) = training(*network, &args, &columns);
            report.row(&name, measured);
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
    report.finish("model", &args.rows);
}

/// Every contestant that classifies a batch.
fn inference(network: NetworkName, batch: usize, args: &Args, columns: &[Column]) -> Vec<Measured> {
    let mut counts = Vec::new();
    let mut contestants: Vec<Contestant> = Vec::new();
    for column in columns {
        let device = &column.device;
        let images = images(batch, device);
        let network = column.init(network, device);
        counts.push(multiply_adds(&network, batch, column.evaluation));
        contestants.push(match column.by {
            By::Inference => {
                let network = Inference::new(network);
                Box::new(move || time(device, || network.forward(images.clone())))
            }
            _ => Box::new(move || time(device, || column.run(|| network.forward(images.clone())))),
        });
    }
    let (turns, row) = effort(args);
    let seconds = medians(&mut contestants, turns, row);
    let contestants = contestants.iter_mut().zip(columns);
    contestants
        .zip(seconds.into_iter().zip(counts))
        .map(
            |((contestant, column), (seconds, multiply_adds))| Measured {
                seconds,
                multiply_adds: multiply_adds as f64,
                bytes: bytes(contestant, &column.device),
            },
        )
        .collect()
}

/// Every contestant that takes a training step by Adam, a tenth of the correlation loss included, and the
/// share of that in a step with rank 10.
fn training(network: NetworkName, args: &Args, columns: &[Column]) -> (Vec<Measured>, f64) {
    let mut counts = Vec::new();
    // Each contestant twice: without the correlation loss and with it.
    let mut contestants: Vec<Contestant> = Vec::new();
    let trains = |column: &&Column| column.by != By::Inference;
    for column in columns.iter().filter(trains) {
        let device = column.device.clone().autodiff();
        let images = images(TRAINING_BATCH, &device);
        let labels = labels(TRAINING_BATCH, &device);
        let network = column.init(network, &device);
        counts.push(multiply_adds_to_train(
            &network,
            TRAINING_BATCH,
            column.evaluation,
        ));
        for regularized in [false, true] {
            let mut trainer = Some((network.clone(), AdamConfig::new().init()));
            let (images, labels, device) = (images.clone(), labels.clone(), device.clone());
            contestants.push(Box::new(move || {
                let (network, optimizer) = trainer.take().expect("put back after each step");
                time(&device, || {
                    trainer = Some(
                        column.run(|| step(network, optimizer, &images, &labels, regularized)),
                    );
                })
            }));
        }
    }
    let (turns, row) = effort(args);
    let seconds = medians(&mut contestants, turns, row);
    let mut trained = contestants.chunks_mut(2).zip(seconds.chunks(2).zip(counts));
    let measured = columns.iter().map(|column| {
        if !trains(&column) {
            return Measured::NOTHING;
        }
        let (contestants, (seconds, count)) = trained.next().expect("a contestant that trains");
        Measured {
            seconds: seconds[0] + (seconds[1] - seconds[0]) / INTERVAL,
            multiply_adds: count as f64,
            bytes: bytes(&mut contestants[0], &column.device),
        }
    });
    let measured = measured.collect();
    let [plain, regularized] = [seconds[2 * RANK_10], seconds[2 * RANK_10 + 1]];
    (measured, (regularized - plain) / INTERVAL / plain)
}

/// The column of rank 10 by `ConvConfig::auto`.
const RANK_10: usize = 2;

/// How many turns a row takes at least, and how long.
fn effort(args: &Args) -> (usize, Duration) {
    match args.rows.quick {
        true => (3, Duration::from_millis(500)),
        false => (5, Duration::from_secs(3)),
    }
}
