//! How the work on a batch is divided among threads.

use rayon::prelude::*;

/// Multiply-adds below which waking other threads costs more than they save.
const WORTH_WAKING: usize = 4_000_000;

/// What the threads divide among them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Threads {
    /// Nothing: the calling thread computes the batch alone.
    None,
    /// The batch: each thread computes this many images alone, at least 1.
    OverBatch { images: usize },
    /// Each image: there are fewer of them than threads, and all threads work on one tile.
    WithinImage,
}

impl Threads {
    /// The division of a batch of which each image takes the given multiply-adds.
    pub(super) fn new(batch_size: usize, multiply_adds: usize) -> Self {
        let threads = rayon::current_num_threads();
        if threads == 1 || batch_size * multiply_adds < WORTH_WAKING {
            Self::None
        } else if batch_size < threads {
            Self::WithinImage
        } else {
            Self::OverBatch {
                images: batch_size.div_ceil(threads),
            }
        }
    }

    /// The images of a share of the batch, at least 1.
    pub(super) fn images(self, batch_size: usize) -> usize {
        match self {
            Self::OverBatch { images } => images,
            Self::None | Self::WithinImage => batch_size.max(1),
        }
    }

    /// Whether all threads work on one tile.
    pub(super) fn within_image(self) -> bool {
        matches!(self, Self::WithinImage)
    }

    /// Does the work on each share, and returns the results in the order of the shares.
    pub(super) fn map<S: Send, R: Send>(
        self,
        shares: Vec<S>,
        work: impl Fn(S) -> R + Sync + Send,
    ) -> Vec<R> {
        match self {
            Self::None => shares.into_iter().map(work).collect(),
            // A single share, too, is handed to a thread of the pool: from outside, each product
            // would have to enter the pool by itself.
            Self::OverBatch { .. } | Self::WithinImage => {
                shares.into_par_iter().map(work).collect()
            }
        }
    }
}
