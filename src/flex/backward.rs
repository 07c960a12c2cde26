//! The layer backward: tile by tile, the gradient of the secondary maps joins that of the primary
//! ones, which then meets the patches once for all filters.

use rayon::prelude::*;

use super::operands::{Mixing, Operands, PerOperand};
use super::patches::{gather, scatter};
use super::product::{Matrix, Real, Write, product, with_buffers};
use super::tiles::{most_pixels, share, tiles};

/// The gradients of the operands that are wanted; empty for the others.
///
/// # Shapes
/// - input: `[batch_size, channels, input]`
/// - output, where the mixing's gradients are wanted: what
///   [`forward`](super::forward::forward) returned
/// - gradient: `[batch_size, m + n, output]`
pub(super) fn backward<T: Real>(
    operands: &Operands<T>,
    wanted: &PerOperand<bool>,
    input: &[T],
    output: Option<&[T]>,
    gradient: &[T],
) -> PerOperand<Vec<T>> {
    let batch_size = input.len() / operands.image_in();
    // Backward there is about twice the work.
    let division = share(batch_size, 2 * operands.multiply_adds());
    let images = division.images;
    let mut input_gradient = vec![T::zero(); if wanted.input { input.len() } else { 0 }];
    let mut input_gradients = input_gradient.chunks_mut(images * operands.image_in());
    let shares: Vec<_> = input
        .chunks(images * operands.image_in())
        .zip(gradient.chunks(images * operands.image_out()))
        .enumerate()
        .map(|(index, (input, gradient))| {
            let start = index * images * operands.image_out();
            Share {
                input,
                output: output.map(|output| &output[start..start + gradient.len()]),
                gradient,
                input_gradient: input_gradients.next(),
            }
        })
        .collect();
    let work = |share| backward_images(operands, wanted, share, division.parallel);
    // Collected, then summed in order, so that a result does not depend on who was faster.
    let sums: Vec<PerOperand<Vec<T>>> = if division.alone {
        shares.into_iter().map(work).collect()
    } else {
        shares.into_par_iter().map(work).collect()
    };
    let sums = sums.into_iter().reduce(|mut total, sums| {
        for (total, sums) in [
            (&mut total.primary, sums.primary),
            (&mut total.row, sums.row),
            (&mut total.column, sums.column),
            (&mut total.bias, sums.bias),
        ] {
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        total
    });
    PerOperand {
        input: input_gradient,
        ..sums.unwrap_or_else(|| zeros(operands, wanted))
    }
}

/// The images of one thread.
struct Share<'a, T> {
    input: &'a [T],
    output: Option<&'a [T]>,
    gradient: &'a [T],
    input_gradient: Option<&'a mut [T]>,
}

/// Room for the gradients that are sums over images.
fn zeros<T: Real>(operands: &Operands<T>, wanted: &PerOperand<bool>) -> PerOperand<Vec<T>> {
    let zeros = |wanted: bool, length: usize| vec![T::zero(); if wanted { length } else { 0 }];
    let length = |matrix: Option<&Matrix<T>>| matrix.map_or(0, Matrix::len);
    let mixing = operands.mixing.as_ref();
    PerOperand {
        input: Vec::new(),
        primary: zeros(wanted.primary, operands.primary.len()),
        row: zeros(
            wanted.row,
            length(mixing.and_then(|mixing| mixing.row.as_ref())),
        ),
        column: zeros(wanted.column, length(mixing.map(|mixing| &mixing.column))),
        bias: zeros(wanted.bias, operands.filters()),
    }
}

fn backward_images<T: Real>(
    operands: &Operands<T>,
    wanted: &PerOperand<bool>,
    share: Share<T>,
    parallel: bool,
) -> PerOperand<Vec<T>> {
    let geometry = &operands.geometry;
    let filters = operands.filters();
    let mut sums = zeros(operands, wanted);
    let Share {
        input,
        output,
        gradient,
        mut input_gradient,
    } = share;
    // Fresh memory is cheaper to write than to add to: each page is then faulted in once.
    if let Some(input_gradient) = &mut input_gradient {
        input_gradient.fill(T::zero());
    }
    let tiles = tiles(geometry, input.len() / operands.image_in(), parallel);
    let lengths = [
        geometry.filter_size(),
        filters,
        output.map_or(0, |_| operands.primary.rows()),
        2 * operands.rank(),
    ]
    .map(|rows| rows * most_pixels(&tiles));
    with_buffers(lengths, |[patches, maps, primary_maps, reduced]| {
        for (index, tile) in tiles.into_iter().enumerate() {
            let write = if index == 0 {
                Write::Replace
            } else {
                Write::Add
            };
            let maps = &mut maps[..filters * tile.pixels];
            tile.load(geometry, filters, gradient, maps);
            for (sum, map) in sums.bias.iter_mut().zip(maps.chunks_exact(tile.pixels)) {
                *sum += map.iter().fold(T::zero(), |sum, value| sum + *value);
            }

            let (primary, secondary) = maps.split_at_mut(operands.primary.rows() * tile.pixels);
            if let Some(mixing) = &operands.mixing {
                let primary_maps = output.map(|output| {
                    let maps = &mut primary_maps[..primary.len()];
                    tile.load(geometry, filters, output, maps);
                    for (filter, map) in maps.chunks_exact_mut(tile.pixels).enumerate() {
                        let bias = operands.bias(filter);
                        map.iter_mut().for_each(|value| *value -= bias);
                    }
                    Matrix::new(maps, operands.primary.rows())
                });
                let maps = Maps {
                    primary: primary_maps,
                    secondary: Matrix::new(secondary, mixing.column.rows()),
                    reduced: &mut reduced[..2 * operands.rank() * tile.pixels],
                };
                combine_backward(mixing, maps, primary, &mut sums, write, parallel);
            }

            let primary = Matrix::new(primary, operands.primary.rows());
            let pointwise = tile.is_image(geometry) && geometry.is_pointwise();
            let patches = &mut patches[..geometry.filter_size() * tile.pixels];
            if wanted.primary {
                let images = &input[tile.values(operands.image_in())];
                let patches = if pointwise {
                    images
                } else {
                    gather(geometry, images, &tile.rows, patches, parallel);
                    &*patches
                };
                let patches = Matrix::new(patches, geometry.filter_size()).transpose();
                product(&mut sums.primary, write, primary, patches, parallel);
            }
            if let Some(input_gradient) = &mut input_gradient {
                let images = &mut input_gradient[tile.values(operands.image_in())];
                let filters = operands.primary.transpose();
                if pointwise {
                    product(images, Write::Replace, filters, primary, parallel);
                } else {
                    product(patches, Write::Replace, filters, primary, parallel);
                    scatter(geometry, patches, &tile.rows, images, parallel);
                }
            }
        }
    });
    sums
}

/// A tile's maps where the coefficients act.
struct Maps<'a, T> {
    /// What the primary filters computed: the output without its bias.
    primary: Option<Matrix<'a, T>>,
    /// The gradient of the secondary maps.
    secondary: Matrix<'a, T>,
    /// Room for the maps between the factors of low-rank coefficients, and for their gradient.
    reduced: &'a mut [T],
}

/// Adds what the secondary maps contribute to the gradient of the primary maps, and computes the
/// gradient of the coefficients if their input is there.
fn combine_backward<T: Real>(
    mixing: &Mixing<T>,
    maps: Maps<T>,
    gradient: &mut [T],
    sums: &mut PerOperand<Vec<T>>,
    write: Write,
    parallel: bool,
) {
    let Maps {
        primary,
        secondary,
        reduced,
    } = maps;
    let Some(row) = mixing.row else {
        if let Some(primary) = primary.filter(|_| !sums.column.is_empty()) {
            let primary = primary.transpose();
            product(&mut sums.column, write, secondary, primary, parallel);
        }
        let column = mixing.column.transpose();
        product(gradient, Write::Add, column, secondary, parallel);
        return;
    };
    let (reduced, reduced_gradient) = reduced.split_at_mut(reduced.len() / 2);
    let column = mixing.column.transpose();
    product(
        reduced_gradient,
        Write::Replace,
        column,
        secondary,
        parallel,
    );
    let reduced_gradient = Matrix::new(reduced_gradient, row.rows());
    if let Some(primary) = primary.filter(|_| !sums.column.is_empty()) {
        product(reduced, Write::Replace, row, primary, parallel);
        let reduced = Matrix::new(reduced, row.rows()).transpose();
        product(&mut sums.column, write, secondary, reduced, parallel);
    }
    if let Some(primary) = primary.filter(|_| !sums.row.is_empty()) {
        let primary = primary.transpose();
        product(&mut sums.row, write, reduced_gradient, primary, parallel);
    }
    product(
        gradient,
        Write::Add,
        row.transpose(),
        reduced_gradient,
        parallel,
    );
}
