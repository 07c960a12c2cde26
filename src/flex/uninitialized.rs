//! Vectors that are written once, and not set to zero before.

use std::mem::MaybeUninit;

/// A place for a value, which may hold none yet.
pub(super) trait Slot<T> {
    fn put(&mut self, value: T);
}

impl<T> Slot<T> for T {
    fn put(&mut self, value: T) {
        *self = value;
    }
}

impl<T> Slot<T> for MaybeUninit<T> {
    fn put(&mut self, value: T) {
        self.write(value);
    }
}

/// A vector of the given length, of which `write` gets all places to write.
///
/// Zeros would be a pass over memory of their own, by one thread.
///
/// # Safety
/// `write` has to write every value.
pub(super) unsafe fn vec_written_by<T>(
    length: usize,
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    write(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is at least the length, and the caller promises that all is written.
    unsafe { values.set_len(length) };
    values
}
