//! Prunes the coefficients of the sparse variant. Call it between optimizer steps.
//!
//! There are two schedules:
//! - [`AdaptiveThreshold`] is the schedule of the reference implementation.
//! - [`CubicRamp`] reaches its sparsity exactly.
//!
//! A schedule sets the mask and the threshold of every
//! [`SparseCoefficients`](crate::SparseCoefficients) in a module. Nothing else changes. The mask and
//! the threshold are part of the record. If the coefficients are in half precision, the threshold is
//! in f32, because half precision would lose its small steps.
//!
//! Quantized coefficients are pruned by their dequantized values. [`AdaptiveThreshold`] never masks
//! out NaN. [`CubicRamp`] masks out NaN only after all other coefficients. So NaN stays visible in the
//! output of the layer if a training has diverged.
//!
//! # Example
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
// Without std, floats have no powers and no rounding. The import is unused if a dependency links
// std.
#[cfg(not(feature = "std"))]
#[allow(unused_imports)]
use num_traits::Float as _;

use crate::coefficients::SPARSE;
use crate::correlation::summed;
use crate::error::Error;

/// The schedule of the reference implementation. Each layer has a threshold. The threshold rises slowly
/// while fewer coefficients than wanted are masked out, and falls slowly while more are masked out.
///
/// One cycle masks out the coefficients with `|A| ≤ t`. Then `z` is the fraction of coefficients that
/// are masked out, and the threshold `t` changes:
///
/// ```text
/// t ← t + (2 / (1 + 10^(10·(z − sparsity))) − 1) · step
/// ```
///
/// The reference implementation runs one cycle every 500 training steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveThreshold {
    sparsity: f64,
    step: f64,
}

impl AdaptiveThreshold {
    /// The `step` of the reference implementation.
    pub const REFERENCE_STEP: f64 = 1e-5;

    /// A schedule that masks out the fraction `sparsity` of the coefficients. The threshold changes
    /// by less than `step` in one cycle.
    ///
    /// # Errors
    /// - [`Error::Sparsity`]: the sparsity is outside `[0, 1)`.
    /// - [`Error::ThresholdStep`]: the step is not positive, or not finite.
    pub fn new(sparsity: f64, step: f64) -> Result<Self, Error> {
        check_sparsity(sparsity)?;
        if !(step > 0.0 && step.is_finite()) {
            return Err(Error::ThresholdStep { step });
        }
        Ok(Self { sparsity, step })
    }

    /// The threshold of the next cycle, from the threshold of this cycle and the fraction of coefficients
    /// that this cycle masked out.
    pub fn next_threshold(&self, threshold: f64, zero_share: f64) -> f64 {
        let excess = zero_share - self.sparsity;
        threshold + (2.0 / (1.0 + 10f64.powf(10.0 * excess)) - 1.0) * self.step
    }

    /// Runs one cycle on every layer with sparse coefficients in a module. Returns the module.
    pub fn prune<M: Module>(&self, module: M) -> M {
        prune(module, |magnitudes, threshold| {
            let kept = |magnitude: &f64| *magnitude > threshold || magnitude.is_nan();
            let mask: Vec<bool> = magnitudes.iter().map(kept).collect();
            let next = self.next_threshold(threshold, zero_share(&mask));
            (mask, next)
        })
    }
}

/// A schedule whose sparsity rises from 0 to its target along a cubic curve (Zhu and Gupta 2017,
/// [arXiv 1710.01878](https://arxiv.org/abs/1710.01878), equation 1).
///
/// ```text
/// s(step) = sparsity · (1 - (1 - (step - begin) / (end - begin))³)
/// ```
///
/// It masks out the smallest coefficients of each layer, so each layer has exactly this sparsity, up to
/// a whole number of coefficients.
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
    /// - [`Error::Sparsity`]: the sparsity is outside `[0, 1)`.
    /// - [`Error::Ramp`]: `begin` is not before `end`.
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

    /// The fraction of coefficients that is masked out at a step. Before `begin` it is 0, and after `end`
    /// it is the target.
    pub fn sparsity_at(&self, step: usize) -> f64 {
        let done = step.clamp(self.begin, self.end) - self.begin;
        let left = 1.0 - done as f64 / (self.end - self.begin) as f64;
        self.sparsity * (1.0 - left * left * left)
    }

    /// Masks out the smallest coefficients of every layer with sparse coefficients in a module.
    /// Returns the module.
    ///
    /// The number of coefficients that is masked out in a layer is
    /// [`sparsity_at`](Self::sparsity_at) this step times the number of all its coefficients,
    /// rounded to the nearest whole number. The threshold becomes the largest magnitude that is
    /// masked out, or 0 if nothing is masked out.
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

/// The fraction of coefficients that is masked out, over all layers with sparse coefficients in a module.
/// It is 0 if there is no such layer.
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

/// The fraction of entries that are false, 0 for an empty mask.
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

/// Sets the mask and the threshold of every layer with sparse coefficients. `rule` computes both from
/// the magnitudes of the coefficients, row by row, and from the present threshold.
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

/// The fields of [`SparseCoefficients`](crate::SparseCoefficients), in the order in which a mapper visits
/// them.
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
