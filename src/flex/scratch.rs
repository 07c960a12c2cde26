//! Scratch memory, which a thread keeps from one call to the next: asking the system for it anew
//! costs as much as a small convolution.

use std::mem;

use super::real::Real;

/// The scratch memory in bytes that a tile is cut to, and the most that a thread keeps after a call.
pub(super) const SCRATCH_BYTES: usize = 32 << 20;

/// Calls `work` with buffers of the given lengths, of unspecified content.
pub(super) fn with_scratch<T: Real, const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [T]; N]) -> R,
) -> R {
    // Taken, not borrowed: while this thread waits for others it may begin another call, which
    // then finds nothing and allocates.
    let mut scratch = T::scratch().take();
    let total = lengths.iter().sum();
    if scratch.len() < total {
        // Not resized: what is in there need not be copied.
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
