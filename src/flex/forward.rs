//! The layer forward: tile by tile, the columns are multiplied by the primary filters and their
//! maps combined while they are in the caches.

use super::gemm::{Matrix, Write, gemm};
use super::im2col::im2col;
use super::operands::{Coefficients, Layer};
use super::real::Real;
use super::scratch::with_scratch;
use super::threads::Threads;
use super::tiles::{most_pixels, tiles};

/// Applies the layer.
///
/// # Shapes
/// - output: `[batch_size, m + n, output]`
pub(super) fn forward<T: Real>(layer: &Layer<T>) -> Vec<T> {
    let batch_size = layer.batch_size();
    let threads = Threads::new(batch_size, layer.multiply_adds());
    let images = threads.images(batch_size);
    let mut output = vec![T::zero(); batch_size * layer.image_out()];
    let input = layer.operands.input.values();
    let shares = input
        .chunks(images * layer.image_in())
        .zip(output.chunks_mut(images * layer.image_out()));
    threads.map(shares.collect(), |(input, output)| {
        forward_images(layer, input, output, threads);
    });
    output
}

fn forward_images<T: Real>(layer: &Layer<T>, input: &[T], output: &mut [T], threads: Threads) {
    let geometry = &layer.geometry;
    let outputs = layer.outputs();
    let tiles = tiles(geometry, input.len() / layer.image_in(), threads);
    let lengths =
        [geometry.filter_size(), outputs, layer.rank()].map(|rows| rows * most_pixels(&tiles));
    with_scratch(lengths, |[columns, maps, reduced]| {
        for tile in tiles {
            let images = &input[tile.values(layer.image_in())];
            let whole = tile.is_image(geometry);
            let columns = if whole && geometry.is_pointwise() {
                images
            } else {
                let columns = &mut columns[..geometry.filter_size() * tile.pixels];
                im2col(geometry, images, &tile.rows, columns, threads);
                columns
            };
            let columns = Matrix::new(columns, geometry.filter_size());
            let reduced = &mut reduced[..layer.rank() * tile.pixels];
            if whole {
                let output = &mut output[tile.values(layer.image_out())];
                apply(layer, columns, reduced, output, threads);
            } else {
                let maps = &mut maps[..outputs * tile.pixels];
                apply(layer, columns, reduced, maps, threads);
                tile.store(geometry, outputs, maps, output);
            }
        }
    });
}

/// Computes the maps of a tile from its columns.
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
    if let Some(bias) = layer.operands.bias {
        for (map, bias) in maps.chunks_exact_mut(pixels).zip(bias.values()) {
            map.iter_mut().for_each(|value| *value += *bias);
        }
    }
}

/// Computes the secondary maps from the primary ones.
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
