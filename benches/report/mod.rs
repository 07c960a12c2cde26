//! The tables of a bench: times, then their speeds as shares of the machine's peak, then memory.

#![allow(dead_code, reason = "not every bench has every kind of row")]

use burn::tensor::Device;
use serde_json::{Value, json};

use crate::counting;
use crate::peak::peak;
use crate::rows::Rows;
use crate::timing::Contestant;

/// What was measured of a contestant. What is not known has no number.
#[derive(Clone, Copy)]
pub struct Measured {
    pub seconds: f64,
    pub multiply_adds: f64,
    /// The most memory of a call, beyond what there was before it.
    pub bytes: f64,
}

impl Measured {
    pub const NOTHING: Self = Self::seconds(f64::NAN);

    /// Only a time.
    pub const fn seconds(seconds: f64) -> Self {
        Self {
            seconds,
            multiply_adds: f64::NAN,
            bytes: f64::NAN,
        }
    }

    fn gflops(&self) -> f64 {
        2.0 * self.multiply_adds / self.seconds / 1e9
    }

    fn mebibytes(&self) -> f64 {
        self.bytes / f64::from(1 << 20)
    }
}

/// Calls of which the one with the most memory counts: on a busy machine one thread may do the work of two.
const CALLS: usize = 3;

/// How much memory a call takes at the most; no number on another device than flex, which may have memory of
/// its own.
pub fn bytes(contestant: &mut Contestant, device: &Device) -> f64 {
    match *device == Device::flex() {
        true => (0..CALLS).fold(0.0, |most, _| {
            f64::max(most, counting::most_of_a_call(&mut *contestant) as f64)
        }),
        false => f64::NAN,
    }
}

/// How times are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Milliseconds,
    /// Ratios to the first column, which is in milliseconds.
    Ratios,
}

/// Columns that run on one device.
pub struct Columns {
    pub names: Vec<String>,
    pub device: Device,
}

/// The rows of a bench.
pub struct Report {
    times: Times,
    columns: Vec<Columns>,
    peaks: Vec<f64>,
    rows: Vec<(String, Vec<Measured>)>,
    means: Vec<Value>,
}

impl Report {
    /// Measures the peak of every device and prints the head of a table in Markdown.
    pub fn new(times: Times, columns: Vec<Columns>) -> Self {
        let report = Self {
            times,
            peaks: columns
                .iter()
                .map(|columns| peak(&columns.device))
                .collect(),
            columns,
            rows: Vec::new(),
            means: Vec::new(),
        };
        match times {
            Times::Milliseconds => report.head("ms", ""),
            Times::Ratios => report.head("", " ms"),
        }
        report
    }

    /// Prints and keeps a row.
    pub fn row(&mut self, name: &str, measured: Vec<Measured>) {
        let milliseconds = measured.iter().map(|measured| measured.seconds * 1e3);
        let cells: Vec<String> = match self.times {
            Times::Milliseconds => milliseconds.map(|time| cell(time, 3)).collect(),
            Times::Ratios => {
                let baseline = milliseconds.take(1).map(|time| cell(time, 3));
                let ratios = ratios(&measured).map(|ratio| cell(ratio, 2));
                baseline.chain(ratios).collect()
            }
        };
        println!("| {name} | {} |", cells.join(" | "));
        self.rows.push((name.into(), measured));
    }

    /// Prints and keeps the geometric mean of the ratios of the rows that are chosen.
    pub fn geometric_mean(&mut self, name: &str, choose: impl Fn(&str) -> bool) {
        let chosen = self.rows.iter().filter(|(name, _)| choose(name));
        let chosen: Vec<Vec<f64>> = chosen.map(|(_, row)| ratios(row).collect()).collect();
        if chosen.is_empty() {
            return;
        }
        let means: Vec<f64> = (0..chosen[0].len())
            .map(|column| {
                let sum: f64 = chosen.iter().map(|ratios| ratios[column].ln()).sum();
                (sum / chosen.len() as f64).exp()
            })
            .collect();
        let cells: Vec<String> = means.iter().map(|mean| cell(*mean, 2)).collect();
        println!("| **geometric mean, {name}** | | {} |", cells.join(" | "));
        self.means
            .push(json!({ "name": name, "rows": chosen.len(), "ratios": means }));
    }

    /// Measures the peaks once more, in case the machine was busy before, prints the other tables, and
    /// writes everything if a file is asked for.
    pub fn finish(mut self, bench: &str, rows: &Rows) {
        for (columns, best) in self.columns.iter().zip(&mut self.peaks) {
            *best = best.max(peak(&columns.device));
        }
        let rounded: Vec<String> = self.peaks.iter().map(|peak| format!("{peak:.0}")).collect();
        println!(
            "\nShares of the peak, which is {} GFLOP/s:\n",
            rounded.join(" and ")
        );
        self.table("%", |measured, peak| {
            cell(100.0 * measured.gflops() / peak, 0)
        });
        println!("\nThe most memory of a call, beyond what there was before it:\n");
        self.table("MiB", |measured, _| cell(measured.mebibytes(), 1));
        rows.write(&self.json(bench));
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().flat_map(|columns| &columns.names)
    }

    /// The peak for every column.
    fn peaks(&self) -> impl Iterator<Item = f64> {
        let columns = self.columns.iter().zip(&self.peaks);
        columns.flat_map(|(columns, peak)| columns.names.iter().map(move |_| *peak))
    }

    fn head(&self, unit: &str, of_first: &str) {
        let names: Vec<&str> = self.names().map(String::as_str).collect();
        let (first, others) = names.split_first().expect("columns");
        let first = format!("{first}{of_first}");
        let names = [&[first.as_str()], others].concat();
        let unit = if unit.is_empty() {
            ""
        } else {
            &format!(" {unit}")
        };
        println!("|{unit} | {} |", names.join(" | "));
        println!("|---|{}", "---:|".repeat(names.len()));
    }

    fn table(&self, unit: &str, cell: impl Fn(&Measured, f64) -> String) {
        self.head(unit, "");
        for (name, row) in &self.rows {
            let cells = row.iter().zip(self.peaks());
            let cells: Vec<String> = cells.map(|(measured, peak)| cell(measured, peak)).collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
    }

    fn json(&self, bench: &str) -> Value {
        let row = |(name, row): &(String, Vec<Measured>)| {
            let of = |value: &dyn Fn(&Measured) -> f64| row.iter().map(value).collect::<Vec<_>>();
            let gflops = of(&Measured::gflops);
            let shares = gflops.iter().zip(self.peaks());
            let shares: Vec<f64> = shares.map(|(gflops, peak)| gflops / peak).collect();
            json!({
                "name": name,
                "ms": of(&|measured| measured.seconds * 1e3),
                "ratios": ratios(row).collect::<Vec<_>>(),
                "gflops": gflops,
                "shares_of_peak": shares,
                "mebibytes": of(&Measured::mebibytes),
            })
        };
        json!({
            "bench": bench,
            "columns": self.names().collect::<Vec<_>>(),
            "peak_gflops": self.peaks().collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "geometric_means": self.means,
        })
    }
}

/// Ratios of times to the first.
fn ratios(row: &[Measured]) -> impl Iterator<Item = f64> {
    row[1..]
        .iter()
        .map(|measured| measured.seconds / row[0].seconds)
}

fn cell(value: f64, digits: usize) -> String {
    match value.is_nan() {
        true => "–".into(),
        false => format!("{value:.digits$}"),
    }
}
