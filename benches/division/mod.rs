//! A model of the time that a layer takes by many threads: from the division of the work by the crate's own
//! code, and as if every multiply-add took as long as any other and nothing else took time.

use std::sync::Mutex;

use linearconv::LayerCost;
use rayon::ThreadPool;

use crate::layers::Shape;

#[path = "../../src/flex/packed/pixels.rs"]
mod pixels;
#[allow(dead_code, reason = "the model computes nothing")]
#[path = "../../src/flex/threads.rs"]
mod threads;

use pixels::{Pixels, WORTH_WAKING};
use threads::{Threads, divide};

/// Rows of a matrix that one thread computes at the least: two vectors of AVX-512.
const PANEL: usize = 32;
/// As in `src/flex/packed/winograd.rs`.
const WORTH_TRANSFORMING: usize = 256;
const MOST_VALUES: usize = 1 << 18;

/// How many times as fast the forward pass of training is as on one thread.
pub fn training(shape: &Shape, cost: &LayerCost, batch: usize, pool: &ThreadPool) -> f64 {
    let threads = pool.current_num_threads();
    let weights: usize = matrices(cost).iter().map(Matrix::weights).sum();
    let multiply_adds = shape.output_plane() * weights;
    let sections = pool.install(|| divide(batch, multiply_adds, usize::MAX));
    let times = sections.iter().map(|section| match section.threads {
        Threads::None => section.images as f64,
        Threads::OverBatch { images } => images as f64,
        Threads::WithinImage => section.images as f64 / threads as f64,
    });
    batch as f64 / times.sum::<f64>()
}

/// The same of a layer that is made for inference.
pub fn inference(shape: &Shape, cost: &LayerCost, batch: usize, pool: &ThreadPool) -> f64 {
    let threads = pool.current_num_threads();
    let matrices = matrices(cost);
    let weights: usize = matrices.iter().map(Matrix::weights).sum();
    let pixels = batch * shape.output_plane();
    if pixels * weights < WORTH_WAKING {
        return 1.0;
    }
    let division = Pixels {
        outputs: 1,
        multiply_adds: weights,
        divides_filters: true,
        unit: unit(shape, cost, pixels, threads),
    };
    let parts = Mutex::new(Vec::new());
    let mut outputs = vec![0.0; pixels];
    pool.install(|| {
        division.for_each(&mut outputs, |_, outputs, threads| {
            parts
                .lock()
                .expect("no panic")
                .push((outputs.len(), threads));
        });
    });
    let parts = parts.into_inner().expect("no panic");
    let longest = parts.iter().map(|(pixels, _)| *pixels).max().unwrap_or(1);
    let (_, within) = parts[0];
    // Threads take turns with the parts, or all of them divide the filters of the only part.
    let rounds = parts.len().div_ceil(threads);
    let by_one: usize = matrices
        .iter()
        .map(|matrix| matrix.of_a_thread(within))
        .sum();
    (pixels * weights) as f64 / (rounds * longest * by_one) as f64
}

/// Output pixels that a thread computes together.
fn unit(shape: &Shape, cost: &LayerCost, pixels: usize, threads: usize) -> usize {
    let width = shape.side.div_ceil(shape.stride);
    let unit = if width.is_multiple_of(2) {
        2 * width
    } else {
        width * width
    };
    let transforms = shape.kernel == 3
        && shape.stride == 1
        && cost.primary_channels >= PANEL / 2
        && pixels >= WORTH_TRANSFORMING
        && unit * cost.primary_channels <= MOST_VALUES
        && pixels / unit >= threads;
    if transforms { unit } else { 1 }
}

/// A matrix by which the pixels are multiplied.
struct Matrix {
    rows: usize,
    columns: usize,
}

impl Matrix {
    fn weights(&self) -> usize {
        self.rows * self.columns
    }

    /// Weights that one of some threads multiplies.
    fn of_a_thread(&self, threads: usize) -> usize {
        let panels = self.rows.div_ceil(PANEL).div_ceil(threads);
        self.rows.min(panels * PANEL) * self.columns
    }
}

/// The filters and the coefficients, of a layer whose channels are not combined.
fn matrices(cost: &LayerCost) -> Vec<Matrix> {
    let matrix = |rows, columns| Matrix { rows, columns };
    let mut matrices = vec![matrix(cost.primary, cost.filter_size)];
    match (cost.secondary, cost.rank) {
        (0, _) => {}
        (secondary, None) => matrices.push(matrix(secondary, cost.primary)),
        (secondary, Some(rank)) => {
            matrices.push(matrix(rank, cost.primary));
            matrices.push(matrix(secondary, rank));
        }
    }
    matrices
}
