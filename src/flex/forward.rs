//! The layer forward: tile by tile, patches are multiplied by the primary filters and their maps
//! combined while they are in the caches.

use rayon::prelude::*;

use super::operands::{Mixing, Operands};
use super::patches::gather;
use super::product::{Matrix, Real, Write, product, with_buffers};
use super::tiles::{most_pixels, share, tiles};

/// Applies the layer.
///
/// # Shapes
/// - input: `[batch_size, channels, input]`
/// - output: `[batch_size, m + n, output]`
pub(super) fn forward<T: Real>(operands: &Operands<T>, input: &[T]) -> Vec<T> {
    let batch_size = input.len() / operands.image_in();
    let shares = share(batch_size, operands.multiply_adds());
    let mut output = vec![T::zero(); batch_size * operands.image_out()];
    if shares.alone {
        forward_images(operands, input, &mut output, false);
    } else {
        output
            .par_chunks_mut(shares.images * operands.image_out())
            .zip(input.par_chunks(shares.images * operands.image_in()))
            .for_each(|(output, input)| forward_images(operands, input, output, shares.parallel));
    }
    output
}

fn forward_images<T: Real>(operands: &Operands<T>, input: &[T], output: &mut [T], parallel: bool) {
    let geometry = &operands.geometry;
    let filters = operands.filters();
    let tiles = tiles(geometry, input.len() / operands.image_in(), parallel);
    let lengths =
        [geometry.filter_size(), filters, operands.rank()].map(|rows| rows * most_pixels(&tiles));
    with_buffers(lengths, |[patches, maps, reduced]| {
        for tile in tiles {
            let images = &input[tile.values(operands.image_in())];
            let whole = tile.is_image(geometry);
            let patches = if whole && geometry.is_pointwise() {
                images
            } else {
                let patches = &mut patches[..geometry.filter_size() * tile.pixels];
                gather(geometry, images, &tile.rows, patches, parallel);
                patches
            };
            let patches = Matrix::new(patches, geometry.filter_size());
            let reduced = &mut reduced[..operands.rank() * tile.pixels];
            if whole {
                let output = &mut output[tile.values(operands.image_out())];
                apply(operands, patches, reduced, output, parallel);
            } else {
                let maps = &mut maps[..filters * tile.pixels];
                apply(operands, patches, reduced, maps, parallel);
                tile.store(geometry, filters, maps, output);
            }
        }
    });
}

/// Computes the maps of a tile from its patches.
fn apply<T: Real>(
    operands: &Operands<T>,
    patches: Matrix<T>,
    reduced: &mut [T],
    maps: &mut [T],
    parallel: bool,
) {
    let pixels = patches.columns();
    let (primary, secondary) = maps.split_at_mut(operands.primary.rows() * pixels);
    product(primary, Write::Replace, operands.primary, patches, parallel);
    if let Some(mixing) = &operands.mixing {
        let primary = Matrix::new(primary, operands.primary.rows());
        combine(mixing, primary, reduced, secondary, parallel);
    }
    if let Some(bias) = operands.bias {
        for (map, bias) in maps.chunks_exact_mut(pixels).zip(bias) {
            map.iter_mut().for_each(|value| *value += *bias);
        }
    }
}

/// Computes the secondary maps from the primary ones.
fn combine<T: Real>(
    mixing: &Mixing<T>,
    primary: Matrix<T>,
    reduced: &mut [T],
    secondary: &mut [T],
    parallel: bool,
) {
    let maps = match mixing.row {
        None => primary,
        Some(row) => {
            product(reduced, Write::Replace, row, primary, parallel);
            Matrix::new(reduced, row.rows())
        }
    };
    product(secondary, Write::Replace, mixing.column, maps, parallel);
}
