//! The maps of a batch, and how they are divided among threads.

use std::ops::Range;

use super::super::threads::Threads;

/// Values below which waking other threads costs more than they save.
const WORTH_WAKING: usize = 1 << 15;

/// Parts for each thread, so that a thread that is held up leaves parts to others.
const PARTS: usize = 4;

/// The sizes of the maps of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    pub(super) batch_size: usize,
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
}

impl Planes {
    /// Number of maps of all images.
    pub(super) fn count(self) -> usize {
        self.batch_size * self.channels
    }

    /// Values of one map.
    pub(super) fn plane(self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The maps of each part, which are consecutive, and the threads that compute the parts.
    pub(super) fn parts(self) -> (Vec<Range<usize>>, Threads) {
        let threads = rayon::current_num_threads();
        let count = self.count();
        let (parts, threads) = match threads == 1 || count * self.plane() < WORTH_WAKING {
            true => (1, Threads::None),
            false => (threads * PARTS, Threads::WithinImage),
        };
        let each = count.div_ceil(parts).max(1);
        let starts = (0..count).step_by(each);
        let parts = starts.map(|start| start..(start + each).min(count));
        (parts.collect(), threads)
    }
}

/// Splits values, `plane` for each map, into the parts.
pub(super) fn split<'a, T>(
    parts: &[Range<usize>],
    mut values: &'a mut [T],
    plane: usize,
) -> Vec<&'a mut [T]> {
    let values_of_parts = parts.iter().map(|part| {
        let values_of_part;
        (values_of_part, values) = std::mem::take(&mut values).split_at_mut(part.len() * plane);
        values_of_part
    });
    values_of_parts.collect()
}
