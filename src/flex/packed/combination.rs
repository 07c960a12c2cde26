//! Filters and the linear combinations of their maps, for some pixels.

use rayon::prelude::*;

use super::finish::{Finish, Shortcut, Sums};
use super::multiply::Multiply;
use super::panels::Panels;
use super::pixels::Pixels;
use super::rows::Rows;
use super::simd::{ARCH, PANEL};
use crate::flex::scratch::with_scratch;

/// Filters, coefficients that combine their maps, and a bias.
#[derive(Clone, Debug)]
pub(super) struct Combination {
    pub(super) filters: Panels,
    pub(super) coefficients: Option<Coefficients>,
    /// Output `i` shows filter `order[i]`.
    pub(super) order: Option<Vec<usize>>,
    /// `[outputs]`
    pub(super) bias: Vec<f32>,
}

/// The coefficients `column · row`, or `column`.
#[derive(Clone, Debug)]
pub(super) struct Coefficients {
    pub(super) row: Option<Panels>,
    pub(super) column: Panels,
}

/// Where the outputs of some pixels go, and what is applied to them.
pub(super) struct Output<'a> {
    pub(super) shortcut: Option<Shortcut<'a>>,
    pub(super) relu: bool,
    /// `[pixels, outputs]`
    pub(super) values: &'a mut [f32],
}

impl Combination {
    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn pixels(&self) -> Pixels {
        let matrices = self.matrices();
        let weights = matrices.map(|matrix| matrix.rows() * matrix.columns());
        Pixels {
            outputs: self.outputs(),
            multiply_adds: weights.sum(),
            divides_filters: true,
            unit: 1,
        }
    }

    fn matrices(&self) -> impl Iterator<Item = &Panels> {
        let coefficients = self.coefficients.iter();
        let coefficients =
            coefficients.flat_map(|factors| factors.row.iter().chain([&factors.column]));
        [&self.filters].into_iter().chain(coefficients)
    }

    /// Computes the outputs of some pixels. `threads` threads divide the filters.
    pub(super) fn apply(&self, pixels: &Rows, output: Output, threads: usize) {
        let multiply = |[sums, _]: [&mut [f32]; 2]| multiply(&self.filters, pixels, sums, threads);
        self.apply_to(multiply, 0, output, threads);
    }

    /// As [`apply`](Self::apply), with the maps that `filters` computes. `filters` gets the place
    /// of the maps and `scratch` values of scratch memory.
    pub(super) fn apply_to(
        &self,
        filters: impl FnOnce([&mut [f32]; 2]),
        scratch: usize,
        output: Output,
        threads: usize,
    ) {
        let count = output.values.len() / self.outputs();
        let row = self
            .coefficients
            .as_ref()
            .and_then(|factors| factors.row.as_ref());
        let column = self.coefficients.as_ref().map(|factors| &factors.column);
        let length = |matrix: &Panels| matrix.padded_rows() * count;
        let lengths = [
            length(&self.filters),
            row.map_or(0, length),
            column.map_or(0, length),
            scratch,
        ];
        with_scratch(lengths, |[primary, reduced, secondary, scratch]| {
            filters([primary, scratch]);
            let primary = Sums {
                matrix: &self.filters,
                values: primary,
            };
            let secondary = column.map(|column| {
                let mut maps = primary;
                if let Some(row) = row {
                    multiply(row, &maps.rows(count), reduced, threads);
                    maps = Sums {
                        matrix: row,
                        values: reduced,
                    };
                }
                multiply(column, &maps.rows(count), secondary, threads);
                Sums {
                    matrix: column,
                    values: secondary,
                }
            });
            ARCH.dispatch(Finish {
                sums: [Some(primary), secondary],
                order: self.order.as_deref(),
                bias: &self.bias,
                shortcut: output.shortcut,
                relu: output.relu,
                output: output.values,
            });
        });
    }
}

impl<'a> Sums<'a> {
    fn rows(self, pixels: usize) -> Rows<'a> {
        Rows::of_sums(self.matrix, self.values, pixels)
    }
}

fn multiply(matrix: &Panels, pixels: &Rows, sums: &mut [f32], threads: usize) {
    let each = matrix.count().div_ceil(threads).max(1);
    let part = |index: usize, sums: &mut [f32]| {
        let first = index * each;
        ARCH.dispatch(Multiply {
            matrix,
            panels: first..matrix.count().min(first + each),
            pixels,
            sums,
        });
    };
    if each >= matrix.count() {
        return part(0, sums);
    }
    let parts = sums.par_chunks_mut(each * *PANEL * pixels.pixels());
    parts
        .enumerate()
        .for_each(|(index, sums)| part(index, sums));
}
