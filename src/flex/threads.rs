//! How the work on a batch is divided among threads.

use rayon::prelude::*;

/// Multiply-adds below which waking other threads costs more than they save.
const WORTH_WAKING: usize = 4_000_000;

/// At most one in this many threads may be idle while a batch is divided by whole images.
const IDLE: usize = 10;

/// What the threads divide among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// Nothing: the calling thread computes all images alone.
    None,
    /// The images: each thread computes this many images alone, at least 1.
    OverBatch { images: usize },
    /// Each image: all threads work on one tile.
    WithinImage,
}

/// Consecutive images of a batch that are divided in one way. The next section begins when they are
/// computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) images: usize,
    pub(super) threads: Threads,
}

/// Divides a batch into sections. `multiply_adds` is the work of one image. A thread that computes
/// images alone needs memory of its own, which suffices for `most_parts` threads.
pub(super) fn divide(batch_size: usize, multiply_adds: usize, most_parts: usize) -> Vec<Section> {
    let threads = rayon::current_num_threads();
    let work = batch_size.saturating_mul(multiply_adds);
    let section = |images, threads| Section { images, threads };
    if threads == 1 || work < WORTH_WAKING {
        return vec![section(batch_size, Threads::None)];
    }
    if threads > most_parts {
        return vec![section(batch_size, Threads::WithinImage)];
    }
    among(batch_size, threads)
}

/// Divides by whole images if nearly all threads then get equally many. Otherwise all threads
/// together compute each of the images that are left over.
fn among(batch_size: usize, threads: usize) -> Vec<Section> {
    let over_batch = |images: usize, each: usize| Section {
        images,
        threads: Threads::OverBatch { images: each },
    };
    let most = batch_size.div_ceil(threads).max(1);
    if (threads * most - batch_size) * IDLE <= threads * most {
        return vec![over_batch(batch_size, most)];
    }
    let left = Section {
        images: batch_size % threads,
        threads: Threads::WithinImage,
    };
    match batch_size / threads {
        0 => vec![left],
        each => vec![over_batch(batch_size - left.images, each), left],
    }
}

impl Section {
    /// The number of images of each thread's part, in order.
    pub(super) fn parts(self) -> impl Iterator<Item = usize> {
        let each = match self.threads {
            Threads::OverBatch { images } => images,
            Threads::None | Threads::WithinImage => self.images.max(1),
        };
        let starts = (0..self.images).step_by(each);
        starts.map(move |start| each.min(self.images - start))
    }
}

impl Threads {
    /// Whether all threads work on one tile.
    pub(super) fn within_image(self) -> bool {
        matches!(self, Self::WithinImage)
    }

    /// Does the work on each part, and returns the results in the order of the parts.
    pub(super) fn map<S: Send, R: Send>(
        self,
        parts: Vec<S>,
        work: impl Fn(S) -> R + Sync + Send,
    ) -> Vec<R> {
        match self {
            Self::None => parts.into_iter().map(work).collect(),
            // A single part, too, runs on a thread of the pool: from outside, each matrix product
            // would enter the pool by itself.
            Self::OverBatch { .. } | Self::WithinImage => parts.into_par_iter().map(work).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of the time that a division takes; the unit is an image that one thread computes.
    fn time(sections: &[Section], threads: usize) -> f64 {
        let of = |section: &Section| match section.threads {
            Threads::None => section.images as f64,
            Threads::OverBatch { images } => {
                assert!(section.images.div_ceil(images) <= threads, "{section:?}");
                images as f64
            }
            Threads::WithinImage => section.images as f64 / threads as f64,
        };
        sections.iter().map(of).sum()
    }

    #[test]
    fn at_most_a_tenth_of_the_threads_is_idle() {
        for threads in 1..=128 {
            for batch_size in 1..=256 {
                let sections = among(batch_size, threads);
                let parts = sections.iter().flat_map(|section| section.parts());
                assert_eq!(parts.sum::<usize>(), batch_size);
                let busy = batch_size as f64 / (threads as f64 * time(&sections, threads));
                assert!(
                    busy >= 0.9 - 1e-9,
                    "{threads} threads, {batch_size} images: {busy}, {sections:?}"
                );
            }
        }
    }

    #[test]
    fn a_division_covers_the_batch_whatever_the_sizes() {
        for (batch_size, multiply_adds) in [(0, 0), (0, usize::MAX), (7, usize::MAX), (7, 1)] {
            let sections = divide(batch_size, multiply_adds, usize::MAX);
            let images: usize = sections.iter().map(|section| section.images).sum();
            assert_eq!(images, batch_size, "{sections:?}");
        }
    }

    #[test]
    fn memory_for_few_parts_leaves_the_images_to_all_threads() {
        if rayon::current_num_threads() > 1 {
            let sections = divide(64, 1 << 30, 1);
            assert_eq!(
                sections,
                [Section {
                    images: 64,
                    threads: Threads::WithinImage
                }]
            );
        }
    }
}
