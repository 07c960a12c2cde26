//! Memory that one training step frees is kept for the next step.

/// Makes glibc keep freed memory, instead of returning it to the system.
///
/// A training step needs the same memory as the step before. If glibc returns the memory in between, the
/// system must map every page again and set it to zero. That takes a sixth of a step of ResNet-18 on two
/// cores. Whether glibc returns a block depends on what lies above the block in the heap, so the same program
/// can be fast in one run and slow in the next. After this call the process keeps the most memory that it
/// ever had. On systems without glibc the call does nothing.
///
/// Call it in the `main` of a program, before the program computes. A library should not choose how a program
/// manages its memory, so `linearconv` itself does not make these calls. A program of your own that trains on
/// the flex backend can make the same calls, or use an allocator that keeps memory, such as `mimalloc` with
/// `MIMALLOC_PURGE_DELAY=-1` in the environment. Without a change of the program, the variables
/// `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=67108864` have the same effect.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes plain numbers, and glibc locks what it changes.
    unsafe {
        // Large blocks are not mapped separately. A separate mapping is returned to the system when it is
        // freed.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // Free memory at the end of the heap is not returned.
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        // The heap grows in large pieces.
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
