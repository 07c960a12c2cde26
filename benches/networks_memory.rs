//! How much memory whole networks take: `cargo bench --bench networks_memory -- --help`.

mod counting;
mod networks;

use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::Device;
use clap::Parser;
use linearconv::{CoefficientsConfig, ConvConfig, Inference, LinearConv2dConfig, without_kernel};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName};

/// Print the memory in MiB that networks take on flex at the most, weights included: a training step by
/// Adam, and a single image by a model that is made for inference, the first time and from then on. A
/// counting allocator tells.
#[derive(Parser)]
struct Args {
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const BATCH: usize = 50;

fn main() {
    Args::parse();
    let full = LinearConv2dConfig::new([0, 0], [0, 0]);
    let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
    let contestants = [
        ("dense", ConvConfig::dense()),
        ("rank 10", ConvConfig::auto(rank_10)),
        ("both sides", ConvConfig::Auto(full.with_channel_ratio(0.5))),
    ];
    println!(
        "| MiB | weights | training step, Burn | training step | first image | next image | next image / weights |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for network in [NetworkName::Vgg11, NetworkName::ResNet18] {
        for (name, conv) in &contestants {
            let init = |device: &Device| networks::init(network, conv.clone(), device);
            let burns = without_kernel(|| training(init(&Device::flex().autodiff())));
            let step = training(init(&Device::flex().autodiff()));
            let [weights, first, next] = inference(init(&Device::flex()));
            let mebibytes = |bytes: usize| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
            println!(
                "| {network}, {name} | {} | {:.2} |",
                [weights, burns, step, first, next]
                    .map(mebibytes)
                    .join(" | "),
                next as f64 / weights as f64
            );
        }
    }
}

/// The most of the third step: the first ones allocate what the optimizer keeps.
fn training(network: AnyNetwork) -> usize {
    let before = counting::now();
    let device = Device::flex().autodiff();
    let (images, labels) = (
        networks::images(BATCH, &device),
        networks::labels(BATCH, &device),
    );
    let mut trainer = (network, AdamConfig::new().init());
    for _ in 0..2 {
        let (network, optimizer) = trainer;
        trainer = networks::step(network, optimizer, &images, &labels, false);
    }
    let (network, optimizer) = trainer;
    let step = || networks::step(network, optimizer, &images, &labels, false);
    let (most, trained) = counting::most(step);
    drop(trained);
    most.saturating_sub(before)
}

/// The weights of the network, and the most memory of the first image and of a later one.
fn inference(network: AnyNetwork) -> [usize; 3] {
    let device = Device::flex();
    let images = networks::images(1, &device);
    // Parameters are lazy: before the first image there are none.
    drop(network.forward(images.clone()));
    let with_weights = counting::now();
    let weights = 4 * network.num_params();
    let others = with_weights.saturating_sub(weights);
    let (first, network) = counting::most(|| {
        let network = Inference::new(network);
        drop(network.forward(images.clone()));
        network
    });
    let (next, _) = counting::most(|| network.forward(images.clone()));
    [
        weights,
        first.saturating_sub(others),
        next.saturating_sub(others),
    ]
}
