//! How much memory whole networks take: `cargo bench --bench networks_memory -- --help`.

mod counting;
mod networks;
mod policies;
mod process;

use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::Device;
use clap::Parser;
use linearconv::{ConvConfig, Inference, without_kernel};
use linearconv_zoo::models::{Network, NetworkName};
use policies::Policy;

/// Print the memory in MiB that networks take on flex at the most, weights included: a training step by
/// Adam, and a single image by a model that is made for inference, the first time and from then on. A
/// counting allocator tells. Every figure is from a process of its own.
#[derive(Parser)]
struct Args {
    /// Measure one way of one network.
    #[arg(long, hide = true, num_args = 3)]
    measure: Vec<usize>,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const NETWORKS: [NetworkName; 2] = [NetworkName::Vgg11, NetworkName::ResNet18];
const POLICIES: [Policy; 3] = [Policy::Dense, Policy::Rank10, Policy::BothSides];
const BATCH: usize = 50;

/// What a process measures.
const WAYS: [fn(NetworkName, ConvConfig) -> Vec<usize>; 3] = [
    |network, conv| without_kernel(|| training(network, conv)),
    training,
    inference,
];

fn main() {
    let args = Args::parse();
    if let [network, policy, way] = args.measure[..] {
        counting::start();
        let bytes = WAYS[way](NETWORKS[network], POLICIES[policy].auto());
        let bytes: Vec<String> = bytes.iter().map(usize::to_string).collect();
        return println!("{}", bytes.join(" "));
    }
    let columns = [
        "weights",
        "training step, Burn",
        "training step",
        "first image",
        "next image",
        "next image / weights",
    ];
    println!("| MiB | {} |", columns.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
    for (index, network) in NETWORKS.into_iter().enumerate() {
        for (policy, name) in POLICIES.iter().enumerate() {
            let [burns, step] = [0, 1].map(|way| in_a_process([index, policy, way])[0]);
            let of_image = in_a_process([index, policy, 2]);
            let [weights, first, next] = [0, 1, 2].map(|place| of_image[place]);
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

/// The bytes that a process of its own prints.
fn in_a_process(which: [usize; 3]) -> Vec<usize> {
    let bytes = process::measure(which);
    let bytes = bytes.split_whitespace().map(str::parse);
    bytes.collect::<Result<_, _>>().expect("bytes")
}

/// The most of the third step: the first ones allocate what the optimizer keeps.
fn training(network: NetworkName, conv: ConvConfig) -> Vec<usize> {
    let device = Device::flex().autodiff();
    let (images, labels) = (
        networks::images(BATCH, &device),
        networks::labels(BATCH, &device),
    );
    let network = networks::init(network, conv, &device);
    let mut trainer = (network, AdamConfig::new().init());
    for _ in 0..2 {
        let (network, optimizer) = trainer;
        trainer = networks::step(network, optimizer, &images, &labels, false);
    }
    let (network, optimizer) = trainer;
    let step = || networks::step(network, optimizer, &images, &labels, false);
    let (most, _) = counting::most(step);
    vec![most]
}

/// The weights of the network, and the most memory of the first image and of a later one.
fn inference(network: NetworkName, conv: ConvConfig) -> Vec<usize> {
    let device = Device::flex();
    let images = networks::images(1, &device);
    let network = networks::init(network, conv, &device);
    let weights = 4 * network.num_params();
    let (first, network) = counting::most(|| {
        let network = Inference::new(network);
        drop(network.forward(images.clone()));
        network
    });
    let (next, _) = counting::most(|| network.forward(images.clone()));
    vec![weights, first, next]
}
