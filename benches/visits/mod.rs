//! Turns of a few calls in a row, as `benches/pytorch/timing.py` has them.

use std::thread;
use std::time::{Duration, Instant};

/// Threads of the one before that wait for work would slow the next one: until they sleep, nothing runs.
const PAUSE: Duration = Duration::from_millis(20);
/// A visit is at least so long. Calls are counted that begin after the settling: the
/// first calls after a pause find cold caches, and threads that sleep.
const VISIT: Duration = Duration::from_millis(60);
const SETTLING: Duration = Duration::from_millis(20);

/// The seconds of calls in a row, those of the first few left out. One call at least is counted.
pub fn visit(mut work: impl FnMut()) -> Vec<f64> {
    thread::sleep(PAUSE);
    let mut settled = Vec::new();
    let started = Instant::now();
    loop {
        let start = started.elapsed();
        if start >= VISIT && !settled.is_empty() {
            return settled;
        }
        work();
        if start >= SETTLING {
            settled.push((started.elapsed() - start).as_secs_f64());
        }
    }
}
