//! Recorded results: what `figs/train.sh` writes, a file for each run.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::measured::Measured;
use crate::Error;
use crate::commands::CompressReport;
use crate::data::DatasetName;
use crate::files::read_json;
use crate::models::NetworkName;
use crate::run::Report;

/// All recorded results.
pub(super) struct Results {
    /// Runs of a network, by name.
    pub trained: Vec<Record<Report>>,
    /// Compressions of a trained network, by name.
    pub compressed: Vec<Record<CompressReport>>,
    /// What was measured of trained networks.
    pub measured: Measured,
}

/// A recorded result.
pub(super) struct Record<R> {
    /// The network, the data set, what was done to its convolutions, and for most runs the seed.
    pub name: String,
    /// What the run reported.
    pub report: R,
}

/// A file of `figs/results`. The command, the commit, the date and the machine are for readers.
#[derive(Deserialize)]
struct File {
    name: String,
    report: AnyReport,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyReport {
    Trained(Box<Report>),
    Compressed(Box<CompressReport>),
    Measured(Measured),
}

/// The networks of the runs, in the order of the figures.
pub(super) const NETWORKS: [NetworkName; 2] = [NetworkName::Base, NetworkName::Vgg11];

/// How the convolutions of the runs are, in the order of the figures: a part of the names of results, and
/// what the figures call it.
pub(super) const VARIANTS: [(&str, &str); 7] = [
    ("dense", "dense"),
    ("full", "full"),
    ("without-loss", "full without the loss"),
    ("low-rank", "rank 10"),
    ("sparse", "sparse 0.25"),
    ("both-sides", "both sides"),
    ("through-dense", "both sides, through dense"),
];

impl Results {
    /// Reads a folder.
    ///
    /// # Errors
    /// Names the file that is no result, or the folder that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: folder.into(),
            source,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            paths.push(entry.map_err(io)?.path());
        }
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        paths.sort();
        let mut results = Self {
            trained: Vec::new(),
            compressed: Vec::new(),
            measured: Measured::default(),
        };
        for path in paths {
            let File { name, report } = read_json(&path)?;
            match report {
                AnyReport::Trained(report) => results.trained.push(Record {
                    name,
                    report: *report,
                }),
                AnyReport::Compressed(report) => results.compressed.push(Record {
                    name,
                    report: *report,
                }),
                AnyReport::Measured(measured) => results.measured = measured,
            }
        }
        Ok(results)
    }

    /// The networks that a kind of run ends with, one for each seed, in the order of seeds.
    pub fn of(&self, network: NetworkName, dataset: DatasetName, variant: &str) -> Vec<Tested<'_>> {
        let prefix = format!("{network}-{dataset}-{variant}-");
        let seed = |name: &str| name.strip_prefix(&prefix)?.parse::<u64>().ok();
        let trained = self.trained.iter().filter_map(|Record { name, report }| {
            Some(Tested {
                name,
                seed: seed(name)?,
                epochs: report.epochs.len(),
                parameters: report.cost.parameters,
                accuracy: report.test_accuracy,
            })
        });
        let compressed = self.compressed.iter();
        let compressed = compressed.filter(|record| seed(&record.name).is_some());
        let compressed = compressed.filter_map(Record::tested);
        trained.chain(compressed).collect()
    }

    /// The compressions of one trained network on CIFAR-10, with the share of its weights that each keeps, the
    /// smallest share first.
    pub fn budgets(&self, network: NetworkName) -> Vec<(f64, &Record<CompressReport>)> {
        let prefix = format!("{network}-cifar10-to-");
        let budget =
            |record: &Record<CompressReport>| record.name.strip_prefix(&prefix)?.parse().ok();
        let records = self.compressed.iter();
        let budgets = records.filter_map(|record| Some((budget(record)?, record)));
        let mut budgets: Vec<(f64, _)> = budgets.collect();
        budgets.sort_by(|one, other| one.0.total_cmp(&other.0));
        budgets
    }
}

impl Record<CompressReport> {
    /// The small network at its last stage.
    pub fn tested(&self) -> Option<Tested<'_>> {
        let Self { name, report } = self;
        let stage = report.compressed()?;
        Some(Tested {
            name,
            seed: report.seed,
            epochs: report.fine_tuning.epochs,
            parameters: stage.parameters,
            accuracy: stage.test_accuracy,
        })
    }
}

/// A network and its accuracy.
pub(super) struct Tested<'a> {
    /// The name of its result.
    pub name: &'a str,
    /// What the run was drawn from.
    pub seed: u64,
    /// Epochs of training, or of fine-tuning where the network was compressed.
    pub epochs: usize,
    /// Trainable parameters.
    pub parameters: usize,
    /// Correct answers among the test images, in percent.
    pub accuracy: f64,
}
