//! Matrices that are packed once, in the order in which a product reads them.

use std::fmt;
use std::ops::Range;

use super::simd::PANEL;

/// A matrix in panels of rows, each two vectors wide. Within a panel, the columns lie one after the
/// other. A last panel of few rows is one vector wide. Missing rows are zero.
#[derive(Clone)]
pub(super) struct Panels {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

/// The rows of one panel.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) rows: Range<usize>,
    /// Number of rows including missing ones: one vector or two.
    pub(super) width: usize,
}

impl Panels {
    /// Packs a matrix in row-major order.
    pub(super) fn new(matrix: &[f32], rows: usize) -> Self {
        let columns = matrix.len() / rows.max(1);
        assert_eq!(matrix.len(), rows * columns, "values of {rows} rows");
        let mut values = Vec::new();
        for panel in panels(rows) {
            for column in 0..columns {
                let start = values.len();
                let rows = panel.rows.clone();
                values.extend(rows.map(|row| matrix[row * columns + column]));
                values.resize(start + panel.width, 0.0);
            }
        }
        values.shrink_to_fit();
        Self {
            rows,
            columns,
            values,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Number of rows including missing ones: values that the sums of a pixel take.
    pub(super) fn padded_rows(&self) -> usize {
        let last = panels(self.rows).last();
        last.map_or(0, |panel| panel.rows.start + panel.width)
    }

    pub(super) fn count(&self) -> usize {
        self.rows.div_ceil(*PANEL)
    }

    /// The panels of a range, with their values.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = (Panel, &[f32])> {
        let count = range.len();
        let panels = panels(self.rows).skip(range.start).take(count);
        panels.map(|panel| {
            let start = panel.rows.start * self.columns;
            let values = &self.values[start..][..panel.width * self.columns];
            (panel, values)
        })
    }

    /// The rows of the matrix.
    pub(super) fn matrix(&self) -> impl Iterator<Item = Vec<f32>> {
        let panels = self.range(0..self.count());
        panels.flat_map(|(panel, values)| {
            (0..panel.rows.len()).map(move |row| {
                let columns = values[row..].iter().step_by(panel.width);
                columns.copied().collect()
            })
        })
    }

    /// All panels, without their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = Panel> + use<> {
        panels(self.rows)
    }
}

/// Prints the size only: there may be millions of values.
impl fmt::Debug for Panels {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Panels({}x{})", self.rows, self.columns)
    }
}

fn panels(rows: usize) -> impl Iterator<Item = Panel> {
    let most = *PANEL;
    (0..rows).step_by(most).map(move |start| {
        let rows = start..rows.min(start + most);
        let width = match rows.len() <= most / 2 {
            true => most / 2,
            false => most,
        };
        Panel { rows, width }
    })
}
