//! Mean and variance of a channel, in one pass over memory.

use super::super::real::Real;
use super::lanes::{RUN, sum, sums};

/// Count, mean, and sum of squared deviations of some values.
///
/// The mean of a run is subtracted from its values before they are squared, so that no digits are
/// lost where the mean is large beside the deviation. Runs are joined by the formula of Chan, Golub
/// and LeVeque (1979).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// The moments of some values.
    pub(super) fn of<T: Real>(values: &[T]) -> Self {
        // A run is in the cache when it is read the second time.
        let runs = values.chunks(RUN).map(|run| {
            let count = run.len() as f64;
            // Near to the mean: it differs by the rounding of a sum of large values.
            let center = T::from_f64(sum(run, |value| value) / count);
            let [distances, squares] = sums([run], |[value]| {
                let distance = value - center;
                [distance, distance * distance]
            });
            Self {
                count,
                mean: center.into() + distances / count,
                squares: squares - distances * distances / count,
            }
        });
        runs.fold(Self::default(), Self::join)
    }

    /// The moments of the values of both.
    pub(super) fn join(self, other: Self) -> Self {
        // No values have no mean.
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares
                + other.squares
                + apart * apart * self.count * other.count / count,
        }
    }

    pub(super) fn mean(self) -> f64 {
        self.mean
    }

    /// The biased variance, which divides by the count.
    pub(super) fn variance(self) -> f64 {
        let variance = self.squares / self.count;
        // NaN stays NaN.
        if variance < 0.0 { 0.0 } else { variance }
    }
}
