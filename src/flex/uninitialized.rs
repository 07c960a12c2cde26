//! Vectors that are written once, and not set to zero before.

use std::mem::MaybeUninit;

/// A place for a value, which may be uninitialized.
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

/// A vector of the given length. `write` gets all its places to write.
///
/// To set the vector to zero first would be one more pass over the memory, by one thread.
///
/// # Safety
/// `write` has to write every value.
pub(super) unsafe fn vec_written_by<T>(
    length: usize,
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    write(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is at least the length, and the caller promises that all values are
    // written.
    unsafe { values.set_len(length) };
    values
}
