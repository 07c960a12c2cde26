//! The accuracy of trained networks that were compressed, before and after fine-tuning.

use std::path::{Path, PathBuf};

use super::csv;
use super::records::{NETWORKS, Results};
use crate::Error;
use crate::chart::{Mark, Panel, Series, draw_panels};

/// Draws accuracy against the share of the convolutions' weights that is kept.
pub(super) fn draw(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let [svg, csv] =
        ["svg", "csv"].map(|extension| folder.join(format!("compression.{extension}")));
    let panels = NETWORKS.map(|network| {
        let budgets = results.budgets(network);
        let stage = |label: &str, color, stage: &str| Series {
            label: label.into(),
            color,
            mark: Mark::Line,
            points: (budgets.iter())
                .filter_map(|(share, record)| Some((*share, record.report.accuracy(stage)?)))
                .collect(),
        };
        let mut dense = stage("dense", 0, "dense");
        dense.mark = Mark::Thin;
        // To the whole network, where nothing is compressed.
        let whole = dense.points.first().map(|&(_, accuracy)| (1.0, accuracy));
        dense.points.extend(whole);
        Panel {
            title: network.to_string(),
            x: "share of the weights of the convolutions".into(),
            y: "test accuracy (%)".into(),
            range: None,
            series: vec![
                dense,
                stage("before fine-tuning", 1, "compressed"),
                stage("after fine-tuning", 2, "fine-tuned"),
            ],
        }
    });
    let title = "Compression of trained networks, CIFAR-10 (a JPEG copy)";
    draw_panels(&svg, title, &panels)?;
    let rows = NETWORKS
        .into_iter()
        .flat_map(|network| results.budgets(network))
        .flat_map(|(share, record)| {
            let stages = record.report.stages.iter();
            stages.map(move |stage| {
                vec![
                    record.name.clone(),
                    share.to_string(),
                    stage.stage.clone(),
                    stage.parameters.to_string(),
                    format!("{:.2}", stage.test_accuracy),
                ]
            })
        });
    let header = [
        "result",
        "share of weights",
        "stage",
        "parameters",
        "test accuracy %",
    ];
    csv::write(&csv, &header, rows)?;
    Ok(vec![svg, csv])
}
