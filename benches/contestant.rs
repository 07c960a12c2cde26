//! The crate's part of `benches/pytorch/compare.py`, which starts this program and lets it take turns with
//! other engines.

mod memory_of;
mod networks;
mod policies;
mod visits;

use std::io::{self, Write};

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use linearconv::{Evaluation, Inference};
use linearconv_zoo::models::{Network, NetworkName};
use linearconv_zoo::train::OnePassAdam;
use policies::Policy;
use serde_json::{Value, json};

/// Print, as JSON, the multiply-adds of every contestant. Then, for every line of the standard input, which
/// is the name of a contestant, print the seconds of a few calls in a row.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Option<Args>,

    /// Passed by `cargo bench`, and then nothing else.
    #[arg(long, hide = true, exclusive = true)]
    bench: bool,
}

#[derive(clap::Args)]
struct Args {
    #[arg(value_enum)]
    network: NetworkName,

    #[arg(value_enum)]
    workload: Workload,

    batch: usize,

    /// Print instead how much resident memory this contestant takes, in bytes.
    #[arg(long, value_name = "CONTESTANT")]
    memory: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Models that are made for inference.
    Inference,
    /// Steps by Adam.
    Training,
}

const POLICIES: [Policy; 4] = [
    Policy::Dense,
    Policy::Full,
    Policy::Rank10,
    Policy::BothSides,
];
/// How the name of a contestant ends that adds the correlation loss at every step.
const REGULARIZED: &str = ", correlation loss";

/// Does once what is measured.
type Call = Box<dyn FnMut()>;

fn main() {
    // `cargo bench` starts every bench.
    let Some(args) = CommandLine::parse().args else {
        return println!("benches/pytorch/compare.py starts this program.");
    };
    linearconv_zoo::keep_freed_memory();
    match &args.memory {
        Some(name) => println!("{}", memory(&args, name)),
        None => take_turns(&args),
    }
}

fn take_turns(args: &Args) {
    let mut calls: Vec<(String, Call)> = Vec::new();
    let mut counts = Vec::new();
    for (name, policy, regularized) in contestants(args.workload) {
        let (call, multiply_adds) = args.start(policy, regularized);
        counts.push((name.clone(), multiply_adds));
        calls.push((name, call));
    }
    say(&json!(counts));
    for line in io::stdin().lines() {
        let line = line.expect("a line");
        let call = calls.iter_mut().find(|(name, _)| *name == line);
        let (_, call) = call.expect("the name of a contestant");
        say(&json!(visits::visit(call)));
    }
}

fn say(value: &Value) {
    println!("{value}");
    io::stdout().flush().expect("somebody who reads");
}

/// The names of everyone who takes part, and what they are.
fn contestants(workload: Workload) -> Vec<(String, Policy, bool)> {
    let plain = POLICIES.map(|policy| (policy.to_string(), policy, false));
    let regularized = POLICIES.map(|policy| (format!("{policy}{REGULARIZED}"), policy, true));
    let mut contestants = Vec::from(plain);
    if workload == Workload::Training {
        // Dense layers have no correlation loss.
        contestants.extend(regularized.into_iter().skip(1));
    }
    contestants
}

/// The most resident memory while the contestant runs, beyond that of the process before it.
fn memory(args: &Args, name: &str) -> usize {
    let mut contestants = contestants(args.workload).into_iter();
    let contestant = contestants.find(|(found, ..)| found == name);
    let (_, policy, regularized) = contestant.expect("the name of a contestant");
    let before = memory_of::resident().expect("a system that tells");
    let (mut call, _) = args.start(policy, regularized);
    for _ in 0..3 {
        call();
    }
    memory_of::forget_peak();
    for _ in 0..3 {
        call();
    }
    memory_of::peak().expect("as above").saturating_sub(before)
}

impl Args {
    /// The contestant, and the multiply-adds of a call.
    fn start(&self, policy: Policy, regularized: bool) -> (Call, u64) {
        let Self { network, batch, .. } = *self;
        let evaluation = Evaluation::Auto;
        match self.workload {
            Workload::Inference => {
                let device = Device::flex();
                let images = networks::images(batch, &device);
                let network = networks::init(network, policy.auto(), &device);
                let count = networks::multiply_adds(&network, batch, evaluation);
                let network = Inference::new(network);
                let call = move || drop(network.forward(images.clone()));
                (Box::new(call), count)
            }
            Workload::Training => {
                let device = Device::flex().autodiff();
                let images = networks::images(batch, &device);
                let labels = networks::labels(batch, &device);
                let network = networks::init(network, policy.auto(), &device);
                let count = networks::multiply_adds_to_train(&network, batch, evaluation);
                let mut trainer = Some((network, OnePassAdam::init(1e-5)));
                let call = move || {
                    let (network, optimizer) = trainer.take().expect("put back after each step");
                    trainer = Some(networks::step(
                        network,
                        optimizer,
                        &images,
                        &labels,
                        regularized,
                    ));
                };
                (Box::new(call), count)
            }
        }
    }
}
