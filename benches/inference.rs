//! Networks that are made for inference: `cargo bench --bench inference -- --help`.

#[allow(dead_code, reason = "not every bench trains")]
mod networks;
mod place;
#[allow(dead_code, reason = "it has turns of its own")]
mod timing;

use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use clap::Parser;
use linearconv::{CoefficientsConfig, ConvConfig, Inference, LinearConv2dConfig};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName};

/// Print the median milliseconds of networks on flex that are made for inference.
///
/// Networks take turns as `benches/pytorch/compare.py` has it: a pause, then calls in a row, of which
/// the first ones do not count.
#[derive(Parser)]
struct Args {
    /// Only rows whose name contains TEXT.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const TURNS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// How long a turn takes, and what of it does not count.
const TURN: Duration = Duration::from_millis(300);
const WARM_UP: Duration = Duration::from_millis(20);

fn main() {
    place::enter_root();
    let args = Args::parse();
    linearconv_zoo::keep_freed_memory();
    let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
    let both = LinearConv2dConfig::new([0, 0], [0, 0]).with_channel_ratio(0.5);
    let policies = [
        ("dense", ConvConfig::dense()),
        ("full", ConvConfig::auto(CoefficientsConfig::Full)),
        ("rank 10", ConvConfig::auto(rank_10)),
        ("both sides", ConvConfig::Auto(both)),
    ];
    let names = policies.each_ref().map(|(name, _)| *name);
    println!("| ms | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
    for network in [
        NetworkName::Vgg11,
        NetworkName::ResNet18,
        NetworkName::MobileNetV2,
        NetworkName::Base,
    ] {
        for batch in [1, 32] {
            let name = format!("{network}, batch {batch}");
            if name.contains(&args.only) {
                let init = |(_, conv): &(&str, ConvConfig)| {
                    networks::init(network, conv.clone(), &Device::flex())
                };
                let cells = row(policies.iter().map(init).collect(), batch);
                println!("| {name} | {} |", cells.join(" | "));
            }
        }
    }
}

/// The medians of networks that take turns.
fn row(networks: Vec<AnyNetwork>, batch: usize) -> Vec<String> {
    let images = networks::images(batch, &Device::flex());
    let networks: Vec<_> = networks.into_iter().map(Inference::new).collect();
    let mut times = vec![Vec::new(); networks.len()];
    for _ in 0..TURNS {
        for (network, times) in networks.iter().zip(&mut times) {
            thread::sleep(PAUSE);
            let started = Instant::now();
            while started.elapsed() < TURN {
                let before = Instant::now();
                drop(network.forward(images.clone()));
                if before.duration_since(started) >= WARM_UP {
                    times.push(before.elapsed().as_secs_f64());
                }
            }
        }
    }
    let medians = times.into_iter().map(timing::median);
    medians.map(|time| format!("{:.2}", time * 1e3)).collect()
}
