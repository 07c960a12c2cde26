//! Winograd's convolution F(2×2, 3×3) (Lavin and Gray 2015,
//! [arXiv 1509.09308](https://arxiv.org/abs/1509.09308), section 4.1): a tile of 2×2 output pixels
//! takes 16 products for each channel in place of 36.
//!
//! ```text
//! Y = Aᵀ · ((G · g · Gᵀ) ⊙ (Bᵀ · d · B)) · A
//! ```

use std::array;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::multiply::Multiply;
use super::panels::Panels;
use super::rows::Rows;
use super::simd::{ARCH, PANEL};
use crate::flex::geometry::Geometry;

/// The products of a tile: a transformed tile has 4×4 values.
const PRODUCTS: usize = 16;
/// The fewest output pixels for which transformed weights pay. They are 16 / 9 as many as the
/// others, and must be read often enough.
const WORTH_TRANSFORMING: usize = 256;
/// The most input values of the output pixels that one thread computes together. Transformed, they
/// are four times as many, in scratch memory.
const MOST_VALUES: usize = 1 << 18;

/// Filters that are transformed, to multiply transformed tiles.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    /// One matrix `[filters, channels]` for each of the products.
    filters: [Panels; PRODUCTS],
}

/// Whether transformed filters pay for this many output pixels, of which each thread gets some.
pub(super) fn pays(geometry: &Geometry, pixels: usize) -> bool {
    let plain =
        geometry.kernel == [3, 3] && geometry.stride == [1, 1] && geometry.dilation == [1, 1];
    let unit = unit(geometry);
    plain
        && geometry.channels >= *PANEL / 2
        && pixels >= WORTH_TRANSFORMING
        && unit * geometry.channels <= MOST_VALUES
        && pixels / unit >= rayon::current_num_threads()
}

/// Threads get multiples of this many output pixels, so that every tile is whole.
pub(super) fn unit(geometry: &Geometry) -> usize {
    match geometry.output[0] % 2 {
        0 => 2 * geometry.output[1],
        _ => geometry.output_plane(),
    }
}

/// Number of tiles of this many output pixels, a multiple of [`unit`].
fn tiles(geometry: &Geometry, pixels: usize) -> usize {
    let [rows, columns] = geometry.output.map(|size| size.div_ceil(2));
    let units = pixels / unit(geometry);
    match geometry.output[0] % 2 {
        0 => units * columns,
        _ => units * rows * columns,
    }
}

/// Values of scratch memory for this many output pixels.
pub(super) fn scratch(geometry: &Geometry, pixels: usize, threads: usize) -> usize {
    let tiles = tiles(geometry, pixels);
    PRODUCTS * tiles * (geometry.channels + threads * *PANEL)
}

impl Winograd {
    /// Transforms filters of 3×3 weights, in f64.
    ///
    /// # Shapes
    /// - filters: `[filters, 9 · channels]`, the channels of a tap side by side
    pub(super) fn new(filters: &Panels) -> Self {
        let channels = filters.columns() / 9;
        let mut transformed: [Vec<f32>; PRODUCTS] = Default::default();
        for filter in filters.matrix() {
            for channel in 0..channels {
                let weight = |tap: usize| f64::from(filter[tap * channels + channel]);
                // G · g, then (G · (G · g)ᵀ)ᵀ.
                let columns: [[f64; 4]; 3] = array::from_fn(|column| {
                    weights(array::from_fn(|row| weight(3 * row + column)))
                });
                for row in 0..4 {
                    let row_of_products = weights(array::from_fn(|column| columns[column][row]));
                    for (column, product) in row_of_products.into_iter().enumerate() {
                        transformed[4 * row + column].push(product as f32);
                    }
                }
            }
        }
        Self {
            filters: transformed.map(|matrix| Panels::new(&matrix, filters.rows())),
        }
    }

    /// Computes the maps of the filters at some pixels.
    ///
    /// # Shapes
    /// - images: `[count, height_in, width_in, channels]`
    /// - sums: `[panels, pixels, rows of a panel]`
    pub(super) fn multiply(
        &self,
        geometry: &Geometry,
        images: &[f32],
        pixels: Range<usize>,
        zeros: &[f32],
        [sums, scratch]: [&mut [f32]; 2],
        threads: usize,
    ) {
        let channels = geometry.channels;
        let count = tiles(geometry, pixels.len());
        let (transformed, scratch) = scratch.split_at_mut(PRODUCTS * count * channels);
        let each = count.div_ceil(threads).max(1);
        let input = |(part, transformed): (usize, &mut [f32])| {
            ARCH.dispatch(Input {
                geometry,
                images,
                first_row: pixels.start / geometry.output[1],
                first_tile: part * each,
                zeros,
                transformed,
            });
        };
        let parts = PRODUCTS * each * channels;
        match threads {
            1 => transformed.chunks_mut(parts).enumerate().for_each(input),
            _ => transformed
                .par_chunks_mut(parts)
                .enumerate()
                .for_each(input),
        }
        let products: [Rows; PRODUCTS] = array::from_fn(|product| {
            let tiles = transformed.chunks_exact(PRODUCTS * channels);
            Rows::new(
                tiles
                    .map(|tile| &tile[product * channels..][..channels])
                    .collect(),
            )
        });
        let [filters, ..] = &self.filters;
        let each = filters.count().div_ceil(threads).max(1);
        let of_tiles = PRODUCTS * count * *PANEL;
        let output = |(part, (sums, scratch)): (usize, (&mut [f32], &mut [f32]))| {
            let panels = filters.iter().enumerate().skip(part * each).take(each);
            let mut sums = sums;
            for (index, panel) in panels {
                let of_product = count * panel.width;
                let scratch = &mut scratch[..PRODUCTS * of_product];
                let parts = scratch.chunks_exact_mut(of_product);
                for ((filters, tiles), sums) in self.filters.iter().zip(&products).zip(parts) {
                    ARCH.dispatch(Multiply {
                        matrix: filters,
                        panels: index..index + 1,
                        pixels: tiles,
                        sums,
                    });
                }
                let (of_panel, rest) = sums.split_at_mut(panel.width * pixels.len());
                sums = rest;
                ARCH.dispatch(Output {
                    geometry,
                    tiles: count,
                    width: panel.width,
                    products: scratch,
                    sums: of_panel,
                });
            }
        };
        let parts = each * *PANEL * pixels.len();
        match threads {
            1 => output((0, (sums, scratch))),
            _ => {
                let parts = sums
                    .par_chunks_mut(parts)
                    .zip(scratch.par_chunks_mut(of_tiles));
                parts.enumerate().for_each(output);
            }
        }
    }
}

/// `G · g` for a column of weights.
fn weights([first, second, third]: [f64; 3]) -> [f64; 4] {
    let outer = (first + third) / 2.0;
    [first, outer + second / 2.0, outer - second / 2.0, third]
}

/// Transforms tiles of images, `Bᵀ · d · B`.
///
/// # Shapes
/// - transformed: `[tiles, 16, channels]`
struct Input<'a> {
    geometry: &'a Geometry,
    images: &'a [f32],
    /// The first output row, counted over the rows of all images.
    first_row: usize,
    /// The first tile, counted from that row on.
    first_tile: usize,
    zeros: &'a [f32],
    transformed: &'a mut [f32],
}

impl WithSimd for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let geometry = self.geometry;
        let channels = geometry.channels;
        let [height, width] = geometry.input;
        let [rows, columns] = geometry.output.map(|size| size.div_ceil(2));
        let first_image = self.first_row / geometry.output[0];
        let first = self.first_row % geometry.output[0] / 2 * columns + self.first_tile;
        let tiles = self.transformed.chunks_exact_mut(PRODUCTS * channels);
        for (tile, transformed) in tiles.enumerate() {
            let tile = first + tile;
            let (row, column) = (tile / columns, tile % columns);
            let (image, row) = (first_image + row / rows, row % rows);
            let mut tile = [self.zeros; PRODUCTS];
            for (value, slice) in tile.iter_mut().enumerate() {
                let y = (2 * row + value / 4).wrapping_sub(geometry.padding[0]);
                let x = (2 * column + value % 4).wrapping_sub(geometry.padding[1]);
                *slice = match y < height && x < width {
                    true => {
                        &self.images[((image * height + y) * width + x) * channels..][..channels]
                    }
                    false => &self.zeros[..channels],
                };
            }
            let whole = channels - channels % S::F32_LANES;
            for channel in (0..whole).step_by(S::F32_LANES) {
                let lanes = channel..channel + S::F32_LANES;
                let load = |value: usize| S::as_simd_f32s(&tile[value][lanes.clone()]).0[0];
                let subtract = |a, b| simd.sub_f32s(a, b);
                let add = |a, b| simd.add_f32s(a, b);
                let values = transform_input(load, subtract, add);
                for (product, value) in values.into_iter().enumerate() {
                    let output = &mut transformed[product * channels..][lanes.clone()];
                    S::as_mut_simd_f32s(output).0[0] = value;
                }
            }
            for channel in whole..channels {
                let load = |value: usize| tile[value][channel];
                let values = transform_input(load, |a, b| a - b, |a, b| a + b);
                for (product, value) in values.into_iter().enumerate() {
                    transformed[product * channels + channel] = value;
                }
            }
        }
    }
}

/// `Bᵀ · d · B` of a tile of 4×4 values.
#[inline(always)]
fn transform_input<V: Copy>(
    tile: impl Fn(usize) -> V,
    subtract: impl Fn(V, V) -> V,
    add: impl Fn(V, V) -> V,
) -> [V; PRODUCTS] {
    // Written out: the compiler vectorizes only what it inlines.
    let line = |a: V, b: V, c: V, d: V| [subtract(a, c), add(b, c), subtract(c, b), subtract(b, d)];
    let columns = [
        line(tile(0), tile(4), tile(8), tile(12)),
        line(tile(1), tile(5), tile(9), tile(13)),
        line(tile(2), tile(6), tile(10), tile(14)),
        line(tile(3), tile(7), tile(11), tile(15)),
    ];
    let row = |row: usize| {
        let [a, b, c, d] = &columns;
        line(a[row], b[row], c[row], d[row])
    };
    let [first, second, third, fourth] = [row(0), row(1), row(2), row(3)];
    [
        first[0], first[1], first[2], first[3], second[0], second[1], second[2], second[3],
        third[0], third[1], third[2], third[3], fourth[0], fourth[1], fourth[2], fourth[3],
    ]
}

/// Transforms the products of a panel back, `Aᵀ · m · A`.
///
/// # Shapes
/// - products: `[16, tiles, width]`
/// - sums: `[pixels, width]`
struct Output<'a> {
    geometry: &'a Geometry,
    tiles: usize,
    width: usize,
    products: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [height, width] = self.geometry.output;
        let [rows, columns] = [height, width].map(|size| size.div_ceil(2));
        let of_product = self.tiles * self.width;
        for tile in 0..self.tiles {
            let (row, column) = (tile / columns, tile % columns);
            let (image, row) = (row / rows, row % rows);
            let top = image * height + 2 * row;
            // Maps of odd sizes end within a tile.
            let (bottom, right) = (2 * row + 1 < height, 2 * column + 1 < width);
            for lane in (0..self.width).step_by(S::F32_LANES) {
                let lanes = |start: usize| start + lane..start + lane + S::F32_LANES;
                let product = |value: usize| {
                    let start = value * of_product + tile * self.width;
                    S::as_simd_f32s(&self.products[lanes(start)]).0[0]
                };
                let line = |a, b, c, d| {
                    [
                        simd.add_f32s(simd.add_f32s(a, b), c),
                        simd.sub_f32s(simd.sub_f32s(b, c), d),
                    ]
                };
                let columns = [
                    line(product(0), product(4), product(8), product(12)),
                    line(product(1), product(5), product(9), product(13)),
                    line(product(2), product(6), product(10), product(14)),
                    line(product(3), product(7), product(11), product(15)),
                ];
                let row = |row: usize| {
                    let [a, b, c, d] = &columns;
                    line(a[row], b[row], c[row], d[row])
                };
                let values = [row(0), row(1)];
                let mut store = |row: usize, right: usize| {
                    let pixel = (top + row) * width + 2 * column + right;
                    let sums = &mut self.sums[lanes(pixel * self.width)];
                    S::as_mut_simd_f32s(sums).0[0] = values[row][right];
                };
                store(0, 0);
                if right {
                    store(0, 1);
                }
                if bottom {
                    store(1, 0);
                }
                if right && bottom {
                    store(1, 1);
                }
            }
        }
    }
}
