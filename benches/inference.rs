//! Networks that are made for inference: `cargo bench --bench inference -- --help`.

mod counting;
mod networks;
mod peak;
mod place;
mod policies;
mod report;
mod rows;
#[allow(dead_code, reason = "it has turns of its own")]
mod timing;
mod visits;

use burn::tensor::Device;
use clap::Parser;
use linearconv::{Evaluation, Inference};
use linearconv_zoo::models::{Network, NetworkName};
use policies::Policy;
use report::{Columns, Measured, Report, Times, bytes};
use rows::Rows;
use timing::Contestant;

/// Print the median milliseconds of networks on flex that are made for inference, their speeds as shares
/// of the machine's peak, and their memory.
///
/// Networks take turns as `benches/pytorch/compare.py` has it: a pause, then calls in a row, of which
/// the first ones do not count.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    rows: Rows,
}

const POLICIES: [Policy; 4] = [
    Policy::Dense,
    Policy::Full,
    Policy::Rank10,
    Policy::BothSides,
];

fn main() {
    place::enter_root();
    let args = Args::parse();
    linearconv_zoo::keep_freed_memory();
    let columns = Columns {
        names: POLICIES.map(|policy| policy.to_string()).into(),
        device: Device::flex(),
    };
    let mut report = Report::new(Times::Milliseconds, vec![columns]);
    let (networks, turns): (&[NetworkName], _) = match args.rows.quick {
        true => (&[NetworkName::Vgg11], 3),
        false => (
            &[
                NetworkName::Vgg11,
                NetworkName::ResNet18,
                NetworkName::MobileNetV2,
                NetworkName::Base,
            ],
            25,
        ),
    };
    for network in networks {
        for batch in [1, 32] {
            let name = format!("{network}, batch {batch}");
            if args.rows.have(&name) {
                report.row(&name, row(*network, batch, turns));
            }
        }
    }
    report.finish("inference", &args.rows);
}

/// Networks that take turns.
fn row(network: NetworkName, batch: usize, turns: usize) -> Vec<Measured> {
    let device = Device::flex();
    let images = networks::images(batch, &device);
    let networks = POLICIES.map(|policy| networks::init(network, policy.auto(), &device));
    let counts = networks
        .each_ref()
        .map(|network| networks::multiply_adds(network, batch, Evaluation::Auto));
    let networks = networks.map(Inference::new);
    let mut times = POLICIES.map(|_| Vec::new());
    for _ in 0..turns {
        for (network, times) in networks.iter().zip(&mut times) {
            times.extend(visits::visit(|| drop(network.forward(images.clone()))));
        }
    }
    let networks = networks.into_iter().zip(counts).zip(times);
    networks
        .map(|((network, multiply_adds), times)| {
            let images = images.clone();
            let mut call: Contestant =
                Box::new(move || timing::time(&Device::flex(), || network.forward(images.clone())));
            Measured {
                seconds: timing::median(times),
                multiply_adds: multiply_adds as f64,
                bytes: bytes(&mut call, &device),
            }
        })
        .collect()
}
