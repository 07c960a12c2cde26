//! The smallest model that a measure of the caller's accepts.

use std::fmt;
use std::vec::Vec;

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::budget::Compression;
use super::plan::Plan;
use crate::error::Error;

/// The budgets that a search has tried, and what came out: the argument of
/// [`Compression::smallest`]. As data (serde) it can be kept, and continued after an interruption.
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
///     // In place of the accuracy of the compressed model, or of its latency.
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

/// One budget, and what came out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trial {
    /// The share that was to be kept.
    pub share: f64,
    /// The weights and coefficients that were kept; none where the layers cannot be made so small.
    pub parameters: Option<usize>,
    /// What the caller measured; none where the layers cannot be made so small.
    pub measured: Option<f64>,
    /// Whether that is good enough.
    pub accepted: bool,
}

/// What a caller says of a compressed model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What was measured, in any unit.
    pub measured: f64,
    /// Whether it is good enough.
    pub accepted: bool,
}

impl Verdict {
    /// Good enough from a limit on, as an accuracy. What is no number is not.
    pub fn at_least(measured: f64, limit: f64) -> Self {
        Self {
            measured,
            accepted: measured >= limit,
        }
    }

    /// Good enough up to a limit, as a latency. What is no number is not.
    pub fn at_most(measured: f64, limit: f64) -> Self {
        Self {
            measured,
            accepted: measured <= limit,
        }
    }
}

/// From one budget of the first pass to the next.
const STRIDE: f64 = core::f64::consts::FRAC_1_SQRT_2;
/// Refusals in a row, below a budget that was accepted, that end the first pass.
const REFUSALS: usize = 2;
/// The smallest share that is tried.
const SMALLEST: f64 = 0.01;
/// How near to the largest refused budget the second pass brings the accepted one.
const NEAR: f64 = 1.05;

impl Search {
    /// What was tried, in the order of the trials.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The smallest that was accepted.
    pub fn best(&self) -> Option<&Trial> {
        let accepted = self.trials.iter().filter(|trial| trial.accepted);
        accepted.min_by(|a, b| a.share.total_cmp(&b.share))
    }

    fn tried(&self, share: f64) -> Option<&Trial> {
        // A share that was read from text may have lost its last digit.
        let same = |trial: &&Trial| (trial.share / share - 1.0).abs() < 1e-9;
        self.trials.iter().find(same)
    }

    /// The budget to try next: down from the largest in even steps, then between the smallest that
    /// was accepted and the next smaller one, as long as they are far from each other. A measure
    /// that rises and falls is so seen at every step, and not only at one end.
    fn next(&self, largest: f64) -> Option<f64> {
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

/// A row for each trial.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut trials = self.trials.iter();
        trials.try_for_each(|trial| writeln!(f, "{trial}"))
    }
}

impl Compression {
    /// The smallest plan that `judge` accepts, of budgets up to this one, a share of
    /// [parameters](Self::to_parameters) or of [multiply-adds](Self::to_multiply_adds). `judge` is shown the model compressed by a plan, and the plan;
    /// `progress` is told of every trial.
    ///
    /// The measure need not fall with the budget: all budgets of an even row are tried, until two
    /// below an accepted one are refused, and then those between the smallest accepted one and the
    /// next. What `search` holds already is not tried again.
    ///
    /// # Errors
    /// - [`Error::NoneAccepted`]: `judge` accepts none.
    /// - [`Error::NoBudget`]: a compression to another goal than a share.
    /// - Those of [`plan`](Self::plan).
    ///
    /// `search` keeps what was tried.
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
