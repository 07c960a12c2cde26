//! The smallest model that the caller's measure accepts.

use std::fmt;
use std::vec::Vec;

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::budget::Compression;
use super::plan::Plan;
use crate::error::Error;

/// The budgets that a search has tried, and their results: an argument of
/// [`Compression::smallest`]. As data (serde) it can be saved, and an interrupted search can
/// continue from it.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::Device;
/// use linearconv::{Compression, Search, Verdict};
///
/// let device = Device::default();
/// let model = Conv2dConfig::new([16, 32], [3, 3]).init(&device);
///
/// let mut search = Search::default();
/// let plan = Compression::to_parameters(1.0).smallest(
///     &model,
///     &mut search,
///     // In a real search: the accuracy of the compressed model, or its latency.
///     |_compressed, plan| Verdict::at_most(plan.error(), 0.5),
///     |search| println!("{search}"),
/// )?;
/// assert!(plan.error() <= 0.5);
/// # Ok::<(), linearconv::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    trials: Vec<Trial>,
}

/// One budget that a search has tried, and its result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trial {
    /// The share that was to be kept.
    pub share: f64,
    /// Number of weights and coefficients that were kept. `None`: the layers cannot be made so
    /// small.
    pub parameters: Option<usize>,
    /// What the caller measured. `None`: the layers cannot be made so small.
    pub measured: Option<f64>,
    /// Whether the caller accepted the compressed model.
    pub accepted: bool,
}

/// The caller's judgement of a compressed model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What was measured, in any unit.
    pub measured: f64,
    /// Whether the model is accepted.
    pub accepted: bool,
}

impl Verdict {
    /// Accepts a value of at least `limit`, such as an accuracy. NaN is not accepted.
    pub fn at_least(measured: f64, limit: f64) -> Self {
        Self {
            measured,
            accepted: measured >= limit,
        }
    }

    /// Accepts a value of at most `limit`, such as a latency. NaN is not accepted.
    pub fn at_most(measured: f64, limit: f64) -> Self {
        Self {
            measured,
            accepted: measured <= limit,
        }
    }
}

/// The ratio of one budget of the first pass to the budget before.
const STRIDE: f64 = core::f64::consts::FRAC_1_SQRT_2;
/// The first pass ends after this many refusals in a row below an accepted budget.
const REFUSALS: usize = 2;
/// The smallest share that is tried.
const SMALLEST: f64 = 0.01;
/// The second pass ends when the smallest accepted budget is at most this multiple of the next
/// smaller budget that was tried.
const NEAR: f64 = 1.05;

impl Search {
    /// All trials, in their order.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The accepted trial with the smallest share.
    pub fn best(&self) -> Option<&Trial> {
        let accepted = self.trials.iter().filter(|trial| trial.accepted);
        accepted.min_by(|a, b| a.share.total_cmp(&b.share))
    }

    fn tried(&self, share: f64) -> Option<&Trial> {
        // A share that was read from text may have lost its last digit.
        let same = |trial: &&Trial| (trial.share - share).abs() <= 1e-9 * share;
        self.trials.iter().find(same)
    }

    /// The budget to try next. The first pass goes down from the largest budget in even steps, so
    /// that it also finds budgets between refused ones. The second pass tries budgets between the
    /// smallest accepted budget and the next smaller one, until they are near to each other.
    fn next(&self, largest: f64) -> Option<f64> {
        if self.tried(largest).is_none() {
            return Some(largest);
        }
        let mut share = largest;
        let mut refusals = None;
        while share >= SMALLEST && refusals.is_none_or(|refusals| refusals < REFUSALS) {
            match self.tried(share) {
                None => return Some(share),
                Some(Trial { accepted: true, .. }) => refusals = Some(0),
                Some(_) => refusals = refusals.map(|refusals| refusals + 1),
            }
            share *= STRIDE;
        }
        let best = self.best()?.share;
        let smaller = self.trials.iter().map(|trial| trial.share);
        let below = smaller.filter(|share| *share < best).fold(0.0, f64::max);
        (below > 0.0 && best > NEAR * below).then(|| (best * below).sqrt())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.accepted { "accepted" } else { "refused" };
        write!(f, "share {:.4}: ", self.share)?;
        match (self.parameters, self.measured) {
            (Some(parameters), Some(measured)) => {
                write!(f, "{parameters} weights, measured {measured}, {verdict}")
            }
            _ => write!(f, "these layers cannot be made so small"),
        }
    }
}

/// Prints a row for each trial.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut trials = self.trials.iter();
        trials.try_for_each(|trial| writeln!(f, "{trial}"))
    }
}

impl Compression {
    /// Searches for the smallest plan that `judge` accepts. The budgets go down from this one,
    /// which is a share of [parameters](Self::to_parameters) or of
    /// [multiply-adds](Self::to_multiply_adds). `judge` gets the model as compressed by a plan, and
    /// the plan. `progress` is called after every trial.
    ///
    /// A smaller budget may be accepted where a larger budget is refused. The search therefore
    /// divides the budget by √2 at each step, until two budgets in a row are refused below an
    /// accepted budget, or the share falls below 0.01. Then it tries budgets between the smallest
    /// accepted budget and the next smaller budget, until they differ by at most 5 %. Budgets
    /// that `search` holds already are not tried again.
    ///
    /// # Errors
    /// - [`Error::NoneAccepted`]: `judge` accepts no plan.
    /// - [`Error::NoBudget`]: this compression has another goal than a share.
    /// - The errors of [`plan`](Self::plan), except [`Error::Budget`]: that budget counts as
    ///   refused.
    ///
    /// `search` keeps all trials, also after an error.
    pub fn smallest<M: Module>(
        &self,
        model: &M,
        search: &mut Search,
        mut judge: impl FnMut(&M, &Plan) -> Verdict,
        mut progress: impl FnMut(&Search),
    ) -> Result<Plan, Error> {
        let largest = self.budget().ok_or(Error::NoBudget)?;
        while let Some(share) = search.next(largest) {
            let trial = match self.with_budget(share).plan(model) {
                Ok(plan) => {
                    let Verdict { measured, accepted } = judge(&plan.apply(model.clone())?, &plan);
                    Trial {
                        share,
                        parameters: Some(plan.parameters()),
                        measured: Some(measured),
                        accepted,
                    }
                }
                Err(Error::Budget { .. }) => Trial {
                    share,
                    parameters: None,
                    measured: None,
                    accepted: false,
                },
                Err(error) => return Err(error),
            };
            search.trials.push(trial);
            progress(search);
        }
        match search.best() {
            Some(best) => self.with_budget(best.share).plan(model),
            None => Err(Error::NoneAccepted {
                trials: std::format!("{search}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches budgets up to 1 by a measure of the share alone.
    fn search(accepts: impl Fn(f64) -> bool) -> Search {
        let mut search = Search::default();
        while let Some(share) = search.next(1.0) {
            search.trials.push(Trial {
                share,
                parameters: Some(1),
                measured: Some(share),
                accepted: accepts(share),
            });
            assert!(search.trials.len() < 30, "{search}");
        }
        search
    }

    #[test]
    fn the_smallest_accepted_budget_is_found_within_its_nearness() {
        for limit in [0.02, 0.1, 0.3, 0.5, 0.77, 0.99] {
            let search = search(|share| share >= limit);
            let best = search.best().expect("1 is accepted").share;
            assert!(best >= limit && best <= NEAR * limit, "{limit}: {search}");
        }
    }

    #[test]
    fn a_measure_that_also_refuses_large_models_is_searched_through() {
        let search = search(|share| (0.2..0.3).contains(&share));
        let best = search.best().expect("0.25 is accepted").share;
        assert!((0.2..=0.2 * NEAR).contains(&best), "{search}");
    }

    #[test]
    fn a_refusal_between_two_accepted_budgets_does_not_end_the_search() {
        let search = search(|share| share >= 0.2 && !(0.45..0.6).contains(&share));
        let best = search.best().expect("1 is accepted").share;
        assert!((0.2..=0.2 * NEAR).contains(&best), "{search}");
    }

    #[test]
    fn a_measure_that_never_accepts_ends() {
        assert_eq!(search(|_| false).best(), None);
        assert!(search(|_| true).best().expect("all").share < SMALLEST / STRIDE);
    }

    /// A budget that no plan has is refused by the plan, so it must be tried.
    #[test]
    fn the_first_budget_is_tried_however_small() {
        for largest in [0.005, 0.0, -1.0, f64::NAN] {
            let first = Search::default().next(largest);
            assert!(first.is_some_and(|first| first.to_bits() == largest.to_bits()));
        }
        let mut search = Search::default();
        search.trials.push(Trial {
            share: 0.005,
            parameters: Some(1),
            measured: Some(1.0),
            accepted: true,
        });
        assert_eq!(search.next(0.005), None);
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let accepts = |share: f64| share >= 0.3;
        let whole = search(accepts);
        for kept in 0..whole.trials.len() {
            let mut part = Search {
                trials: whole.trials[..kept].to_vec(),
            };
            let next = part.next(1.0).expect("more to try");
            assert_eq!(next, whole.trials[kept].share);
            part.trials.clear();
        }
        assert_eq!(whole.next(1.0), None);
    }
}
