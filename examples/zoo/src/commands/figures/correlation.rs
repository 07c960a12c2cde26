//! Matrices of correlations between the filters of a layer, as the paper shows them.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use super::csv;
use super::measured::{CORRELATED, Correlation, SHOWN};
use super::records::Results;
use crate::Error;
use crate::chart::{FONT, draw_svg};

const LAYERS: [usize; 3] = [1, 2, 3];
/// Pixels of a correlation, and beside a matrix.
const CELL: i32 = 7;
const GAP: i32 = 36;
const TITLE: i32 = 40;

/// Draws the matrices of three layers, of a dense network and of LinearConv without and with the loss.
pub(super) fn draw(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let [svg, csv] =
        ["svg", "csv"].map(|extension| folder.join(format!("correlation.{extension}")));
    let found = |name: &str, layer| {
        let all = &results.measured.correlations;
        all.iter()
            .find(|one| one.name == name && one.layer == layer)
    };
    let side = SHOWN as i32 * CELL + GAP;
    let width = side * LAYERS.len() as i32 + GAP;
    let height = side * CORRELATED.len() as i32 + TITLE + GAP;
    let title = format!(
        "Correlation ρ of the first {SHOWN} filters, white 0, black ±1, and the mean of |ρ| off the diagonal"
    );
    draw_svg(&svg, &title, (width as u32, height as u32), |area| {
        let text =
            |text: String, at: (i32, i32), size: i32| area.draw(&Text::new(text, at, (FONT, size)));
        text(title.clone(), (GAP, 14), 18)?;
        for (row, (name, label)) in CORRELATED.iter().enumerate() {
            for (column, &layer) in LAYERS.iter().enumerate() {
                let Some(one) = found(name, layer) else {
                    continue;
                };
                let left = GAP + side * column as i32;
                let top = TITLE + GAP + side * row as i32;
                let mean = one.mean;
                text(
                    format!("{label}, layer {layer}: {mean:.3}"),
                    (left, top - 16),
                    13,
                )?;
                matrix(area, one, (left, top))?;
            }
        }
        Ok(())
    })?;
    let chosen = CORRELATED.iter().flat_map(|(name, _)| {
        let layers = LAYERS.iter();
        layers.filter_map(|&layer| found(name, layer))
    });
    let rows = chosen.flat_map(|one| {
        let rows = one.hundredths.iter().enumerate();
        rows.map(|(filter, row)| {
            let values = row
                .iter()
                .map(|value| format!("{:.2}", f64::from(*value) / 100.0));
            let head = [
                one.name.clone(),
                one.layer.to_string(),
                one.filters.to_string(),
                format!("{:.4}", one.mean),
                (filter + 1).to_string(),
            ];
            head.into_iter().chain(values).collect()
        })
    });
    let header = [
        "result",
        "layer",
        "filters",
        "mean off the diagonal",
        "filter",
        "correlations",
    ];
    csv::write(&csv, &header, rows)?;
    Ok(vec![svg, csv])
}

/// A square for each correlation that is not white, in a frame.
fn matrix<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    correlation: &Correlation,
    (left, top): (i32, i32),
) -> Result<(), Box<dyn std::error::Error>>
where
    DB::ErrorType: 'static,
{
    for (row, values) in correlation.hundredths.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            // Sixteen shades are what an eye tells apart.
            let shade = (f64::from(value.unsigned_abs()) / 100.0 * 16.0).round() / 16.0;
            if shade == 0.0 {
                continue;
            }
            let (x, y) = (left + column as i32 * CELL, top + row as i32 * CELL);
            let grey = (255.0 * (1.0 - shade)).round() as u8;
            let color = RGBColor(grey, grey, grey).filled();
            area.draw(&Rectangle::new([(x, y), (x + CELL, y + CELL)], color))?;
        }
    }
    let side = correlation.hundredths.len() as i32 * CELL;
    let frame = [(left, top), (left + side, top + side)];
    area.draw(&Rectangle::new(frame, BLACK.mix(0.5)))?;
    Ok(())
}
