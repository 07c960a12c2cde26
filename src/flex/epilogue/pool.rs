//! Max pooling of one map by windows that lie side by side.

use std::mem::MaybeUninit;

use super::super::real::Real;

/// Windows of one size, side by side. Pixels that are left over at the right and at the bottom are
/// in no window.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Height and width of a window, and then of the pooled map.
    window: [usize; 2],
    pooled: [usize; 2],
    /// The width of the map.
    width: usize,
}

impl Windows {
    pub(super) fn new(window: [usize; 2], [height, width]: [usize; 2]) -> Self {
        Self {
            window,
            pooled: [height / window[0], width / window[1]],
            width,
        }
    }

    /// Height and width of the pooled map.
    pub(super) fn pooled(&self) -> [usize; 2] {
        self.pooled
    }

    /// The largest value of each window, and its tap. Of equal values the first counts; NaN counts
    /// as the largest, and of several NaN the last. Burn's flex backend does the same.
    pub(super) fn pool<T: Real>(&self, map: &[T], pooled: &mut [MaybeUninit<T>], taps: &mut [u8]) {
        let outputs = pooled.chunks_exact_mut(self.pooled[1]);
        let outputs = outputs.zip(taps.chunks_exact_mut(self.pooled[1]));
        let rows = map.chunks_exact(self.window[0] * self.width);
        for (rows, (outputs, taps)) in rows.zip(outputs) {
            match self.window {
                [2, 2] => pool_pairs(rows.split_at(self.width), outputs, taps),
                _ => self.pool_row(rows, outputs, taps),
            }
        }
    }

    /// The gradient of the map, from the gradient of the pooled map: it goes to the largest tap of
    /// each window.
    pub(super) fn spread<T: Real>(&self, pooled: &[T], taps: &[u8], map: &mut [T]) {
        let gradients = pooled.chunks_exact(self.pooled[1]);
        let gradients = gradients.zip(taps.chunks_exact(self.pooled[1]));
        let mut rows = map.chunks_exact_mut(self.window[0] * self.width);
        for (rows, (gradients, taps)) in rows.by_ref().zip(gradients) {
            match self.window {
                [2, 2] => spread_pairs(gradients, taps, rows.split_at_mut(self.width)),
                _ => self.spread_row(gradients, taps, rows),
            }
        }
        rows.into_remainder().fill(T::zero());
    }

    /// Pools one row of windows of any size.
    fn pool_row<T: Real>(&self, rows: &[T], outputs: &mut [MaybeUninit<T>], taps: &mut [u8]) {
        for (x, (output, tap)) in outputs.iter_mut().zip(taps).enumerate() {
            let values = self.places(x).map(|place| rows[place]);
            let (largest, at) = largest(values);
            output.write(largest);
            *tap = at;
        }
    }

    fn spread_row<T: Real>(&self, gradients: &[T], taps: &[u8], rows: &mut [T]) {
        rows.fill(T::zero());
        for (x, (gradient, tap)) in gradients.iter().zip(taps).enumerate() {
            if let Some(place) = self.places(x).nth(usize::from(*tap)) {
                rows[place] = *gradient;
            }
        }
    }

    /// The places of a window's values in its rows, tap by tap.
    fn places(&self, x: usize) -> impl Iterator<Item = usize> {
        let [height, width] = self.window;
        let start = x * width;
        (0..height).flat_map(move |y| (0..width).map(move |x| y * self.width + start + x))
    }
}

/// The largest of some values, and its index.
fn largest<T: Real>(values: impl IntoIterator<Item = T>) -> (T, u8) {
    let mut values = values.into_iter();
    let mut largest = values.next().expect("a window has a value");
    let mut at = 0_i32;
    for (value, tap) in values.zip(1..) {
        #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
        let later = (value > largest) | (value != value);
        (largest, at) = match later {
            true => (value, tap),
            false => (largest, at),
        };
    }
    (largest, at as u8)
}

/// [`Windows::pool_row`] for windows of 2×2, the most frequent size: the compiler vectorizes this
/// loop.
fn pool_pairs<T: Real>(
    (above, below): (&[T], &[T]),
    outputs: &mut [MaybeUninit<T>],
    taps: &mut [u8],
) {
    let windows = above
        .as_chunks::<2>()
        .0
        .iter()
        .zip(below.as_chunks::<2>().0);
    for ((output, tap), (above, below)) in outputs.iter_mut().zip(taps).zip(windows) {
        let (largest, at) = largest([above[0], above[1], below[0], below[1]]);
        output.write(largest);
        *tap = at;
    }
}

/// [`Windows::spread_row`] for windows of 2×2.
fn spread_pairs<T: Real>(gradients: &[T], taps: &[u8], (above, below): (&mut [T], &mut [T])) {
    // One row at a time: for four cases at once the compiler makes a jump, which is rarely
    // predicted.
    for (row, first) in [(above, 0), (below, 2)] {
        let (pairs, end) = row.as_chunks_mut::<2>();
        let gradients = gradients.iter().copied().zip(taps.iter().copied());
        for (pair, (gradient, tap)) in pairs.iter_mut().zip(gradients) {
            let at = |here: u8| match tap == here {
                true => gradient,
                false => T::zero(),
            };
            *pair = [at(first), at(first + 1)];
        }
        end.fill(T::zero());
    }
}
