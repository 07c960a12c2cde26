//! The search for how much of each layer to keep under one budget for all.

use std::vec::Vec;

use super::choice::Choice;
use crate::error::Error;

/// One way to compress a layer, or several layers together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) choice: Option<Choice>,
    pub(crate) parameters: usize,
    /// See [`loss`].
    pub(crate) loss: f64,
}

/// What an error costs: minus the logarithm of the share of the energy that is kept. Layers follow
/// each other, so shares multiply and their logarithms add. It is the square of a small error, and
/// without bound where nothing is kept.
pub(crate) fn loss(error: f64) -> f64 {
    -(1.0 - error * error).max(0.0).ln()
}

/// What choices must keep to, and what they then make small.
pub(crate) struct Goal<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) allows: &'a dyn Fn(&Candidate) -> bool,
    pub(crate) cost: &'a dyn Fn(&Candidate) -> f64,
    /// Whether a higher price of weights leads to what is allowed.
    pub(crate) rising: bool,
}

/// Chooses for each layer among its options by one price of a weight in all layers, found by
/// bisection, and then spends what the price leaves.
///
/// # Errors
/// [`Error::Budget`], if no choices reach the goal.
pub(crate) fn choose(options: &[Vec<Candidate>], goal: &Goal) -> Result<Vec<Candidate>, Error> {
    let largest = |options: &Vec<Candidate>| {
        let sizes = options.iter().map(|option| option.parameters);
        sizes.max().unwrap_or(0)
    };
    let dense: usize = options.iter().map(largest).sum();
    // `price` is that of all dense weights, against the loss.
    let at = |price: f64| -> Vec<Candidate> {
        let value = |option: &Candidate| {
            option.loss + price * option.parameters as f64 / dense.max(1) as f64
        };
        let best = |options: &Vec<Candidate>| {
            let best = options.iter().min_by(|a, b| value(a).total_cmp(&value(b)));
            *best.expect("a layer can stay dense")
        };
        options.iter().map(best).collect()
    };
    // The exponent of a price at which error counts for nothing, or weights do.
    let (mut allowed, mut refused) = if goal.rising {
        (60.0, -60.0)
    } else {
        (-60.0, 60.0)
    };
    let mut chosen = at(f64::exp2(allowed));
    if !(goal.allows)(&total(&chosen)) {
        return Err(Error::Budget {
            name: goal.name,
            value: goal.value,
            smallest: total(&chosen).parameters,
            dense,
        });
    }
    for _ in 0..60 {
        let middle = (allowed + refused) / 2.0;
        let candidate = at(f64::exp2(middle));
        if (goal.allows)(&total(&candidate)) {
            (allowed, chosen) = (middle, candidate);
        } else {
            refused = middle;
        }
    }
    while let Some((layer, option)) = better(options, &chosen, goal) {
        chosen[layer] = option;
    }
    Ok(chosen)
}

fn total(chosen: &[Candidate]) -> Candidate {
    Candidate {
        choice: None,
        parameters: chosen.iter().map(|option| option.parameters).sum(),
        loss: chosen.iter().map(|option| option.loss).sum(),
    }
}

/// The change of one layer that gains most.
fn better(
    options: &[Vec<Candidate>],
    chosen: &[Candidate],
    goal: &Goal,
) -> Option<(usize, Candidate)> {
    let now = total(chosen);
    let mut best = None;
    let mut least = (goal.cost)(&now);
    for (layer, (options, current)) in options.iter().zip(chosen).enumerate() {
        for option in options {
            let changed = Candidate {
                choice: None,
                parameters: now.parameters - current.parameters + option.parameters,
                loss: now.loss - current.loss + option.loss,
            };
            let cost = (goal.cost)(&changed);
            // Rounding must not look like a gain, or this would not end.
            if (goal.allows)(&changed) && cost < least * (1.0 - 1e-9) {
                (least, best) = (cost, Some((layer, *option)));
            }
        }
    }
    best
}
