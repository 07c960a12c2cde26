//! The budget: how much of all convolutions of a model to keep.

use std::collections::BTreeMap;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use burn::module::{Module, ParamGroup};

use super::activations::Calibration;
use super::choice::Choice;
use super::plan::{Plan, PlannedLayer};
use super::reparameterization::LinearConv;
use super::search::{Curve, Goal, Unit, by_price, by_share, loss, saturating_sum};
use super::sensitivity::Sensitivity;
use super::threads;
use crate::coefficients::CoefficientsConfig;
use crate::conv::IMAGE_CHANNELS;
use crate::error::Error;

/// A budget for the convolutions of a model. [`plan`](Self::plan) decides how much of each layer to
/// keep, on both sides: how many primary filters, and how many primary channels.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::Device;
/// use linearconv::Compression;
///
/// let device = Device::default().autodiff();
/// let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
/// let model: Vec<Conv2d> = vec![conv([32, 64]), conv([64, 64])];
///
/// let plan = Compression::to_parameters(0.5).plan(&model).unwrap();
/// println!("{plan}");
/// assert!(plan.parameters() <= plan.dense_parameters() / 2);
/// let model = plan.apply(model).unwrap();
/// # assert_eq!(model[0].weight.val().dims(), [64, 32, 3, 3]);
/// ```
///
/// A share of the weights (or multiply-adds) is divided among the layers by one price of a weight,
/// the same in all layers. A layer takes the sizes at which its loss plus the price of its weights
/// is least. A bisection finds the price that meets the budget (a Lagrange multiplier). The loss is
/// minus the logarithm of the fraction of the filters' energy (sum of squares) that a fit keeps.
/// For layers with a [measurement](Self::with_sensitivity), the loss is the measured change of the
/// network's outputs.
///
/// A fit approximates the filters. For layers with a [calibration](Self::with_calibration), it
/// approximates their outputs on the calibration images.
#[derive(Clone, Debug)]
pub struct Compression {
    target: Target,
    group: ParamGroup,
    calibration: Arc<Calibration>,
    sensitivity: Option<Sensitivity>,
    pub(super) all_channels: bool,
    equal_shares: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Parameters(f64),
    MultiplyAdds(f64),
    Error(f64),
    Uniform(LinearConv),
    PerLayer(BTreeMap<String, Choice>),
}

impl Compression {
    /// Keep this share of the weights of all convolutions, in `(0, 1]`. Biases do not count.
    ///
    /// Depthwise, single-channel and grouped convolutions stay dense, see [`Dense`](crate::Dense).
    /// Their weights count too.
    pub fn to_parameters(share: f64) -> Self {
        Self::new(Target::Parameters(share))
    }

    /// Keep this share of the multiply-adds of all convolutions for one image, in `(0, 1]`. The
    /// convolutions must have run under a [calibration](Self::with_calibration).
    pub fn to_multiply_adds(share: f64) -> Self {
        Self::new(Target::MultiplyAdds(share))
    }

    /// Keep as few weights as the search finds whose [`Plan::error`] is at most `error`, in
    /// `(0, 1]`.
    pub fn to_error(error: f64) -> Self {
        Self::new(Target::Error(error))
    }

    /// The same ratio of primary filters and the same coefficients for every layer that
    /// [`LinearConv`] splits by default. Layers with a [reason](crate::PlannedLayer::reason) to be
    /// dense stay dense.
    pub fn uniform(primary_ratio: f64, coefficients: CoefficientsConfig) -> Self {
        Self::like(LinearConv::new(coefficients).with_primary_ratio(primary_ratio))
    }

    /// The layers and sizes of this [`LinearConv`]: [`uniform`](Self::uniform) with every setting
    /// of `LinearConv` but its group, for which there is [`within`](Self::within).
    pub fn like(policy: LinearConv) -> Self {
        Self::new(Target::Uniform(policy))
    }

    /// These choices, by the path of each weight. All other layers stay dense.
    ///
    /// A compressed model has other parameters than the dense model. Its weights therefore load
    /// only into a model that was compressed in the same way: a new model, by the
    /// [choices](Plan::choices) of the old plan.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::Device;
    /// use linearconv::Compression;
    ///
    /// let device = Device::default();
    /// let new_model = || Conv2dConfig::new([32, 64], [3, 3]).init(&device);
    /// let model = new_model();
    /// let plan = Compression::to_parameters(0.5).plan(&model).unwrap();
    /// let model = plan.apply(model).unwrap();
    /// let (record, choices) = (model.clone().into_record(), plan.choices());
    ///
    /// let loaded = new_model();
    /// let plan = Compression::per_layer(choices).plan(&loaded).unwrap();
    /// let loaded = plan.prepare(loaded).unwrap().load_record(record);
    /// assert_eq!(loaded.weight.val().into_data(), model.weight.val().into_data());
    /// ```
    pub fn per_layer(choices: BTreeMap<String, Choice>) -> Self {
        Self::new(Target::PerLayer(choices))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            group: ParamGroup::all(),
            calibration: Arc::default(),
            sensitivity: None,
            all_channels: false,
            equal_shares: false,
        }
    }

    /// Keep the same share of every layer, as nearly as its sizes allow, in place of one price of a
    /// weight. Layers with up to four input channels read an image: they are small and lose most,
    /// so they stay dense.
    pub fn with_equal_shares(self) -> Self {
        Self {
            equal_shares: true,
            ..self
        }
    }

    /// Plan only for the weights of this group. All other layers are left out of the plan.
    pub fn within(self, group: ParamGroup) -> Self {
        Self { group, ..self }
    }

    /// Combine filters alone, as the paper does: all channels are primary.
    pub fn with_all_channels(self) -> Self {
        Self {
            all_channels: true,
            ..self
        }
    }

    /// Fit the outputs of the layers on the calibration images, in place of their filters, and
    /// count multiply-adds for an image. Layers that did not run are fitted by their filters.
    ///
    /// The next layer of the model may be a [`BatchNorm`](burn::nn::BatchNorm). Where its running
    /// statistics match the outputs, the error of a filter is weighted by the factor by which the
    /// normalization multiplies its output.
    pub fn with_calibration(self, calibration: impl Into<Arc<Calibration>>) -> Self {
        Self {
            calibration: calibration.into(),
            ..self
        }
    }

    /// Choose the sizes of layers by these measurements. Layers without a measurement are chosen by
    /// the energy of their filters.
    pub fn with_sensitivity(self, sensitivity: Sensitivity) -> Self {
        Self {
            sensitivity: Some(sensitivity),
            ..self
        }
    }

    /// Plans every [`Conv2d`](burn::nn::conv::Conv2d) of a model.
    ///
    /// # Errors
    /// - [`Error::Share`]: a share or error outside of `(0, 1]`.
    /// - [`Error::Budget`]: no sizes of these layers meet the budget.
    /// - [`Error::NotObserved`]: a share of multiply-adds, and a layer that did not run.
    /// - The errors of [`LinearConv2dConfig::try_init`](crate::LinearConv2dConfig::try_init): a
    ///   uniform ratio or coefficients that no layer can have.
    /// - [`Error::OtherModel`]: there is no convolution at the path of a given choice.
    /// - [`Error::Primary`], [`Error::PrimaryChannels`], [`Error::Rank`], …: the layer at the path
    ///   cannot have the given choice.
    /// - [`Error::Reparameterized`]: the model is compressed already.
    /// - [`Error::TooFewResponses`]: a layer has fewer calibration patches than filters.
    /// - [`Error::NotFinite`]: a weight or an output on the calibration images is infinite or NaN.
    pub fn plan<M: Module>(&self, model: &M) -> Result<Plan, Error> {
        let mut plan = self.dense_plan(model)?;
        match &self.target {
            Target::Uniform(policy) => {
                let layers = plan.layers().iter();
                let choices: Result<_, _> = layers.map(|layer| policy.choice(layer)).collect();
                plan.choose_all(choices?)?;
            }
            Target::PerLayer(choices) => {
                let layers = plan.layers().iter();
                let missing =
                    |path: &&String| !plan.layers().iter().any(|layer| layer.path() == **path);
                if let Some(path) = choices.keys().find(missing) {
                    return Err(Error::OtherModel { path: path.clone() });
                }
                let choices = layers.map(|layer| choices.get(layer.path()).copied());
                plan.choose_all(choices.collect())?;
            }
            Target::Parameters(share) => {
                self.to_size(&mut plan, "share of parameters", *share, Unit::Parameters)?;
            }
            Target::MultiplyAdds(share) => {
                self.check_observed(&plan)?;
                self.to_size(
                    &mut plan,
                    "share of multiply-adds",
                    *share,
                    Unit::MultiplyAdds,
                )?;
            }
            Target::Error(error) => self.to_plan_error(&mut plan, *error)?,
        }
        Ok(plan)
    }

    /// The share to keep, if the goal is a share.
    pub(super) fn budget(&self) -> Option<f64> {
        match self.target {
            Target::Parameters(share) | Target::MultiplyAdds(share) => Some(share),
            Target::Error(_) | Target::Uniform(_) | Target::PerLayer(_) => None,
        }
    }

    /// The same compression with another share, if the goal is a share.
    pub(super) fn with_budget(&self, value: f64) -> Self {
        let mut changed = self.clone();
        match &mut changed.target {
            Target::Parameters(share) | Target::MultiplyAdds(share) => *share = value,
            Target::Error(_) | Target::Uniform(_) | Target::PerLayer(_) => {}
        }
        changed
    }

    /// The plan in which all layers stay dense.
    pub(super) fn dense_plan<M: Module>(&self, model: &M) -> Result<Plan, Error> {
        let group = &self.group;
        let matches =
            |weight: &super::weights::ConvWeight| group.matches(&weight.id, Some(&weight.path));
        Plan::new(model, matches, self.calibration.clone())
    }

    fn check_observed(&self, plan: &Plan) -> Result<(), Error> {
        match plan
            .layers()
            .iter()
            .find(|layer| !layer.is_observed(&self.calibration))
        {
            Some(layer) => Err(Error::NotObserved {
                path: layer.path().into(),
            }),
            None => Ok(()),
        }
    }

    fn to_size(
        &self,
        plan: &mut Plan,
        name: &'static str,
        share: f64,
        unit: Unit,
    ) -> Result<(), Error> {
        check_share(name, share)?;
        let curves = self.curves(plan, unit)?;
        let dense = saturating_sum(curves.iter().map(|curve| curve.0[0].size));
        let budget = (share * dense as f64) as u64;
        let goal = Goal {
            name,
            value: share,
            allows: &|total| total.size <= budget,
            cost: &|total| total.loss,
            rising: true,
        };
        let search = if self.equal_shares {
            by_share
        } else {
            by_price
        };
        let chosen = search(&curves, &goal)?;
        plan.choose_all(chosen.into_iter().map(|chosen| chosen.choice).collect())
    }

    /// Searches by the energy of the filters, then measures the error of the plan. Outputs may lose
    /// more than filters: where the error is too large, the search repeats with half the energy to
    /// lose.
    fn to_plan_error(&self, plan: &mut Plan, error: f64) -> Result<(), Error> {
        check_share("error", error)?;
        let curves = self.curves(plan, Unit::Parameters)?;
        let mut lost = error * error;
        loop {
            // At least 1: the loss of an error of 1 is infinite, and infinity times 0 is NaN.
            let limit = loss(lost) * curves.len().max(1) as f64;
            let goal = Goal {
                name: "error",
                value: error,
                allows: &|total| total.loss <= limit,
                cost: &|total| total.size as f64,
                rising: false,
            };
            let chosen = by_price(&curves, &goal)?;
            plan.choose_all(chosen.into_iter().map(|chosen| chosen.choice).collect())?;
            if plan.error() <= error {
                return Ok(());
            }
            if lost < f64::EPSILON {
                // Rounding to the type of the weights loses more than the error allows.
                return plan.choose_all(std::vec![None; curves.len()]);
            }
            lost /= 2.0;
        }
    }

    /// The sizes that each layer can have, and their losses.
    pub(super) fn curves(&self, plan: &Plan, unit: Unit) -> Result<Vec<Curve>, Error> {
        let curve = |layer: &PlannedLayer| {
            if self.equal_shares && layer.shape()[1] <= IMAGE_CHANNELS {
                return Ok(Curve::dense(layer, unit));
            }
            let curve = layer.curve(unit, self.all_channels)?;
            let measured = self.sensitivity.as_ref();
            let measured = measured.and_then(|measured| measured.of(layer.path()));
            Ok(match measured {
                Some(measured) => {
                    curve.with_losses(|choice| measured.divergence(layer.share_of(choice)))
                }
                None => curve,
            })
        };
        let curves = threads::map(plan.layers(), curve);
        curves.into_iter().collect()
    }
}

fn check_share(name: &'static str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value <= 1.0 {
        Ok(())
    } else {
        Err(Error::Share { name, value })
    }
}
