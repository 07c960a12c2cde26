//! Ends the process at an allocation that is too large. libFuzzer's `-malloc_limit_mb` needs the address
//! sanitizer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Sets the most bytes that one allocation may have.
pub fn limit(bytes: usize) {
    LIMIT.store(bytes, Relaxed);
}

fn check(bytes: usize) {
    if bytes > LIMIT.load(Relaxed) {
        limit(usize::MAX);
        eprintln!("an allocation of {bytes} bytes");
        process::abort();
    }
}

struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// SAFETY: it is the system's allocator, behind checks that allocate nothing.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}
