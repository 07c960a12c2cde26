//! The layer backward: tile by tile, the gradient of the secondary maps joins that of the primary
//! ones, which then meets the columns once for all filters.

use super::gemm::{Matrix, Write, gemm};
use super::im2col::{col2im, im2col};
use super::operands::{Coefficients, Layer, Operands};
use super::real::Real;
use super::scratch::with_scratch;
use super::threads::Threads;
use super::tiles::{most_pixels, tiles};

/// The gradients of the operands that are wanted.
///
/// # Shapes
/// - output, where gradients of coefficients are wanted: what
///   [`forward`](super::forward::forward) returned
/// - gradient: `[batch_size, m + n, output]`
pub(super) fn backward<T: Real>(
    layer: &Layer<T>,
    wanted: Operands<bool>,
    output: Option<&[T]>,
    gradient: &[T],
) -> Operands<Option<Vec<T>>> {
    let batch_size = layer.batch_size();
    // Backward there is about twice the work.
    let threads = Threads::new(batch_size, 2 * layer.multiply_adds());
    let images = threads.images(batch_size);
    let input = layer.operands.input.values();
    let mut input_gradient = wanted.input.then(|| vec![T::zero(); input.len()]);
    let mut input_gradients = input_gradient
        .as_mut()
        .map(|gradient| gradient.chunks_mut(images * layer.image_in()));
    let shares = input
        .chunks(images * layer.image_in())
        .zip(gradient.chunks(images * layer.image_out()))
        .enumerate()
        .map(|(index, (input, gradient))| {
            let start = index * images * layer.image_out();
            Share {
                input,
                output: output.map(|output| &output[start..start + gradient.len()]),
                gradient,
                input_gradient: input_gradients.as_mut().and_then(Iterator::next),
            }
        });
    // Of an input each share writes its own part.
    let summed = Operands {
        input: false,
        ..wanted
    };
    // Collected, then summed in order, so that a result does not depend on who was faster.
    let sums = threads.map(shares.collect(), |share| {
        let mut sums = zeros(layer, summed);
        backward_images(layer, &mut sums, share, threads);
        sums
    });
    let add = |mut total: Vec<T>, sum: Vec<T>| {
        for (total, sum) in total.iter_mut().zip(sum) {
            *total += sum;
        }
        total
    };
    let sums = sums.into_iter().reduce(|total, sums| {
        let sums = total.zip(sums);
        sums.map(|(total, sum)| Some(add(total?, sum?)))
    });
    Operands {
        input: input_gradient,
        ..sums.unwrap_or_else(|| zeros(layer, summed))
    }
}

/// The images of one thread.
struct Share<'a, T> {
    input: &'a [T],
    output: Option<&'a [T]>,
    gradient: &'a [T],
    input_gradient: Option<&'a mut [T]>,
}

/// Room for the gradients that are wanted.
fn zeros<T: Real>(layer: &Layer<T>, wanted: Operands<bool>) -> Operands<Option<Vec<T>>> {
    let operands = layer.operands.zip(wanted);
    operands.map(|(operand, wanted)| wanted.then(|| vec![T::zero(); operand.len()]))
}

/// Computes the gradients of one thread's images: that of the input, and the sums that are wanted.
fn backward_images<T: Real>(
    layer: &Layer<T>,
    sums: &mut Operands<Option<Vec<T>>>,
    share: Share<T>,
    threads: Threads,
) {
    let geometry = &layer.geometry;
    let filters = layer.operands.filters;
    let outputs = layer.outputs();
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
    let tiles = tiles(geometry, input.len() / layer.image_in(), threads);
    let lengths = [
        geometry.filter_size(),
        outputs,
        output.map_or(0, |_| filters.rows()),
        2 * layer.rank(),
    ]
    .map(|rows| rows * most_pixels(&tiles));
    with_scratch(lengths, |[columns, maps, primary_maps, reduced]| {
        for (index, tile) in tiles.into_iter().enumerate() {
            let write = if index == 0 {
                Write::Replace
            } else {
                Write::Add
            };
            let maps = &mut maps[..outputs * tile.pixels];
            tile.load(geometry, outputs, gradient, maps);
            if let Some(Some(sums)) = &mut sums.bias {
                for (sum, map) in sums.iter_mut().zip(maps.chunks_exact(tile.pixels)) {
                    *sum += map.iter().fold(T::zero(), |sum, value| sum + *value);
                }
            }

            let (primary, secondary) = maps.split_at_mut(filters.rows() * tile.pixels);
            if let (Some(coefficients), Some(sums)) =
                (layer.operands.coefficients, &mut sums.coefficients)
            {
                let primary_maps = output.map(|output| {
                    let maps = &mut primary_maps[..primary.len()];
                    tile.load(geometry, outputs, output, maps);
                    for (filter, map) in maps.chunks_exact_mut(tile.pixels).enumerate() {
                        let bias = layer.bias(filter);
                        map.iter_mut().for_each(|value| *value -= bias);
                    }
                    Matrix::new(maps, filters.rows())
                });
                let maps = Maps {
                    primary: primary_maps,
                    secondary: Matrix::new(secondary, coefficients.column.rows()),
                    reduced: &mut reduced[..2 * layer.rank() * tile.pixels],
                };
                combine_backward(coefficients, maps, primary, sums, write, threads);
            }

            let primary = Matrix::new(primary, filters.rows());
            let pointwise = tile.is_image(geometry) && geometry.is_pointwise();
            let columns = &mut columns[..geometry.filter_size() * tile.pixels];
            if let Some(sums) = &mut sums.filters {
                let images = &input[tile.values(layer.image_in())];
                let columns = if pointwise {
                    images
                } else {
                    im2col(geometry, images, &tile.rows, columns, threads);
                    &*columns
                };
                let columns = Matrix::new(columns, geometry.filter_size()).transpose();
                gemm(sums, write, primary, columns, threads);
            }
            if let Some(input_gradient) = &mut input_gradient {
                let images = &mut input_gradient[tile.values(layer.image_in())];
                let filters = filters.transpose();
                if pointwise {
                    gemm(images, Write::Replace, filters, primary, threads);
                } else {
                    gemm(columns, Write::Replace, filters, primary, threads);
                    col2im(geometry, columns, &tile.rows, images, threads);
                }
            }
        }
    });
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
/// gradients of the coefficients if their input is there.
fn combine_backward<T: Real>(
    Coefficients { row, column }: Coefficients<Matrix<T>>,
    maps: Maps<T>,
    gradient: &mut [T],
    sums: &mut Coefficients<Option<Vec<T>>>,
    write: Write,
    threads: Threads,
) {
    let Maps {
        primary,
        secondary,
        reduced,
    } = maps;
    let Some(row) = row else {
        if let (Some(sums), Some(primary)) = (&mut sums.column, primary) {
            gemm(sums, write, secondary, primary.transpose(), threads);
        }
        gemm(gradient, Write::Add, column.transpose(), secondary, threads);
        return;
    };
    let (reduced, reduced_gradient) = reduced.split_at_mut(reduced.len() / 2);
    let column = column.transpose();
    gemm(reduced_gradient, Write::Replace, column, secondary, threads);
    let reduced_gradient = Matrix::new(reduced_gradient, row.rows());
    if let (Some(sums), Some(primary)) = (&mut sums.column, primary) {
        gemm(reduced, Write::Replace, row, primary, threads);
        let reduced = Matrix::new(reduced, row.rows()).transpose();
        gemm(sums, write, secondary, reduced, threads);
    }
    if let (Some(Some(sums)), Some(primary)) = (&mut sums.row, primary) {
        gemm(sums, write, reduced_gradient, primary.transpose(), threads);
    }
    let row = row.transpose();
    gemm(gradient, Write::Add, row, reduced_gradient, threads);
}
