//! Scratch memory, which a thread keeps from one call to the next: asking the system for it anew
//! costs as much as a small convolution.

use std::mem;

use super::real::Real;

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
        scratch.resize(total, T::zero());
    }
    let mut rest = scratch.as_mut_slice();
    let buffers = lengths.map(|length| {
        let buffer;
        (buffer, rest) = mem::take(&mut rest).split_at_mut(length);
        buffer
    });
    let result = work(buffers);
    T::scratch().set(scratch);
    result
}
