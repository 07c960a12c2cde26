//! The search for how much of each layer to keep under one budget for all layers.

use std::vec::Vec;

use super::choice::{Choice, worth_replacing};
use super::fit::Energies;
use super::plan::PlannedLayer;
use crate::coefficients::CoefficientsConfig;
use crate::cost::Evaluation;
use crate::error::Error;

/// The loss of a layer that loses this fraction of its energy: minus the logarithm of the fraction
/// that it keeps. Layers follow each other, so the fractions multiply and their logarithms add.
pub(crate) fn loss(lost: f64) -> f64 {
    -(1.0 - lost).max(0.0).ln()
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Parameters,
    MultiplyAdds,
}

/// One way to compress a layer, or a sum over several layers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidate {
    pub(crate) choice: Option<Choice>,
    /// In the unit of the budget.
    pub(crate) size: u64,
    pub(crate) loss: f64,
}

/// The candidates for one layer, from the dense one to the smallest. Each candidate loses less than
/// all smaller ones.
#[derive(Clone, Debug)]
pub(crate) struct Curve(pub(crate) Vec<Candidate>);

/// Candidates are binned by size. This is the ratio of the largest size of a bin to that of the bin
/// before.
const STEP: f64 = 0.97;

impl Curve {
    /// The curve of a layer that stays dense.
    pub(crate) fn dense(layer: &PlannedLayer, unit: Unit) -> Self {
        Self(std::vec![Candidate {
            choice: None,
            size: match unit {
                Unit::Parameters => layer.dense_parameters() as u64,
                Unit::MultiplyAdds => layer.dense_multiply_adds(),
            },
            loss: 0.0,
        }])
    }

    /// For each bin of sizes, the pair of a number of filters and a number of channels that loses
    /// least.
    pub(crate) fn new(
        layer: &PlannedLayer,
        energies: &Energies,
        unit: Unit,
        all_channels: bool,
    ) -> Self {
        let mut curve = Self::dense(layer, unit);
        let dense = curve.0[0];
        let [filters, channels, height, width] = layer.shape();
        // For a pointwise kernel, combined channels save no weights beside combined filters, and
        // take more work.
        let one_side = all_channels || height * width == 1;
        let fewest = if one_side { channels } else { 1 };
        let mut best: Vec<Option<Candidate>> = Vec::new();
        for primary in 1..filters {
            for primary_channels in fewest..=channels {
                let choice = Choice::new(primary, CoefficientsConfig::Full);
                let choice = match primary_channels {
                    all if all == channels => choice,
                    some => choice.with_primary_channels(some),
                };
                let Ok(cost) = layer.cost_of(&choice) else {
                    continue;
                };
                let size = match unit {
                    Unit::Parameters => cost.parameters() as u64,
                    Unit::MultiplyAdds => cost.multiply_adds(Evaluation::Factored, layer.pixels()),
                };
                if size >= dense.size || !worth_replacing(layer.shape(), &cost) {
                    continue;
                }
                let step = (size as f64 / dense.size as f64).ln() / STEP.ln();
                let step = step as usize;
                if best.len() <= step {
                    best.resize(step + 1, None);
                }
                let candidate = Candidate {
                    choice: Some(choice),
                    size,
                    // The lost fraction for now; the logarithm is taken below.
                    loss: energies.lost(primary, primary_channels),
                };
                let better =
                    |known: Candidate| (candidate.loss, candidate.size) < (known.loss, known.size);
                if best[step].is_none_or(better) {
                    best[step] = Some(candidate);
                }
            }
        }
        // A candidate that loses no less than a smaller one is of no use.
        let mut useful: Vec<Candidate> = Vec::new();
        let mut least = f64::INFINITY;
        for candidate in best.into_iter().flatten().rev() {
            if candidate.loss < least {
                least = candidate.loss;
                useful.push(Candidate {
                    loss: loss(candidate.loss),
                    ..candidate
                });
            }
        }
        let useful = useful.into_iter().rev();
        curve.0.extend(useful);
        curve
    }

    /// The same candidates with other losses, without the candidates for which `loss` is `None`.
    pub(crate) fn with_losses(mut self, loss: impl Fn(&Choice) -> Option<f64>) -> Self {
        self.0.retain_mut(|candidate| {
            let Some(choice) = &candidate.choice else {
                return true;
            };
            let loss = loss(choice);
            candidate.loss = loss.unwrap_or_default();
            loss.is_some()
        });
        self
    }

    /// The largest candidate of at most this share of the dense size, or the smallest candidate.
    pub(crate) fn at_share(&self, share: f64) -> Candidate {
        let most = share * self.0[0].size as f64;
        let mut candidates = self.0.iter();
        let found = candidates.find(|candidate| candidate.size as f64 <= most);
        *found.unwrap_or_else(|| self.0.last().expect("a layer can stay dense"))
    }
}

/// What the choices must meet, and what the search then makes small.
pub(crate) struct Goal<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) allows: &'a dyn Fn(&Candidate) -> bool,
    pub(crate) cost: &'a dyn Fn(&Candidate) -> f64,
    /// Whether a higher price of weights leads to choices that are allowed.
    pub(crate) rising: bool,
}

/// Chooses a candidate for each layer by one price of a weight in all layers, found by bisection.
/// Then improves single layers as far as the goal allows.
///
/// # Errors
/// [`Error::Budget`]: no choices meet the goal.
pub(crate) fn by_price(curves: &[Curve], goal: &Goal) -> Result<Vec<Candidate>, Error> {
    let dense = saturating_sum(curves.iter().map(|curve| curve.0[0].size));
    // `price` is the price of all dense weights together, in the unit of the loss.
    let at = |price: f64| -> Vec<Candidate> {
        let value = |candidate: &Candidate| {
            candidate.loss + price * candidate.size as f64 / dense.max(1) as f64
        };
        let best = |curve: &Curve| {
            let best = curve.0.iter().min_by(|a, b| value(a).total_cmp(&value(b)));
            *best.expect("a layer can stay dense")
        };
        curves.iter().map(best).collect()
    };
    // The exponents of two prices. At one, weights cost nothing; at the other, losses do not count.
    let ends = if goal.rising {
        (-60.0, 60.0)
    } else {
        (60.0, -60.0)
    };
    let chosen = bisect(curves, goal, ends, |exponent| at(f64::exp2(exponent)))?;
    Ok(spend(curves, chosen, goal))
}

/// Chooses for every layer the same share of its dense size, found by bisection.
///
/// # Errors
/// [`Error::Budget`]: no choices meet the goal.
pub(crate) fn by_share(curves: &[Curve], goal: &Goal) -> Result<Vec<Candidate>, Error> {
    let at = |share: f64| curves.iter().map(|curve| curve.at_share(share)).collect();
    bisect(curves, goal, (1.0, 0.0), at)
}

/// Bisects between a value whose choices the goal refuses and a value whose choices it allows.
/// Returns the allowed choices nearest to the refused ones.
fn bisect(
    curves: &[Curve],
    goal: &Goal,
    (mut refused, mut allowed): (f64, f64),
    at: impl Fn(f64) -> Vec<Candidate>,
) -> Result<Vec<Candidate>, Error> {
    let everything = at(refused);
    if (goal.allows)(&total(&everything)) {
        return Ok(everything);
    }
    let mut chosen = at(allowed);
    if !(goal.allows)(&total(&chosen)) {
        return Err(Error::Budget {
            name: goal.name,
            value: goal.value,
            smallest: total(&chosen).size,
            dense: saturating_sum(curves.iter().map(|curve| curve.0[0].size)),
        });
    }
    for _ in 0..60 {
        let middle = (allowed + refused) / 2.0;
        let candidate = at(middle);
        if (goal.allows)(&total(&candidate)) {
            (allowed, chosen) = (middle, candidate);
        } else {
            refused = middle;
        }
    }
    Ok(chosen)
}

/// The sum. A sum that is too large for the type becomes the largest number.
pub(super) fn saturating_sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn total(chosen: &[Candidate]) -> Candidate {
    Candidate {
        choice: None,
        size: saturating_sum(chosen.iter().map(|candidate| candidate.size)),
        loss: chosen.iter().map(|candidate| candidate.loss).sum(),
    }
}

/// Changes one layer at a time, the change that gains most first, as long as the goal allows a
/// change.
fn spend(curves: &[Curve], mut chosen: Vec<Candidate>, goal: &Goal) -> Vec<Candidate> {
    loop {
        let now = total(&chosen);
        let mut best = None;
        let mut least = (goal.cost)(&now);
        for (layer, (curve, current)) in curves.iter().zip(&chosen).enumerate() {
            for candidate in &curve.0 {
                let changed = Candidate {
                    choice: None,
                    size: now.size - current.size + candidate.size,
                    loss: now.loss - current.loss + candidate.loss,
                };
                let cost = (goal.cost)(&changed);
                // Rounding must not look like a gain, or the loop would not end.
                if (goal.allows)(&changed) && cost < least * (1.0 - 1e-9) {
                    (least, best) = (cost, Some((layer, *candidate)));
                }
            }
        }
        match best {
            Some((layer, candidate)) => chosen[layer] = candidate,
            None => return chosen,
        }
    }
}
