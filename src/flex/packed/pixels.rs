//! How the pixels of an output are divided among threads.

use std::ops::Range;

use rayon::prelude::*;

/// The most output pixels that a thread computes at a time: their maps stay in its cache.
const PIXELS: usize = 128;
/// With fewer output pixels for each thread than this, threads divide the filters. Each thread then
/// reads only a part of the weights.
const FEW_PIXELS: usize = 48;
/// Multiply-adds below which waking other threads costs more than they save.
pub(super) const WORTH_WAKING: usize = 1_000_000;

/// The sizes of the work on an output, and how it can be divided.
pub(super) struct Pixels {
    pub(super) outputs: usize,
    pub(super) multiply_adds: usize,
    /// Whether threads can divide the filters of the same pixels.
    pub(super) divides_filters: bool,
    /// Pixels that one thread must compute together.
    pub(super) unit: usize,
}

impl Pixels {
    /// Calls `work` for some pixels at a time, with their outputs and the number of threads that
    /// compute these pixels together.
    ///
    /// # Shapes
    /// - output: `[pixels, outputs]`
    pub(super) fn for_each(
        &self,
        output: &mut [f32],
        work: impl Fn(Range<usize>, &mut [f32], usize) + Sync,
    ) {
        let outputs = self.outputs.max(1);
        let pixels = output.len() / outputs;
        let threads = match pixels.saturating_mul(self.multiply_adds) < WORTH_WAKING {
            true => 1,
            false => rayon::current_num_threads(),
        };
        if self.divides_filters && threads > 1 && pixels < threads * FEW_PIXELS {
            return work(0..pixels, output, threads);
        }
        let units = pixels / self.unit.max(1);
        let most = (PIXELS / self.unit.max(1)).max(1);
        let parts = units.div_ceil(most).next_multiple_of(threads).max(1);
        let each = units.div_ceil(parts).max(1) * self.unit.max(1);
        let part = |(index, output): (usize, &mut [f32])| {
            let first = index * each;
            work(first..first + output.len() / outputs, output, 1);
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
