//! The backward pass of the layer, tile by tile. The gradient of the secondary maps is added to the
//! gradient of the primary maps. These then meet the im2col columns once for all filters.

use rayon::prelude::*;

use super::gemm::{Matrix, Write, gemm};
use super::im2col::{col2im, im2col};
use super::operands::{Coefficients, Layer, Operands};
use super::real::Real;
use super::scratch::with_scratch;
use super::threads::{Threads, divide};
use super::tiles::{Tile, most_pixels, tiles};

/// The most memory in bytes for gradients that threads sum separately. Above it, all threads work
/// on each image together.
const SUMS_BYTES: usize = 256 << 20;

/// What the forward pass keeps. The first maps of each image are the maps of the primary filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a, T> {
    pub(super) values: &'a [T],
    /// Number of maps of an image.
    pub(super) maps: usize,
}

/// The gradients of the operands that are wanted.
///
/// # Shapes
/// - gradient: `[batch_size, m + n, height_out, width_out]`
pub(super) fn backward<T: Real>(
    layer: &Layer<T>,
    wanted: Operands<bool>,
    kept: Option<Kept<T>>,
    gradient: &[T],
) -> Operands<Option<Vec<T>>> {
    let batch_size = layer.batch_size();
    let input = layer.operands.input.values();
    let mut input_gradient = wanted.input.then(|| vec![T::zero(); input.len()]);
    // Each part writes its own images of the input gradient, so the input gradient is not summed.
    let summed = Operands {
        input: false,
        ..wanted
    };
    let values = layer.operands.zip(summed).values();
    let values = values.map(|(operand, wanted)| if wanted { operand.len() } else { 0 });
    let bytes = values.sum::<usize>() * size_of::<T>();
    let most_parts = SUMS_BYTES / bytes.max(1);
    // The backward pass has about twice the work of the forward pass.
    let multiply_adds = layer.multiply_adds().saturating_mul(2);

    let mut rest = Part {
        input,
        kept,
        gradient,
        input_gradient: input_gradient.as_deref_mut(),
    };
    let mut total: Option<Operands<Option<Vec<T>>>> = None;
    for section in divide(batch_size, multiply_adds, most_parts) {
        let threads = section.threads;
        let mut parts = Vec::new();
        for images in section.parts() {
            let (part, behind) = rest.split(layer, images);
            parts.push(part);
            rest = behind;
        }
        // Collected, then added in order: the result must not depend on which thread was faster.
        let sums = threads.map(parts, |part| {
            let mut sums = zeros(layer, summed);
            backward_images(layer, &mut sums, part, threads);
            sums
        });
        for sums in sums {
            total = Some(match total {
                Some(total) => add(total, sums),
                None => sums,
            });
        }
    }
    Operands {
        input: input_gradient,
        ..total.unwrap_or_else(|| zeros(layer, summed))
    }
}

/// Adds the sums of two parts, by all threads.
fn add<T: Real>(
    total: Operands<Option<Vec<T>>>,
    sums: Operands<Option<Vec<T>>>,
) -> Operands<Option<Vec<T>>> {
    let pairs = total.zip(sums);
    pairs.map(|(total, sum)| {
        let (mut total, sum) = (total?, sum?);
        let values = total.par_iter_mut().with_min_len(1 << 14).zip(sum);
        values.for_each(|(total, sum)| *total += sum);
        Some(total)
    })
}

/// The part of a thread: some images.
struct Part<'a, T> {
    input: &'a [T],
    kept: Option<Kept<'a, T>>,
    gradient: &'a [T],
    input_gradient: Option<&'a mut [T]>,
}

impl<'a, T: Real> Part<'a, T> {
    /// Splits off the first images.
    fn split(self, layer: &Layer<T>, images: usize) -> (Self, Self) {
        let (input, other_input) = self.input.split_at(images * layer.image_in());
        let (gradient, other_gradient) = self.gradient.split_at(images * layer.image_out());
        let kept = self.kept.map(|Kept { values, maps }| {
            let (values, others) = values.split_at(images * maps * layer.geometry.output_plane());
            let others = Kept {
                values: others,
                maps,
            };
            (Kept { values, maps }, others)
        });
        let input_gradient = self.input_gradient.map(|gradient| {
            let length = images * layer.image_in();
            gradient.split_at_mut(length)
        });
        let (input_gradient, other_input_gradient) = input_gradient.unzip();
        let (kept, other_kept) = kept.unzip();
        let first = Self {
            input,
            kept,
            gradient,
            input_gradient,
        };
        let others = Self {
            input: other_input,
            kept: other_kept,
            gradient: other_gradient,
            input_gradient: other_input_gradient,
        };
        (first, others)
    }
}

/// Zeros for the gradients that are wanted.
fn zeros<T: Real>(layer: &Layer<T>, wanted: Operands<bool>) -> Operands<Option<Vec<T>>> {
    let operands = layer.operands.zip(wanted);
    operands.map(|(operand, wanted)| wanted.then(|| vec![T::zero(); operand.len()]))
}

/// Computes the gradients for some images: the input gradient, and the sums that are wanted.
fn backward_images<T: Real>(
    layer: &Layer<T>,
    sums: &mut Operands<Option<Vec<T>>>,
    part: Part<T>,
    threads: Threads,
) {
    let geometry = &layer.geometry;
    let filters = layer.operands.filters;
    let outputs = layer.outputs();
    let Part {
        input,
        kept,
        gradient,
        mut input_gradient,
    } = part;
    // Fresh memory is cheaper to write than to add to: each page is then faulted in once.
    if let Some(input_gradient) = &mut input_gradient {
        input_gradient.fill(T::zero());
    }
    let rows = [
        geometry.filter_size(),
        outputs,
        kept.map_or(0, |_| filters.rows()),
        2 * layer.rank(),
    ];
    let images = input.len() / layer.image_in().max(1);
    let tiles = tiles::<T>(geometry, images, threads, rows.iter().sum());
    let lengths = rows.map(|rows| rows * most_pixels(&tiles));
    with_scratch(lengths, |[columns, maps, primary_maps, reduced]| {
        for (index, tile) in tiles.into_iter().enumerate() {
            let write = if index == 0 {
                Write::Replace
            } else {
                Write::Add
            };
            let maps = &mut maps[..outputs * tile.pixels];
            let bias = sums.bias.as_mut().and_then(Option::as_deref_mut);
            load(layer, &tile, gradient, maps, bias);

            let (primary, secondary) = maps.split_at_mut(filters.rows() * tile.pixels);
            if let (Some(coefficients), Some(sums)) =
                (layer.operands.coefficients, &mut sums.coefficients)
            {
                let primary_maps = kept.map(|kept| {
                    let maps = &mut primary_maps[..primary.len()];
                    tile.load(geometry, kept.maps, kept.values, maps);
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
                    im2col(geometry, images, &tile, columns, threads);
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
                    col2im(geometry, columns, &tile, images, threads);
                }
            }
        }
    });
}

/// Loads the gradient of the maps of a tile, in the order of the filters: the sum over the outputs
/// that show a filter. Adds the gradient of the bias to `bias`.
fn load<T: Real>(
    layer: &Layer<T>,
    tile: &Tile,
    gradient: &[T],
    maps: &mut [T],
    mut bias: Option<&mut [T]>,
) {
    let outputs = layer.outputs();
    if layer.order.is_some() {
        maps.fill(T::zero());
    }
    for index in 0..outputs {
        let map = &mut maps[layer.shown(index) * tile.pixels..][..tile.pixels];
        let mut sum = T::zero();
        let runs = map.chunks_exact_mut(tile.image_pixels());
        for (run, place) in runs.zip(tile.places(&layer.geometry, outputs, index)) {
            let gradient = &gradient[place];
            match layer.order {
                None => run.copy_from_slice(gradient),
                Some(_) => {
                    let pairs = run.iter_mut().zip(gradient);
                    pairs.for_each(|(sum, value)| *sum += *value);
                }
            }
            if bias.is_some() {
                sum = gradient.iter().fold(sum, |sum, value| sum + *value);
            }
        }
        if let Some(bias) = &mut bias {
            bias[index] += sum;
        }
    }
}

/// The maps of a tile on which the coefficients act.
struct Maps<'a, T> {
    /// The maps of the primary filters, without bias.
    primary: Option<Matrix<'a, T>>,
    /// The gradient of the secondary maps.
    secondary: Matrix<'a, T>,
    /// Memory for the maps between the two factors of low-rank coefficients, and for their
    /// gradient.
    reduced: &'a mut [T],
}

/// Adds the contribution of the secondary maps to the gradient of the primary maps. Computes the
/// gradients of the coefficients, if the primary maps are there.
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
