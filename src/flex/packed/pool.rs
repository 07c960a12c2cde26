//! Max pooling of channels-last images.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::images::Images;
use super::simd::ARCH;

/// Applies max pooling without padding.
///
/// # Shapes
/// - images: `[count, height, width, channels]`
/// - output: `[count, pooled_height, pooled_width, channels]`
///
/// # Panics
/// Panics on images smaller than a window.
pub(super) fn max_pool2d(images: &Images, kernel: [usize; 2], stride: [usize; 2]) -> Images {
    let [count, height, width, channels] = images.size;
    assert!(
        height >= kernel[0] && width >= kernel[1],
        "maps of {:?} pixels are smaller than the windows of the pool, {kernel:?}",
        [height, width]
    );
    let pooled = |size: usize, axis: usize| (size - kernel[axis]) / stride[axis] + 1;
    let [rows, columns] = [pooled(height, 0), pooled(width, 1)];
    let mut values = vec![0.0; count * rows * columns * channels];
    let row = |(index, output): (usize, &mut [f32])| {
        let (image, y) = (index / rows, index % rows * stride[0]);
        let input = &images.values()[image * height * width * channels..];
        ARCH.dispatch(Row {
            input: &input[y * width * channels..][..kernel[0] * width * channels],
            width,
            channels,
            kernel,
            step: stride[1],
            output,
        });
    };
    let length = (columns * channels).max(1);
    // For few values, one thread is done before others are awake.
    match images.values().len() < 1 << 16 {
        true => values.chunks_mut(length).enumerate().for_each(row),
        false => values.par_chunks_mut(length).enumerate().for_each(row),
    }
    Images::new(values, [count, rows, columns, channels])
}

/// A row of the output.
struct Row<'a> {
    /// The rows of the input that the windows of this row cover.
    input: &'a [f32],
    width: usize,
    channels: usize,
    kernel: [usize; 2],
    /// The distance from one window to the next.
    step: usize,
    output: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    // The compiler vectorizes these loops for the machine that runs them.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            input,
            width,
            channels,
            kernel,
            step,
            output,
        } = self;
        for (x, output) in output.chunks_exact_mut(channels).enumerate() {
            let pixel = |tap: usize| {
                let (row, column) = (tap / kernel[1], x * step + tap % kernel[1]);
                &input[(row * width + column) * channels..][..channels]
            };
            output.copy_from_slice(pixel(0));
            for tap in 1..kernel[0] * kernel[1] {
                for (largest, value) in output.iter_mut().zip(pixel(tap)) {
                    // NaN stays NaN.
                    let larger = *value > *largest || value.is_nan();
                    *largest = if larger { *value } else { *largest };
                }
            }
        }
    }
}
