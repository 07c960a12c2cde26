//! An allocator that counts: what the program has asked for, and not what the system gave it.

#![allow(dead_code, reason = "not every bench asks in every way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counting takes time, so nothing is counted while times are measured.
static COUNTS: AtomicBool = AtomicBool::new(false);
/// Below zero where more was freed than allocated since the start.
static NOW: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

struct Counting;

fn add(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        let now = NOW.fetch_add(bytes as isize, Ordering::Relaxed) + bytes as isize;
        MOST.fetch_max(now, Ordering::Relaxed);
    }
}

fn subtract(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        NOW.fetch_sub(bytes as isize, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The system may have to copy, and then has both.
        add(size);
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Counts from now on, from zero.
pub fn start() {
    NOW.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
}

/// The most bytes that were allocated at a time while `work` ran, those since [`start`] included, and its
/// result.
pub fn most<T>(work: impl FnOnce() -> T) -> (usize, T) {
    MOST.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    let result = work();
    let most = MOST.load(Ordering::Relaxed);
    (usize::try_from(most).unwrap_or(0), result)
}

/// The most bytes that `work` has allocated at a time, on threads that have no scratch memory yet.
pub fn most_of_a_call<T>(work: impl FnOnce() -> T + Send) -> usize {
    let threads = rayon::ThreadPoolBuilder::new().build().expect("threads");
    threads.install(|| {
        start();
        let (most, _) = most(work);
        COUNTS.store(false, Ordering::Relaxed);
        most
    })
}
