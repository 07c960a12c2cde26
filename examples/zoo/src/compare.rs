//! The variants of one network, trained one after another.

use clap::Parser;

use crate::Error;
use crate::cli::{Args, ConvArgs, TrainingArgs, Variant};
use crate::models::NetworkName;
use crate::report::Report;
use crate::run::execute;
use crate::table::{Format, Table};

/// Train a network dense and as variants of LinearConv, with the same data and seed, and print one
/// table.
#[derive(Parser, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct CompareArgs {
    /// The network.
    #[arg(long, value_enum)]
    pub network: NetworkName,

    /// These variants, in this order.
    #[arg(long, value_enum, num_args = 1.., default_values = ["dense", "full", "low-rank", "sparse"])]
    pub variants: Vec<Variant>,

    /// How they are trained.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// How the table is printed.
    #[command(flatten)]
    pub format: Format,
}

const HEADER: [&str; 8] = [
    "network",
    "variant",
    "parameters",
    "multiply-adds M",
    "epochs",
    "test accuracy %",
    "s per step",
    "step of dense",
];

/// Trains the variants, each into a folder of its own under `--out-dir`.
///
/// # Errors
/// Those of [`execute`].
pub fn compare(args: &CompareArgs) -> Result<Table, Error> {
    let mut table = Table::new(args.format, 2, &HEADER);
    let mut dense_step = None;
    for variant in &args.variants {
        let conv = ConvArgs::new(*variant);
        let training = TrainingArgs {
            out_dir: args
                .training
                .out_dir
                .as_ref()
                .map(|parent| parent.join(conv.slug())),
            ..args.training.clone()
        };
        let args_of_run = Args {
            conv,
            training,
            resume: None,
        };
        let report = execute(args.network, args_of_run)?;
        eprintln!("{report}");
        if *variant == Variant::Dense {
            dense_step = report.step_seconds;
        }
        table.row(row(&report, dense_step));
    }
    Ok(table)
}

fn row(report: &Report, dense_step: Option<f64>) -> Vec<String> {
    let ratio = report.step_seconds.zip(dense_step);
    let ratio = ratio.map(|(step, dense)| format!("{:.2}", step / dense));
    let step = report.step_seconds.map(|step| format!("{step:.3}"));
    vec![
        report.network.to_string(),
        report.variant.clone(),
        report.cost.parameters.to_string(),
        format!("{:.1}", report.cost.multiply_adds as f64 / 1e6),
        report.epochs.len().to_string(),
        format!("{:.2}", report.test_accuracy),
        step.unwrap_or_default(),
        ratio.unwrap_or_default(),
    ]
}
