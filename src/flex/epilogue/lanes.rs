//! Sums over maps. A run of values is summed in as many lanes as vectors have. Runs are added in
//! f64, so that a sum over a batch is as exact as its values.

use super::super::real::Real;

/// The most values that are summed in their own type.
pub(super) const RUN: usize = 1024;

/// Number of sums side by side.
const LANES: usize = 16;

/// The sum of `term` over the values of a run.
pub(super) fn sum<T: Real>(run: &[T], term: impl Fn(T) -> T) -> f64 {
    let [sum] = sums([run], |[value]| [term(value)]);
    sum
}

/// The sums of `terms` over the values at the same place in several runs of the same length.
pub(super) fn sums<T: Real, const N: usize, const M: usize>(
    runs: [&[T]; N],
    terms: impl Fn([T; N]) -> [T; M],
) -> [f64; M] {
    let length = runs[0].len();
    let runs = runs.map(|run| &run[..length]);
    let mut lanes = [[T::zero(); LANES]; M];
    let whole = length - length % LANES;
    for start in (0..whole).step_by(LANES) {
        let chunks = runs.map(|run| &run[start..start + LANES]);
        for lane in 0..LANES {
            let terms = terms(chunks.map(|chunk| chunk[lane]));
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[lane] += term;
            }
        }
    }
    let mut sums = [0.0; M];
    if whole > 0 {
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum = lanes.into_iter().map(Into::<f64>::into).sum();
        }
    }
    for index in whole..length {
        let terms = terms(runs.map(|run| run[index]));
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term.into();
        }
    }
    sums
}
