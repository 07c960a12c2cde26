//! Max pooling of one map by windows that lie side by side.

use std::mem::MaybeUninit;

use super::super::real::Real;

/// Windows of one size, side by side. What is left at the right and at the bottom is in none.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Height and width of a window, and of the pooled map.
    window: [usize; 2],
    pooled: [usize; 2],
    /// From one row of the map to the next.
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

    /// From the first value of a window to each of its values, row by row.
    fn taps(&self) -> impl Iterator<Item = usize> {
        let [height, width] = self.window;
        (0..height).flat_map(move |y| (0..width).map(move |x| y * self.width + x))
    }

    /// The largest value of each window and its tap: of equal ones the first, but NaN before all others,
    /// and of those the last, as Burn's flex backend has it.
    pub(super) fn pool<T: Real>(&self, map: &[T], pooled: &mut [MaybeUninit<T>], taps: &mut [u8]) {
        let [height, width] = self.pooled;
        let outputs = pooled.chunks_exact_mut(width.max(1));
        let rows = outputs.zip(taps.chunks_exact_mut(width.max(1)));
        for (y, (outputs, taps)) in rows.take(height).enumerate() {
            let rows = &map[y * self.window[0] * self.width..];
            let windows = (0..width).map(|x| &rows[x * self.window[1]..]);
            for ((output, tap), window) in outputs.iter_mut().zip(taps).zip(windows) {
                let mut largest = window[0];
                let mut at = 0;
                for (tap, place) in self.taps().enumerate().skip(1) {
                    let value = window[place];
                    #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
                    if value > largest || value != value {
                        (largest, at) = (value, tap as u8);
                    }
                }
                output.write(largest);
                *tap = at;
            }
        }
    }

    /// The gradient of the map from that of the pooled map: it goes to the tap of each window.
    pub(super) fn spread<T: Real>(&self, pooled: &[T], taps: &[u8], map: &mut [T]) {
        map.fill(T::zero());
        let places: Vec<usize> = self.taps().collect();
        let width = self.pooled[1].max(1);
        let rows = pooled.chunks_exact(width).zip(taps.chunks_exact(width));
        for (y, (gradients, taps)) in rows.enumerate() {
            let row = &mut map[y * self.window[0] * self.width..];
            for (x, (gradient, tap)) in gradients.iter().zip(taps).enumerate() {
                row[x * self.window[1] + places[usize::from(*tap)]] = *gradient;
            }
        }
    }
}
