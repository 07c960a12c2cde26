//! Alternating measurements, which all benches share.
//!
//! No benchmark library pairs its runs, hence the few lines of timing here: within a row the
//! contestants take turns, so that a machine whose speed drifts slows all of them, and every
//! figure is a median.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use linearconv_zoo::backend::DeviceName;
use linearconv_zoo::keep_freed_memory;

/// A device, ready to compute, in a process that keeps its memory as the examples do; ends the program
/// where there is none.
pub fn open(name: &DeviceName) -> Device {
    keep_freed_memory();
    name.device().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2)
    })
}

/// One way to do what a row measures: does it once and returns the seconds it took.
pub type Contestant<'a> = Box<dyn FnMut() -> f64 + Send + 'a>;

/// The median seconds of each contestant, all of them taking turns.
pub fn medians(contestants: &mut [Contestant], turns: usize, row: Duration) -> Vec<f64> {
    // Twice: a GPU compiles its kernels, and the first optimizer step allocates its state.
    for _ in 0..2 {
        for contestant in contestants.iter_mut() {
            contestant();
        }
    }
    let mut times = vec![Vec::new(); contestants.len()];
    let started = Instant::now();
    while times[0].len() < turns || started.elapsed() < row {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            times.push(contestant());
        }
    }
    times.into_iter().map(median).collect()
}

/// The middle one of some times.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The seconds that `work` takes, the device's part included.
pub fn time<T>(device: &Device, work: impl FnOnce() -> T) -> f64 {
    let started = Instant::now();
    let result = work();
    device.sync().expect("the device finishes");
    let seconds = started.elapsed().as_secs_f64();
    drop(result);
    seconds
}
