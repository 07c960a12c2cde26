//! What more threads bring: `cargo bench --bench scaling -- --help`.

mod division;
mod layers;
mod place;
mod policies;
mod rows;
#[allow(dead_code, reason = "the device is flex")]
mod timing;

use std::time::Duration;

use burn::module::Module;
use burn::tensor::Device;
use clap::Parser;
use layers::{SHAPES, Shape, run};
use linearconv::Inference;
use policies::Policy;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rows::Rows;
use serde_json::json;
use timing::{Contestant, medians};

/// Print the milliseconds of layers on flex by one thread and by more, which take turns, and how many times
/// as fast many threads are by the division of the work: a model, in which nothing but multiply-adds takes
/// time. A training pass is forward and backward; the model is that of its forward half.
#[derive(Parser)]
struct Args {
    /// Numbers of threads that are timed.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,

    #[command(flatten)]
    rows: Rows,
}

/// Numbers of threads of the model.
const MODEL: [usize; 6] = [2, 4, 8, 16, 32, 64];
const BATCHES: [usize; 3] = [1, 16, 64];
const POLICIES: [Policy; 3] = [Policy::Dense, Policy::Full, Policy::Rank10];
const PASSES: [&str; 2] = ["made for inference", "training"];

fn main() {
    place::enter_root();
    let args = Args::parse();
    linearconv_zoo::keep_freed_memory();
    let pool = |threads: &usize| {
        let builder = ThreadPoolBuilder::new().num_threads(*threads);
        builder.build().expect("threads")
    };
    let timed: Vec<ThreadPool> = args.threads.iter().map(pool).collect();
    let model = MODEL.each_ref().map(pool);

    let timed_columns = args.threads.iter().map(|threads| format!("{threads} ms"));
    let model_columns = MODEL.iter().map(|threads| format!("model, {threads}"));
    let mut columns: Vec<String> = timed_columns.collect();
    columns.push("last / first".into());
    columns.extend(model_columns);
    println!("| threads | {} |", columns.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));

    let mut rows = Vec::new();
    for pass in PASSES {
        for batch in BATCHES {
            for shape in SHAPES
                .iter()
                .filter(|shape| shape.is_quick() || !args.rows.quick)
            {
                for policy in POLICIES {
                    let name = format!("{}, batch {batch}, {policy}, {pass}", shape.name());
                    if !args.rows.have(&name) {
                        continue;
                    }
                    let of_training = pass == "training";
                    let times = times(shape, policy, batch, of_training, &timed, args.rows.quick);
                    let speedups = speedups(shape, policy, batch, of_training, &model);
                    let faster = times[0] / times[times.len() - 1];
                    let cells = times.iter().map(|time| format!("{:.3}", time * 1e3));
                    let ratios = [faster].into_iter().chain(speedups);
                    let cells = cells.chain(ratios.map(|ratio| format!("{ratio:.1}")));
                    println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
                    let milliseconds: Vec<f64> = times.iter().map(|time| time * 1e3).collect();
                    rows.push(json!({ "name": name, "ms": milliseconds, "model": speedups }));
                }
            }
        }
    }
    let report = json!({ "threads": args.threads, "model_threads": MODEL, "rows": rows });
    args.rows.write(&report);
}

/// Seconds of the layer by each of the pools.
fn times(
    shape: &Shape,
    policy: Policy,
    batch: usize,
    trains: bool,
    pools: &[ThreadPool],
    quick: bool,
) -> Vec<f64> {
    let device = Device::flex();
    let conv = policy.everywhere().with_layer(shape.layer());
    let conv = conv.init(&device.clone().autodiff());
    let input = shape.input(batch, &device);
    let made = Inference::new(conv.valid());
    let mut contestants: Vec<Contestant> = Vec::new();
    for pool in pools {
        let (conv, made, input) = (conv.clone(), made.clone(), input.clone());
        // The call owns what it reads and lends it to the thread of the pool.
        let mut pass = move || match trains {
            true => run(&input, true, |input| conv.forward(input)),
            false => run(&input, false, |input| made.forward(input)),
        };
        contestants.push(Box::new(move || pool.install(&mut pass)));
    }
    let row = Duration::from_millis(if quick { 100 } else { 400 });
    medians(&mut contestants, 7, row)
}

/// How many times as fast each of the pools is by the model.
fn speedups(
    shape: &Shape,
    policy: Policy,
    batch: usize,
    trains: bool,
    pools: &[ThreadPool; MODEL.len()],
) -> [f64; MODEL.len()] {
    let conv = policy.everywhere().with_layer(shape.layer());
    let cost = conv.init(&Device::flex()).cost();
    pools.each_ref().map(|pool| match trains {
        true => division::training(shape, &cost, batch, pool),
        false => division::inference(shape, &cost, batch, pool),
    })
}
