//! How much the outputs of a network change when one layer is compressed alone.

use std::collections::BTreeMap;
use std::fmt;
use std::string::String;
use std::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::budget::Compression;
use super::choice::Choice;
use super::search::Unit;
use crate::error::Error;

/// Measurements of a model: how far the outputs of the whole network move when one layer alone is
/// compressed, for every layer and several shares of its weights.
///
/// The measure is the Kullback-Leibler divergence `Σ p·ln(p / q)`, the mean over images, where `p`
/// are the class probabilities of the dense network and `q` the class probabilities of the
/// compressed network.
/// [`Compression::with_sensitivity`] chooses the sizes of all layers by it. As data (serde) it can
/// be saved, and an interrupted measurement can continue from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// By the path of each weight. The largest share of a layer comes first.
    layers: BTreeMap<String, Vec<Measurement>>,
}

/// The measurement of one layer that was compressed alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measurement {
    /// How the layer was compressed.
    pub choice: Choice,
    /// The share of the layer's weights that was kept.
    pub share: f64,
    /// The Kullback-Leibler divergence of the network's outputs, the mean over images, in nats.
    pub divergence: f64,
}

/// The shares at which a layer is measured.
const SHARES: [f64; 6] = [0.7, 0.5, 0.35, 0.25, 0.15, 0.08];

impl Sensitivity {
    /// The measurements of every layer, by the path of its weight.
    pub fn layers(&self) -> &BTreeMap<String, Vec<Measurement>> {
        &self.layers
    }

    pub(super) fn of(&self, path: &str) -> Option<Curve<'_>> {
        let measurements = self.layers.get(path).filter(|layer| !layer.is_empty())?;
        Some(Curve { measurements })
    }
}

/// The measurements of one layer.
pub(super) struct Curve<'a> {
    measurements: &'a [Measurement],
}

impl Curve<'_> {
    /// The divergence at a share of the layer's weights. Between two measurements it is a power of
    /// the share. Above the largest measured share, the power of the first two measurements goes
    /// on. A smaller share that seems to lose less than a larger one is noise, and counts as the
    /// same loss. `None` below the smallest measured share, where nothing is known.
    pub(super) fn divergence(&self, share: f64) -> Option<f64> {
        let mut worst = 0.0_f64;
        let mut points = self.measurements.iter().map(|measurement| {
            worst = worst.max(measurement.divergence.max(1e-9));
            [measurement.share.ln(), worst.ln()]
        });
        let share = share.ln();
        let first = points.next()?;
        let mut above = first;
        for below in points {
            if share >= below[0] {
                return Some(between(above, below, share));
            }
            above = below;
        }
        let only = self.measurements.len() == 1 && share >= first[0];
        only.then(|| first[1].exp())
    }
}

/// The value at `at` on the line through two points of logarithms. Of two points of the same share, the
/// larger value.
fn between([x, y]: [f64; 2], [x_below, y_below]: [f64; 2], at: f64) -> f64 {
    if x == x_below {
        return y.max(y_below).exp();
    }
    let slope = (y_below - y) / (x_below - x);
    (y + slope * (at - x)).exp()
}

impl Compression {
    /// Adds what is missing in a [`Sensitivity`]: compresses each layer alone, at up to six shares
    /// of its weights, and compares the `outputs` of the compressed and the dense model. `progress`
    /// is called after every measurement, with all measurements so far.
    ///
    /// The fits use the calibration of this compression. Only the layers of its group are measured.
    ///
    /// # Shapes
    /// - outputs: `[images, classes]`, logits, of the same images at every call
    ///
    /// # Errors
    /// The errors of [`plan`](Self::plan). The measurements so far are kept.
    pub fn measure<M: Module>(
        &self,
        model: &M,
        sensitivity: &mut Sensitivity,
        mut outputs: impl FnMut(&M) -> Tensor<2>,
        mut progress: impl FnMut(&Sensitivity),
    ) -> Result<(), Error> {
        let plan = self.dense_plan(model)?;
        let mut expected = None;
        for (index, layer) in plan.layers().iter().enumerate() {
            let curve = layer.curve(Unit::Parameters, self.all_channels)?;
            let mut missing: Vec<Choice> = SHARES
                .into_iter()
                .filter_map(|share| curve.at_share(share).choice)
                .collect();
            missing.dedup();
            if let Some(known) = sensitivity.layers.get(layer.path()) {
                missing.retain(|choice| known.iter().all(|known| known.choice != *choice));
            }
            if missing.is_empty() {
                continue;
            }
            let expected = expected.get_or_insert_with(|| log_probabilities(outputs(model)));
            for (choice, share, compressed) in plan.each_alone(model, index, &missing)? {
                let found = log_probabilities(outputs(&compressed));
                let divergence = divergence(expected, &found);
                let known = sensitivity.layers.entry(layer.path().into()).or_default();
                known.push(Measurement {
                    choice,
                    share,
                    divergence,
                });
                known.sort_by(|a, b| b.share.total_cmp(&a.share));
                progress(sensitivity);
            }
        }
        Ok(())
    }
}

/// The logarithms of the class probabilities of each image, in f64: not every device computes in
/// f64.
fn log_probabilities(logits: Tensor<2>) -> Vec<Vec<f64>> {
    let [_, classes] = logits.dims();
    let values = logits.detach().try_to_vec_as::<f64>();
    let values = values.expect("the values of a float tensor");
    let of_image = |logits: &[f64]| {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let normalizer = largest + sum.ln();
        logits.iter().map(|logit| logit - normalizer).collect()
    };
    values.chunks(classes.max(1)).map(of_image).collect()
}

/// `Σ p (ln p − ln q)`, the mean over images.
fn divergence(expected: &[Vec<f64>], found: &[Vec<f64>]) -> f64 {
    let images = expected.iter().zip(found);
    let of_image = |(p, q): (&Vec<f64>, &Vec<f64>)| -> f64 {
        // The limit of p · ln p at p = 0 is 0: such a class has no part in the divergence.
        let classes = p.iter().zip(q).filter(|(p, _)| **p > f64::NEG_INFINITY);
        classes.map(|(p, q)| p.exp() * (p - q)).sum()
    };
    let sum: f64 = images.map(of_image).sum();
    let mean = sum / expected.len().max(1) as f64;
    // An infinite or NaN divergence becomes the largest number: JSON has no infinity.
    if mean.is_finite() {
        mean.max(0.0)
    } else {
        f64::MAX
    }
}

/// Prints a row for each layer: the divergence at each share.
impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.keys().map(String::len).max().unwrap_or(0);
        for (path, measurements) in &self.layers {
            write!(f, "{path:<width$}")?;
            for measurement in measurements {
                let Measurement {
                    share, divergence, ..
                } = measurement;
                write!(f, "  {share:.2}: {divergence:.5}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_probability_zero_has_no_part_in_the_divergence() {
        let all = [0.25_f64, 0.75].map(f64::ln);
        let masked = [all[0], all[1], f64::NEG_INFINITY].to_vec();
        let found = [0.5_f64.ln(), 0.5_f64.ln()];
        let masked_found = [found[0], found[1], f64::NEG_INFINITY].to_vec();
        let expected = divergence(&[all.to_vec()], &[found.to_vec()]);
        assert!(expected > 0.1);
        let masked = [masked];
        assert_eq!(divergence(&masked, &[masked_found]), expected);
        assert_eq!(divergence(&masked, &masked), 0.0);
    }

    #[test]
    fn two_measurements_of_one_share_give_the_larger_divergence() {
        let measurement = |share: f64, divergence| Measurement {
            choice: Choice::new(1, crate::CoefficientsConfig::Full),
            share,
            divergence,
        };
        for divergences in [[0.1, 0.2], [0.2, 0.1]] {
            let [first, second] = divergences.map(|divergence| measurement(0.5, divergence));
            let measurements = [first, second, measurement(0.25, 0.4)];
            let curve = Curve {
                measurements: &measurements,
            };
            for share in [0.5, 0.75] {
                let found = curve.divergence(share).expect("known");
                assert!((found - 0.2).abs() < 1e-12, "{share}: {found}");
            }
        }
    }
}
