//! Accuracy against what a network costs.

use std::path::{Path, PathBuf};

use super::csv;
use super::records::{NETWORKS, Results, Tested, VARIANTS};
use crate::Error;
use crate::chart::{Mark, Panel, Series, draw_panels};
use crate::commands::paper::paper_cost;
use crate::data::DatasetName;
use crate::models::{NetworkName, Variant};

/// Accuracy against trainable parameters, the paper's networks beside ours.
pub(super) fn against_weights(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let thousands = |tested: &Tested<'_>| Some(tested.parameters as f64 / 1e3);
    let mut panels = panels(results, "parameters in thousands", thousands);
    for (panel, network) in panels.iter_mut().zip(NETWORKS) {
        let variants = [Variant::Dense, Variant::Full, Variant::LowRank];
        let paper = variants
            .iter()
            .filter_map(|&variant| paper_cost(network, variant));
        let points = paper.map(|paper| (paper.parameters as f64 / 1e3, paper.cifar10));
        panel.series.push(Series {
            label: "paper, 250 epochs, CIFAR-10 itself".into(),
            color: 8,
            mark: Mark::Circles,
            points: points.collect(),
        });
    }
    let title = "Accuracy against weights, CIFAR-10 (a JPEG copy)";
    write(results, folder, "accuracy-weights", title, &panels)
}

/// Accuracy against the measured time of inference.
pub(super) fn against_time(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let panels = panels(results, "milliseconds for 32 images", |tested| {
        time(results, tested.name, 32)
    });
    let title = "Accuracy against time, CIFAR-10 (a JPEG copy)";
    write(results, folder, "accuracy-time", title, &panels)
}

/// The time of the network of this result, whose weights have the sizes that they have with any seed.
fn time(results: &Results, name: &str, batch: usize) -> Option<f64> {
    let (kind, last) = name.rsplit_once('-')?;
    let first_seed = format!("{kind}-0");
    let measured = match last.parse::<u64>() {
        Ok(_) => &first_seed,
        Err(_) => name,
    };
    let times = &results.measured.times;
    let time = times
        .iter()
        .find(|time| time.name == measured && time.batch == batch)?;
    Some(time.milliseconds)
}

fn panels(results: &Results, x: &str, cost: impl Fn(&Tested<'_>) -> Option<f64>) -> Vec<Panel> {
    let panel = |network: NetworkName| {
        let series = kinds(results, network).into_iter().enumerate();
        let series = series.map(|(color, (label, tested))| Series {
            label: label.into(),
            color,
            mark: Mark::Dots,
            points: tested
                .iter()
                .filter_map(|tested| Some((cost(tested)?, tested.accuracy)))
                .collect(),
        });
        let shown = series.filter(|series| !series.points.is_empty());
        Panel {
            title: network.to_string(),
            x: x.into(),
            y: "test accuracy (%)".into(),
            range: None,
            series: shown.collect(),
        }
    };
    NETWORKS.map(panel).into()
}

/// Every variant, and the compressed networks after fine-tuning.
fn kinds(results: &Results, network: NetworkName) -> Vec<(&'static str, Vec<Tested<'_>>)> {
    let variants = VARIANTS.iter();
    let mut kinds: Vec<_> = variants
        .map(|&(variant, label)| (label, results.of(network, DatasetName::Cifar10, variant)))
        .collect();
    let budgets = results.budgets(network).into_iter();
    let compressed = budgets.filter_map(|(_, record)| record.tested());
    kinds.push(("compressed", compressed.collect()));
    kinds
}

fn write(
    results: &Results,
    folder: &Path,
    name: &str,
    title: &str,
    panels: &[Panel],
) -> Result<Vec<PathBuf>, Error> {
    let [svg, csv] = ["svg", "csv"].map(|extension| folder.join(format!("{name}.{extension}")));
    draw_panels(&svg, title, panels)?;
    let rows = NETWORKS.into_iter().flat_map(|network| {
        kinds(results, network)
            .into_iter()
            .flat_map(move |(label, tested)| {
                tested.into_iter().map(move |tested| {
                    let time = |batch| match time(results, tested.name, batch) {
                        Some(milliseconds) => format!("{milliseconds:.3}"),
                        None => String::new(),
                    };
                    vec![
                        tested.name.into(),
                        label.replace(", ", " "),
                        tested.parameters.to_string(),
                        format!("{:.2}", tested.accuracy),
                        time(1),
                        time(32),
                    ]
                })
            })
    });
    let header = [
        "result",
        "variant",
        "parameters",
        "test accuracy %",
        "ms for 1 image",
        "ms for 32 images",
    ];
    csv::write(&csv, &header, rows)?;
    Ok(vec![svg, csv])
}
