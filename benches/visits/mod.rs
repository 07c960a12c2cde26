//! Turns of a few calls in a row, as `benches/pytorch/timing.py` has them.

use std::thread;
use std::time::{Duration, Instant};

/// Threads of the one before that wait for work would slow the next one: until they sleep, nothing runs.
const PAUSE: Duration = Duration::from_millis(20);
/// A visit is so long, or one call. Calls that begin at its start are not counted, if others are.
const VISIT: Duration = Duration::from_millis(60);
const SETTLING: Duration = Duration::from_millis(20);

/// The seconds of calls in a row, those of the first few left out.
pub fn visit(mut work: impl FnMut()) -> Vec<f64> {
    thread::sleep(PAUSE);
    let mut calls = Vec::new();
    let started = Instant::now();
    while calls.is_empty() || started.elapsed() < VISIT {
        let before = Instant::now();
        work();
        calls.push((
            before.duration_since(started),
            before.elapsed().as_secs_f64(),
        ));
    }
    let settled = calls.iter().filter(|(start, _)| *start >= SETTLING);
    let settled: Vec<f64> = settled.map(|(_, seconds)| *seconds).collect();
    match settled.is_empty() {
        true => vec![calls[calls.len() - 1].1],
        false => settled,
    }
}
