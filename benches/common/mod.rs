//! What the benches beside Burn's `Conv2d` share: their command line and their report.

use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use clap::Parser;
use linearconv_zoo::backend::{DeviceName, DeviceNameParser};
use serde_json::{Value, json};

use crate::timing::open;

/// Compare LinearConv with Burn's Conv2d.
#[derive(Parser)]
pub struct Args {
    /// Where to compute; `list` prints what is there.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser, default_value = "flex")]
    pub backend: DeviceName,

    /// Show the times of dense layers, full coefficients and rank 10 on another device beside, as
    /// ratios to the same baseline.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser)]
    pub beside: Option<DeviceName>,

    /// A few rows in less than a minute.
    #[arg(long)]
    pub quick: bool,

    /// Only rows whose name contains TEXT.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,

    /// Write the medians and ratios to FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    pub fn device(&self) -> Device {
        open(&self.backend)
    }

    /// The other device.
    pub fn beside(&self) -> Option<Device> {
        self.beside.as_ref().map(open)
    }
}

/// What runs on the other device too.
pub const BESIDE: [&str; 3] = ["dense", "full", "rank 10"];

/// The rows of a bench, whose first column is the baseline of the others.
pub struct Report {
    columns: Vec<String>,
    rows: Vec<Value>,
    means: Vec<Value>,
}

impl Report {
    /// Prints the head of a table in Markdown; on another device there are some more columns.
    pub fn new(columns: &[&str], args: &Args) -> Self {
        let mut columns: Vec<String> = columns.iter().map(|column| (*column).into()).collect();
        if let Some(device) = &args.beside {
            columns.extend(BESIDE.map(|column| format!("{column}, {device}")));
        }
        println!("| | {} ms | {} |", columns[0], columns[1..].join(" | "));
        println!("|---|{}", "---:|".repeat(columns.len()));
        Self {
            columns,
            rows: Vec::new(),
            means: Vec::new(),
        }
    }

    /// Prints and keeps a row: the time of the baseline in milliseconds and the ratios to it. What did
    /// not run has no number.
    pub fn row(&mut self, name: &str, seconds: &[f64]) {
        let ratios: Vec<_> = seconds[1..].iter().map(|time| time / seconds[0]).collect();
        println!("| {name} | {:.3} | {} |", seconds[0] * 1e3, cells(&ratios));
        let milliseconds: Vec<_> = seconds.iter().map(|time| time * 1e3).collect();
        self.rows
            .push(json!({ "name": name, "ms": milliseconds, "ratios": ratios }));
    }

    /// Prints and keeps the geometric mean of the ratios of the rows that are chosen.
    pub fn geometric_mean(&mut self, name: &str, choose: impl Fn(&str) -> bool) {
        let chosen: Vec<Vec<f64>> = self
            .rows
            .iter()
            .filter(|row| row["name"].as_str().is_some_and(&choose))
            .map(|row| {
                let ratios = row["ratios"].as_array().into_iter().flatten();
                // JSON has no number for what did not run.
                let ratio = |ratio: &Value| ratio.as_f64().unwrap_or(f64::NAN);
                ratios.map(ratio).collect()
            })
            .collect();
        if chosen.is_empty() {
            return;
        }
        let ratios: Vec<f64> = (0..self.columns.len() - 1)
            .map(|column| {
                let sum: f64 = chosen.iter().map(|ratios| ratios[column].ln()).sum();
                (sum / chosen.len() as f64).exp()
            })
            .collect();
        println!("| **geometric mean, {name}** | | {} |", cells(&ratios));
        self.means
            .push(json!({ "name": name, "rows": chosen.len(), "ratios": ratios }));
    }

    /// Writes everything, if a file is asked for.
    pub fn finish(self, bench: &str, args: &Args) {
        let Some(path) = &args.json else { return };
        let report = json!({
            "bench": bench,
            "backend": args.backend,
            "columns": self.columns,
            "rows": self.rows,
            "geometric_means": self.means,
        });
        if let Err(error) = fs::write(path, format!("{report:#}\n")) {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}

fn cells(ratios: &[f64]) -> String {
    let cell = |ratio: &f64| match ratio.is_nan() {
        true => "–".into(),
        false => format!("{ratio:.2}"),
    };
    let cells: Vec<String> = ratios.iter().map(cell).collect();
    cells.join(" | ")
}
