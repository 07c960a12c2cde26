//! Pruning the coefficients of the sparse variant, by an explicit call between optimizer steps.
//!
//! Two schedules: [`AdaptiveThreshold`], the reference implementation's, and [`CubicRamp`], which
//! reaches its sparsity exactly. Both set the mask and the threshold of every
//! [`SparseCoefficients`](crate::SparseCoefficients) inside a module and leave the rest alone, so
//! a module without any comes back as it was. The mask and the threshold are part of the record. A
//! threshold is in f32 where the coefficients are of half precision, in which its small steps would be
//! lost.
//!
//! Quantized coefficients are pruned by the values that they stand for. A coefficient that is no
//! number is never masked out: a training that has diverged is to show.
//!
//! ```
//! use burn::tensor::Device;
//! use linearconv::pruning::{CubicRamp, sparsity};
//! use linearconv::{CoefficientsConfig, LinearConv2dConfig};
//!
//! let coefficients = CoefficientsConfig::Sparse { sparsity: 0.5 };
//! let mut conv = LinearConv2dConfig::new([3, 8], [3, 3])
//!     .with_coefficients(coefficients)
//!     .init(&Device::default());
//!
//! let ramp = CubicRamp::new(0.5, 0, 100)?;
//! for step in (0..=100).step_by(20) {
//!     // ... optimizer steps ...
//!     conv = ramp.prune(conv, step);
//! }
//! assert_eq!(sparsity(&conv), 0.5);
//! # Ok::<(), linearconv::Error>(())
//! ```

use alloc::{vec, vec::Vec};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Tensor, TensorData};
// Powers and rounding of floats are part of std alone. The import is unused where a dependency
// links std.
#[cfg(not(feature = "std"))]
#[allow(unused_imports)]
use num_traits::Float as _;

use crate::coefficients::SPARSE;
use crate::correlation::summed;
use crate::error::Error;

/// The reference implementation's schedule: a threshold for each layer that creeps up while fewer
/// coefficients than wanted are masked out, and down while more are.
///
/// One cycle masks out the coefficients `|A| ≤ t`, measures the share `z` of zeros and sets
/// `t ← t + (2 / (1 + 10^(10·(z − sparsity))) − 1) · step`. The reference runs one every 500
/// training steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveThreshold {
    sparsity: f64,
    step: f64,
}

impl AdaptiveThreshold {
    /// The step of the reference implementation.
    pub const REFERENCE_STEP: f64 = 1e-5;

    /// A schedule towards the given share of zeros, whose threshold changes by less than `step`
    /// in one cycle.
    ///
    /// # Errors
    /// - [`Error::Sparsity`] outside `[0, 1)`.
    /// - [`Error::ThresholdStep`] unless positive and finite.
    pub fn new(sparsity: f64, step: f64) -> Result<Self, Error> {
        check_sparsity(sparsity)?;
        if !(step > 0.0 && step.is_finite()) {
            return Err(Error::ThresholdStep { step });
        }
        Ok(Self { sparsity, step })
    }

    /// The threshold of the next cycle after one that found the given share of zeros.
    pub fn next_threshold(&self, threshold: f64, zero_share: f64) -> f64 {
        let excess = zero_share - self.sparsity;
        threshold + (2.0 / (1.0 + 10f64.powf(10.0 * excess)) - 1.0) * self.step
    }

    /// Runs one cycle on every layer with sparse coefficients inside a module.
    pub fn prune<M: Module>(&self, module: M) -> M {
        prune(module, |magnitudes, threshold| {
            let kept = |magnitude: &f64| *magnitude > threshold || magnitude.is_nan();
            let mask: Vec<bool> = magnitudes.iter().map(kept).collect();
            let next = self.next_threshold(threshold, zero_share(&mask));
            (mask, next)
        })
    }
}

/// A sparsity that rises from 0 to its target along a cubic curve and is met exactly in every
/// layer by masking out the smallest coefficients (Zhu and Gupta 2017,
/// [arXiv 1710.01878](https://arxiv.org/abs/1710.01878), equation 1).
///
/// ```text
/// s(step) = sparsity · (1 - (1 - (step - begin) / (end - begin))³)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CubicRamp {
    sparsity: f64,
    begin: usize,
    end: usize,
}

impl CubicRamp {
    /// A ramp from 0 at step `begin` to `sparsity` at step `end`.
    ///
    /// # Errors
    /// - [`Error::Sparsity`] outside `[0, 1)`.
    /// - [`Error::Ramp`] unless `begin < end`.
    pub fn new(sparsity: f64, begin: usize, end: usize) -> Result<Self, Error> {
        check_sparsity(sparsity)?;
        if begin >= end {
            return Err(Error::Ramp { begin, end });
        }
        Ok(Self {
            sparsity,
            begin,
            end,
        })
    }

    /// The share of coefficients that are masked out at a step.
    pub fn sparsity_at(&self, step: usize) -> f64 {
        let done = step.clamp(self.begin, self.end) - self.begin;
        let left = 1.0 - done as f64 / (self.end - self.begin) as f64;
        self.sparsity * (1.0 - left * left * left)
    }

    /// Masks out the smallest coefficients of every layer with sparse ones inside a module, as
    /// many as the ramp asks for at this step, rounded to the nearest whole number. The threshold
    /// becomes the largest magnitude masked out, 0 where none is.
    pub fn prune<M: Module>(&self, module: M, step: usize) -> M {
        let sparsity = self.sparsity_at(step);
        prune(module, |magnitudes, _| {
            let zeros = (magnitudes.len() as f64 * sparsity).round() as usize;
            let mut order: Vec<usize> = (0..magnitudes.len()).collect();
            order.sort_by(|a, b| magnitudes[*a].total_cmp(&magnitudes[*b]));
            let mut mask = vec![true; magnitudes.len()];
            for index in &order[..zeros] {
                mask[*index] = false;
            }
            (
                mask,
                zeros
                    .checked_sub(1)
                    .map_or(0.0, |last| magnitudes[order[last]]),
            )
        })
    }
}

/// The share of masked coefficients among all coefficients of the sparse layers inside a module;
/// 0 where there is none.
pub fn sparsity<M: Module>(module: &M) -> f64 {
    #[derive(Default)]
    struct Masks {
        sparse: bool,
        mask: Vec<bool>,
    }

    impl ModuleVisitor for Masks {
        fn enter_module(&mut self, _name: &str, container_type: &str) {
            self.sparse = container_type == SPARSE;
        }

        fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
            if self.sparse {
                self.mask.extend(param.val().into_data().iter::<bool>());
            }
        }
    }

    let mut masks = Masks::default();
    module.visit(&mut masks);
    zero_share(&masks.mask)
}

fn zero_share(mask: &[bool]) -> f64 {
    let zeros = mask.iter().filter(|kept| !**kept).count();
    zeros as f64 / mask.len().max(1) as f64
}

fn check_sparsity(sparsity: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&sparsity) {
        Ok(())
    } else {
        Err(Error::Sparsity { sparsity })
    }
}

/// Gives every sparse layer the mask and the threshold that `rule` derives from the magnitudes of
/// its coefficients, row by row, and its present threshold.
fn prune<M: Module>(module: M, rule: impl Fn(&[f64], f64) -> (Vec<bool>, f64)) -> M {
    module.map(&mut Pruner {
        rule,
        field: Field::Other,
        magnitudes: Vec::new(),
        mask: Vec::new(),
    })
}

struct Pruner<R> {
    rule: R,
    field: Field,
    magnitudes: Vec<f64>,
    mask: Vec<bool>,
}

/// The fields of sparse coefficients, in the order in which a mapper meets them.
enum Field {
    Weight,
    Threshold,
    Mask,
    Other,
}

impl<R: Fn(&[f64], f64) -> (Vec<bool>, f64)> ModuleMapper for Pruner<R> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.field = match (container_type, name) {
            (SPARSE, "weight") => Field::Weight,
            (SPARSE, "threshold") => Field::Threshold,
            (SPARSE, "mask") => Field::Mask,
            _ => Field::Other,
        };
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.field {
            Field::Weight => {
                let values = param.val().dequantize().into_data();
                self.magnitudes = values.iter::<f64>().map(f64::abs).collect();
                param
            }
            Field::Threshold => param.map(|threshold| {
                let threshold = threshold.dequantize();
                let dtype = summed(threshold.dtype());
                let present = threshold.clone().into_scalar::<f64>();
                let next;
                (self.mask, next) = (self.rule)(&self.magnitudes, present);
                Tensor::full(threshold.shape(), next, (&threshold.device(), dtype))
            }),
            Field::Mask | Field::Other => param,
        }
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        match self.field {
            Field::Mask => param.map(|mask| {
                let data = TensorData::new(core::mem::take(&mut self.mask), mask.shape());
                Tensor::from_data(data, &mask.device())
            }),
            _ => param,
        }
    }
}
