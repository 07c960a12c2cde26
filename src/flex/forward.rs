//! The forward pass of the layer, tile by tile: im2col writes the columns, the primary filters
//! multiply them, and the maps are combined while they are in the caches.

use super::gemm::{Matrix, Write, gemm};
use super::im2col::im2col;
use super::operands::{Coefficients, Layer};
use super::real::Real;
use super::scratch::with_scratch;
use super::threads::{Threads, divide};
use super::tiles::{Tile, most_pixels, tiles};

/// Applies the layer.
///
/// # Shapes
/// - output: `[batch_size, m + n, height_out, width_out]`
/// - kept: `[batch_size, m, height_out, width_out]`, gets the maps of the primary filters without
///   bias
pub(super) fn forward<T: Real>(layer: &Layer<T>, kept: Option<&mut [T]>) -> Vec<T> {
    let batch_size = layer.batch_size();
    let mut output = vec![T::zero(); batch_size * layer.image_out()];
    let mut rest = Part {
        input: layer.operands.input.values(),
        output: &mut output,
        kept,
    };
    for section in divide(batch_size, layer.multiply_adds(), usize::MAX) {
        let threads = section.threads;
        let mut parts = Vec::new();
        for images in section.parts() {
            let (part, behind) = rest.split(layer, images);
            parts.push(part);
            rest = behind;
        }
        threads.map(parts, |part| forward_images(layer, part, threads));
    }
    output
}

/// The part of a thread: some images.
struct Part<'a, T> {
    input: &'a [T],
    output: &'a mut [T],
    kept: Option<&'a mut [T]>,
}

impl<'a, T: Real> Part<'a, T> {
    /// Splits off the first images.
    fn split(self, layer: &Layer<T>, images: usize) -> (Self, Self) {
        let (input, other_input) = self.input.split_at(images * layer.image_in());
        let (output, other_output) = self.output.split_at_mut(images * layer.image_out());
        let primary = images * layer.image_primary();
        let (kept, other_kept) = match self.kept.map(|kept| kept.split_at_mut(primary)) {
            Some((kept, others)) => (Some(kept), Some(others)),
            None => (None, None),
        };
        let first = Self {
            input,
            output,
            kept,
        };
        let others = Self {
            input: other_input,
            output: other_output,
            kept: other_kept,
        };
        (first, others)
    }
}

fn forward_images<T: Real>(layer: &Layer<T>, part: Part<T>, threads: Threads) {
    let geometry = &layer.geometry;
    let Part {
        input,
        output,
        mut kept,
    } = part;
    let (filters, outputs) = (layer.operands.filters, layer.outputs());
    let rows = [geometry.filter_size(), outputs, layer.rank()];
    let images = input.len() / layer.image_in().max(1);
    let tiles = tiles::<T>(geometry, images, threads, rows.iter().sum());
    let lengths = rows.map(|rows| rows * most_pixels(&tiles));
    with_scratch(lengths, |[columns, maps, reduced]| {
        for tile in tiles {
            let images = &input[tile.values(layer.image_in())];
            let whole = tile.is_image(geometry);
            let columns = if whole && geometry.is_pointwise() {
                images
            } else {
                let columns = &mut columns[..geometry.filter_size() * tile.pixels];
                im2col(geometry, images, &tile, columns, threads);
                columns
            };
            let columns = Matrix::new(columns, geometry.filter_size());
            let reduced = &mut reduced[..layer.rank() * tile.pixels];
            let mut keep = |maps: &[T]| {
                if let Some(kept) = &mut kept {
                    let primary = &maps[..filters.rows() * tile.pixels];
                    tile.store(geometry, filters.rows(), primary, kept);
                }
            };
            if whole && layer.order.is_none() {
                // The maps of a whole image are written to the output without a copy.
                let maps = &mut output[tile.values(layer.image_out())];
                apply(layer, columns, reduced, maps, threads);
                keep(maps);
                if let Some(bias) = layer.operands.bias {
                    for (map, bias) in maps.chunks_exact_mut(tile.pixels).zip(bias.values()) {
                        map.iter_mut().for_each(|value| *value += *bias);
                    }
                }
            } else {
                let maps = &mut maps[..outputs * tile.pixels];
                apply(layer, columns, reduced, maps, threads);
                keep(maps);
                store(layer, &tile, maps, output);
            }
        }
    });
}

/// Computes the maps of a tile from its im2col columns, without bias, in the order of the filters.
fn apply<T: Real>(
    layer: &Layer<T>,
    columns: Matrix<T>,
    reduced: &mut [T],
    maps: &mut [T],
    threads: Threads,
) {
    let pixels = columns.columns();
    let filters = layer.operands.filters;
    let (primary, secondary) = maps.split_at_mut(filters.rows() * pixels);
    gemm(primary, Write::Replace, filters, columns, threads);
    if let Some(coefficients) = layer.operands.coefficients {
        let primary = Matrix::new(primary, filters.rows());
        combine(coefficients, primary, reduced, secondary, threads);
    }
}

/// Computes the secondary maps from the primary maps.
fn combine<T: Real>(
    Coefficients { row, column }: Coefficients<Matrix<T>>,
    primary: Matrix<T>,
    reduced: &mut [T],
    secondary: &mut [T],
    threads: Threads,
) {
    let maps = match row {
        None => primary,
        Some(row) => {
            gemm(reduced, Write::Replace, row, primary, threads);
            Matrix::new(reduced, row.rows())
        }
    };
    gemm(secondary, Write::Replace, column, maps, threads);
}

/// Copies the maps of a tile to the outputs that show them, and adds the bias.
fn store<T: Real>(layer: &Layer<T>, tile: &Tile, maps: &[T], output: &mut [T]) {
    let outputs = layer.outputs();
    for index in 0..outputs {
        let map = &maps[layer.shown(index) * tile.pixels..][..tile.pixels];
        let bias = layer.operands.bias.map(|bias| bias.values()[index]);
        let runs = map.chunks_exact(tile.image_pixels());
        for (run, place) in runs.zip(tile.places(&layer.geometry, outputs, index)) {
            let place = &mut output[place];
            place.copy_from_slice(run);
            if let Some(bias) = bias {
                place.iter_mut().for_each(|value| *value += bias);
            }
        }
    }
}
