//! How networks learn.

use std::path::{Path, PathBuf};

use super::csv;
use super::records::{NETWORKS, Results, VARIANTS};
use crate::Error;
use crate::chart::{Mark, Panel, Series, draw_panels};
use crate::models::NetworkName;

/// Draws the accuracy on validation images over the epochs, of the first seed.
pub(super) fn draw(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let [svg, csv] = ["svg", "csv"].map(|extension| folder.join(format!("training.{extension}")));
    let run = |network: NetworkName, variant: &str| {
        let name = format!("{network}-cifar10-{variant}-0");
        results
            .trained
            .iter()
            .find(move |record| record.name == name)
    };
    let panels = NETWORKS.map(|network| {
        let series = VARIANTS
            .iter()
            .enumerate()
            .filter_map(|(color, (variant, label))| {
                let epochs = run(network, variant)?.report.epochs.iter();
                Some(Series {
                    label: (*label).into(),
                    color,
                    mark: Mark::Line,
                    points: epochs
                        .map(|epoch| (epoch.epoch as f64, epoch.valid_accuracy))
                        .collect(),
                })
            });
        Panel {
            title: network.to_string(),
            x: "epoch".into(),
            y: "validation accuracy (%)".into(),
            range: None,
            series: series.collect(),
        }
    });
    draw_panels(&svg, "Training on CIFAR-10 (a JPEG copy)", &panels)?;
    let runs = NETWORKS.into_iter().flat_map(|network| {
        let variants = VARIANTS.iter();
        variants.filter_map(move |(variant, _)| run(network, variant))
    });
    let rows = runs.flat_map(|record| {
        let epochs = record.report.epochs.iter();
        epochs.map(|epoch| {
            vec![
                record.name.clone(),
                epoch.epoch.to_string(),
                format!("{:.4}", epoch.train_loss),
                format!("{:.2}", epoch.train_accuracy),
                format!("{:.4}", epoch.valid_loss),
                format!("{:.2}", epoch.valid_accuracy),
            ]
        })
    });
    let header = [
        "result",
        "epoch",
        "training loss",
        "training accuracy %",
        "validation loss",
        "validation accuracy %",
    ];
    csv::write(&csv, &header, rows)?;
    Ok(vec![svg, csv])
}
