//! The product (GEMM) of a packed matrix and the values of pixels.

use std::array;
use std::ops::Range;
use std::ptr;

use pulp::{Simd, WithSimd};

use super::panels::Panels;
use super::rows::Rows;

/// Computes `sums = matrix · pixels` for some panels.
///
/// # Shapes
/// - sums: `[panels, pixels, rows of a panel]`
pub(super) struct Multiply<'a> {
    pub(super) matrix: &'a Panels,
    pub(super) panels: Range<usize>,
    pub(super) pixels: &'a Rows<'a>,
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        assert_eq!(self.matrix.columns(), self.pixels.columns(), "columns");
        // As many pixels as have room in the registers for their sums, beside the operands.
        let most = if S::REGISTER_COUNT >= 32 { 8 } else { 4 };
        let pixels = self.pixels.pixels();
        let mut sums = self.sums;
        for (panel, values) in self.matrix.range(self.panels) {
            let (of_panel, rest) = sums.split_at_mut(panel.width * pixels);
            sums = rest;
            let mut first = 0;
            for sums in of_panel.chunks_mut(most * panel.width) {
                let count = sums.len() / panel.width;
                let block = Block {
                    values,
                    pixels: self.pixels,
                    first,
                    sums,
                };
                match panel.width == S::F32_LANES {
                    true => block.of_count::<S, 1>(simd, count),
                    false => block.of_count::<S, 2>(simd, count),
                }
                first += count;
            }
        }
    }
}

/// A panel and a few pixels.
struct Block<'a> {
    values: &'a [f32],
    pixels: &'a Rows<'a>,
    first: usize,
    sums: &'a mut [f32],
}

impl Block<'_> {
    #[inline(always)]
    fn of_count<S: Simd, const VECTORS: usize>(self, simd: S, count: usize) {
        match count {
            8 => self.multiply::<S, VECTORS, 8>(simd),
            7 => self.multiply::<S, VECTORS, 7>(simd),
            6 => self.multiply::<S, VECTORS, 6>(simd),
            5 => self.multiply::<S, VECTORS, 5>(simd),
            4 => self.multiply::<S, VECTORS, 4>(simd),
            3 => self.multiply::<S, VECTORS, 3>(simd),
            2 => self.multiply::<S, VECTORS, 2>(simd),
            1 => self.multiply::<S, VECTORS, 1>(simd),
            _ => unreachable!("at most eight pixels"),
        }
    }

    /// Multiplies a panel of `VECTORS` vectors by `PIXELS` pixels. The sums stay in registers.
    #[allow(
        clippy::needless_range_loop,
        reason = "what the compiler has to unroll is to be seen"
    )]
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize, const PIXELS: usize>(self, simd: S) {
        let lanes = S::F32_LANES;
        assert_eq!(self.sums.len(), PIXELS * VECTORS * lanes, "sums");
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; PIXELS];
        let mut values = self.values;
        for segment in self.pixels.segments() {
            let pixels: [&[f32]; PIXELS] = array::from_fn(|pixel| segment[self.first + pixel]);
            let columns = pixels[0].len();
            let (of_segment, rest) = values.split_at(columns * VECTORS * lanes);
            values = rest;
            for column in 0..columns {
                // SAFETY: `of_segment` has `VECTORS · lanes` values for each of the columns. Each
                // of the pixels has `columns` values, which `Rows::columns` has checked.
                let (vectors, scalars): ([S::f32s; VECTORS], [f32; PIXELS]) = unsafe {
                    let start = of_segment.as_ptr().add(column * VECTORS * lanes);
                    (
                        array::from_fn(|vector| {
                            ptr::read_unaligned(start.add(vector * lanes).cast::<S::f32s>())
                        }),
                        array::from_fn(|pixel| *pixels[pixel].get_unchecked(column)),
                    )
                };
                for pixel in 0..PIXELS {
                    let scalar = simd.splat_f32s(scalars[pixel]);
                    for vector in 0..VECTORS {
                        sums[pixel][vector] =
                            simd.mul_add_e_f32s(scalar, vectors[vector], sums[pixel][vector]);
                    }
                }
            }
        }
        let outputs = self.sums.chunks_exact_mut(lanes);
        for (output, sum) in outputs.zip(sums.as_flattened()) {
            S::as_mut_simd_f32s(output).0[0] = *sum;
        }
    }
}
