//! How the pixels of an output are divided among threads.

use std::ops::Range;

use rayon::prelude::*;

/// Output pixels that a thread computes at a time at most: their maps stay in its cache.
const PIXELS: usize = 128;
/// Output pixels for each thread below which threads divide the filters, so that each reads a part
/// of the weights alone.
const FEW_PIXELS: usize = 48;
/// Multiply-adds below which waking other threads costs more than they save.
const WORTH_WAKING: usize = 1_000_000;

/// What a pixel of the output takes.
pub(super) struct Pixels {
    pub(super) outputs: usize,
    pub(super) multiply_adds: usize,
    /// Whether threads can divide the filters of the same pixels.
    pub(super) divides_filters: bool,
}

impl Pixels {
    /// Calls `work` for some pixels at a time, with their outputs and whether all threads are to
    /// share them.
    ///
    /// # Shapes
    /// - output: `[pixels, outputs]`
    pub(super) fn for_each(
        &self,
        output: &mut [f32],
        work: impl Fn(Range<usize>, &mut [f32], bool) + Sync,
    ) {
        let outputs = self.outputs.max(1);
        let pixels = output.len() / outputs;
        let threads = match pixels.saturating_mul(self.multiply_adds) < WORTH_WAKING {
            true => 1,
            false => rayon::current_num_threads(),
        };
        if self.divides_filters && threads > 1 && pixels < threads * FEW_PIXELS {
            return work(0..pixels, output, true);
        }
        let parts = pixels.div_ceil(PIXELS).next_multiple_of(threads).max(1);
        let each = pixels.div_ceil(parts).max(1);
        let part = |(index, output): (usize, &mut [f32])| {
            let first = index * each;
            work(first..first + output.len() / outputs, output, false);
        };
        match threads {
            1 => output.chunks_mut(each * outputs).enumerate().for_each(part),
            _ => output
                .par_chunks_mut(each * outputs)
                .enumerate()
                .for_each(part),
        }
    }
}
