//! Memory that a training step frees stays with the process, for the next step.

/// Lets glibc keep what is freed, instead of giving it back to the system.
///
/// A training step asks for the same memory as the step before. Given back in between, every page of it is
/// faulted in and set to zero anew: a sixth of a step of ResNet-18 on two cores. Whether glibc gives it back
/// depends on what happens to lie above it, so that the same program is fast in one run and slow in the
/// next. The process then keeps the most that it ever had. On other systems this does nothing.
///
/// It is for the `main` of a program, before it computes: how a program takes its memory is not for
/// libraries to choose, and so `linearconv` does not. A program of your own that trains on the flex backend
/// makes the same calls, or takes an allocator that keeps memory, such as `mimalloc` with
/// `MIMALLOC_PURGE_DELAY=-1` in its environment. Without either, `MALLOC_MMAP_MAX_=0
/// MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=67108864` in the environment do it for one run.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes plain numbers, and glibc locks what it changes.
    unsafe {
        // No block is a mapping of its own, which goes back to the system once it is freed.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // What is free at the end of the heap stays.
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        // And the heap grows by much at a time.
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
