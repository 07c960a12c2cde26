//! Trains the variants of one network one after another.

use std::path::Path;

use clap::Parser;

use super::table::{Format, Table};
use crate::Error;
use crate::cli::{Args, ConvArgs, FileArgs, TrainingArgs};
use crate::models::{NetworkName, Variant};
use crate::output::say;
use crate::run::{Report, Settings, State, execute};

/// Train a network with dense convolutions and with variants of LinearConv, on the same data with the same
/// seed, and print one table.
#[derive(Parser, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct CompareArgs {
    /// The network.
    #[arg(long, value_enum)]
    pub network: NetworkName,

    /// The variants to train, in this order.
    #[arg(long, value_enum, num_args = 1.., default_values = ["dense", "full", "low-rank", "sparse"])]
    pub variants: Vec<Variant>,

    /// The data, the recipe and the devices of the trainings.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// The format of the table.
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

/// Trains the variants. Each variant has a folder of its own under `--out-dir`. A run that is finished there
/// is not trained again, and a run that was interrupted is continued.
///
/// # Errors
/// The errors of [`execute`]. Errors that can be known in advance are returned before the first training.
pub fn compare(args: &CompareArgs) -> Result<Table, Error> {
    let name = format!("{}-compare-{}", args.network, args.training.dataset);
    let parent = match &args.training.out_dir {
        Some(parent) => parent.clone(),
        None => Path::new("runs").join(args.training.with_seed(name)),
    };
    let mut runs = Vec::new();
    for (index, variant) in args.variants.iter().enumerate() {
        let conv = ConvArgs::new(*variant);
        let slug = conv.slug();
        if args.variants[..index].contains(variant) {
            return Err(Error::Flags(format!("--variants names {slug} twice")));
        }
        conv.policy(args.network).map_err(Error::Flags)?;
        let folder = parent.join(slug);
        let training = TrainingArgs {
            out_dir: Some(folder.clone()),
            ..args.training.clone()
        };
        let settings = Settings::new(args.network, conv.clone(), None, training.clone())?;
        let state = settings.state(&folder)?;
        runs.push((*variant, conv, training, folder, state));
    }
    let mut table = Table::new(args.format, 2, &HEADER);
    let mut dense_step = None;
    for (variant, conv, training, folder, state) in runs {
        let args_of_run = |resume| Args {
            conv,
            training,
            files: FileArgs::default(),
            resume,
        };
        let report = match state {
            State::Finished(report) => {
                say!("already finished: {}", folder.display());
                *report
            }
            State::Begun => execute(args.network, args_of_run(Some(folder)))?,
            State::Nothing => execute(args.network, args_of_run(None))?,
        };
        say!("{report}");
        if variant == Variant::Dense {
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
