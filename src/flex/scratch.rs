//! Scratch memory that a thread keeps from one call to the next. To ask the system for new memory
//! at each call costs as much as a small convolution.

use std::mem;

use super::real::Real;

/// The scratch memory in bytes for which tiles are cut, and the most that a thread keeps after a
/// call.
pub(super) const SCRATCH_BYTES: usize = 32 << 20;

/// Calls `work` with buffers of the given lengths. Their content is unspecified.
pub(super) fn with_scratch<T: Real, const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [T]; N]) -> R,
) -> R {
    // Taken, not borrowed. While this thread waits for others it may begin another call, which then
    // finds no scratch memory and allocates its own.
    let mut scratch = T::scratch().take();
    let total = lengths.iter().sum();
    if scratch.len() < total {
        // Not resized: the old content need not be copied.
        scratch = vec![T::zero(); total];
    }
    let mut rest = scratch.as_mut_slice();
    let buffers = lengths.map(|length| {
        let buffer;
        (buffer, rest) = mem::take(&mut rest).split_at_mut(length);
        buffer
    });
    let result = work(buffers);
    if scratch.len() * size_of::<T>() <= SCRATCH_BYTES {
        T::scratch().set(scratch);
    }
    result
}
