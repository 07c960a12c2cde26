//! The plan: how much of each convolution of a model to keep.

use std::collections::{BTreeMap, HashMap};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::activations::Calibration;
use super::choice::Choice;
use super::fit::{Decomposition, Fit, Layer};
use super::reparameterization::put_in_place;
use super::search::{Curve, Unit, loss, saturating_sum};
use super::taps::Taps;
use super::threads;
use super::weights::{ConvWeight, OtherLayer, Weights};
use crate::cost::{Evaluation, LayerCost, Pixels};
use crate::error::Error;

/// What a [`Compression`](crate::Compression) decided for each layer. A plan can be printed,
/// changed, saved and applied.
///
/// A printed plan has a row for each convolution. The row has the path and shape of the weight.
/// Then come the choice (primary filters, primary channels, coefficients) or the reason to stay
/// dense, the number of dense weights, and the number of weights and coefficients that are kept. At
/// the end stand the [error](PlannedLayer::error), and the multiply-adds of the dense and of the
/// planned layer. They are counted for one image where a [`Calibration`] has observed the layer,
/// and for one output pixel elsewhere. Below the table stand the layers with a weight that are not
/// a `Conv2d`.
///
/// As data (serde) a plan has a version, and all that is needed to apply it to another model with
/// the same layers. A plan that was read has no errors. It is fitted when it is applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Plan {
    layers: Vec<PlannedLayer>,
    others: Vec<OtherLayer>,
    calibration: Arc<Calibration>,
}

/// The data of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    layers: Vec<PlannedLayer>,
    #[serde(default)]
    others: Vec<OtherLayer>,
}

/// The version of the data. Version 1 was the map of [`Plan::choices`].
const VERSION: u32 = 2;

/// One convolution in a [`Plan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedLayer {
    path: String,
    shape: [usize; 4],
    groups: Option<usize>,
    pixels: Pixels,
    choice: Option<Choice>,
    /// Why a search leaves the layer dense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Dense>,
    /// Written for people to read. It is computed anew when the data is read.
    #[serde(skip_deserializing)]
    parameters: usize,
    #[serde(skip_deserializing)]
    error: Option<f64>,
    /// The weight for which the layer was planned. `None` in a plan that was read. The fit itself
    /// is not kept but repeated when the plan is applied: a plan would else take as much memory as
    /// the model.
    #[serde(skip)]
    source: Option<ConvWeight>,
}

/// Why a search leaves a convolution dense, whatever the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dense {
    /// Each filter has one input channel, as in a depthwise convolution.
    OneChannel,
    /// The convolution has several groups: filters of different groups read different channels, so
    /// no filter can combine filters of other groups.
    Grouped,
    /// The number of groups is not known: the model's `Debug` does not print it, and no calibration
    /// has observed the layer.
    UnknownGroups,
    /// There is one filter, so there is nothing to combine.
    OneFilter,
}

impl PlannedLayer {
    pub(super) fn new(
        weight: ConvWeight,
        groups: Option<usize>,
        calibration: &Calibration,
    ) -> Self {
        let shape = weight.value.dims();
        let groups = calibration.groups(weight.id).or(groups);
        let reason = match (shape, groups) {
            ([1, ..], _) => Some(Dense::OneFilter),
            ([_, 1, ..], _) => Some(Dense::OneChannel),
            (_, None) => Some(Dense::UnknownGroups),
            (_, Some(2..)) => Some(Dense::Grouped),
            (_, Some(_)) => None,
        };
        Self {
            path: weight.path.clone(),
            shape,
            groups,
            pixels: calibration.pixels(weight.id).unwrap_or(Pixels::from(1)),
            choice: None,
            reason,
            parameters: shape.iter().product(),
            error: Some(0.0),
            source: Some(weight),
        }
    }

    /// The path of the weight in the model.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The shape of the dense weight:
    /// `[channels_out, channels_in / groups, kernel_height, kernel_width]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The number of groups of the convolution, where it is known.
    pub fn groups(&self) -> Option<usize> {
        self.groups
    }

    /// How the layer is compressed; `None` leaves it dense.
    pub fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// Why a search leaves the layer dense, whatever the budget; `None` where it may be compressed.
    pub fn reason(&self) -> Option<Dense> {
        self.reason
    }

    /// The pixels that one image takes in this layer. Where no [`Calibration`] has observed the
    /// layer, one pixel of input and one of output.
    pub fn pixels(&self) -> Pixels {
        self.pixels
    }

    /// Number of weights of the dense layer, without bias.
    pub fn dense_parameters(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of weights and coefficients that are kept, without bias.
    pub fn parameters(&self) -> usize {
        self.cost().parameters()
    }

    /// Multiply-adds of the dense layer for its [`pixels`](Self::pixels).
    pub fn dense_multiply_adds(&self) -> u64 {
        let dense = self.cost().dense();
        dense.multiply_adds(Evaluation::Materialized, self.pixels)
    }

    /// Multiply-adds of the planned layer for its [`pixels`](Self::pixels), as a
    /// [`LinearConv2d`](crate::LinearConv2d): factored, or materialized where it has several
    /// groups.
    pub fn multiply_adds(&self) -> u64 {
        let cost = self.cost();
        let evaluation = match cost.groups {
            1 => Evaluation::Factored,
            _ => Evaluation::Materialized,
        };
        cost.multiply_adds(evaluation, self.pixels)
    }

    /// The relative error: the norm of the difference over the norm of the original. It is the
    /// error of the filters or, where the plan was made with a [`Calibration`] that has observed
    /// the layer, of the outputs without bias. `None` for a compressed layer of a plan that was
    /// read.
    pub fn error(&self) -> Option<f64> {
        self.error
    }

    /// The cost of the choice, or of the dense layer.
    pub(super) fn cost(&self) -> LayerCost {
        let chosen = self.choice.and_then(|choice| self.cost_of(&choice).ok());
        chosen.unwrap_or_else(|| LayerCost::of_weight(self.shape, self.groups.unwrap_or(1), false))
    }

    /// The share of the weights that a choice keeps.
    pub(super) fn share_of(&self, choice: &Choice) -> f64 {
        let kept = self.cost_of(choice).map(|cost| cost.parameters());
        let dense = self.dense_parameters();
        kept.unwrap_or(dense) as f64 / dense.max(1) as f64
    }

    /// # Errors
    /// The errors of [`Choice::cost`].
    pub(super) fn cost_of(&self, choice: &Choice) -> Result<LayerCost, Error> {
        choice.cost(self.shape, self.groups.unwrap_or(1))
    }

    /// # Errors
    /// [`Error::LayerSize`]: the layer has no weight, or its counts do not fit 64 bits.
    fn check_size(&self) -> Result<(), Error> {
        let [filters, channels, height, width] = self.shape.map(|size| size as u64);
        let pixels = self.pixels.input.max(self.pixels.output).max(1);
        let product = |factors: &[u64]| factors.iter().copied().try_fold(1, u64::checked_mul);
        // The convolution, the kernel that is built, and the channels that are combined. 4 is more than
        // the sum of their constant factors.
        let most = || {
            let work = (pixels as u64).checked_add(filters.checked_add(channels)?)?;
            let convolution = product(&[filters, channels, height, width, work])?;
            let combination = product(&[channels, channels, pixels as u64])?;
            convolution.checked_add(combination)?.checked_mul(4)
        };
        match most().filter(|_| !self.shape.contains(&0)) {
            Some(_) => Ok(()),
            None => Err(Error::LayerSize {
                path: self.path.clone(),
                shape: self.shape,
                pixels,
            }),
        }
    }

    /// Calls `work` with the decomposition of a weight of this layer.
    ///
    /// # Errors
    /// [`Error::TooFewResponses`], and the errors of [`Decomposition::new`].
    fn decomposed<T>(
        &self,
        weight: &ConvWeight,
        calibration: &Calibration,
        work: impl FnOnce(&Decomposition) -> T,
    ) -> Result<T, Error> {
        let patches = calibration.enough_patches(&self.path, weight.id, self.shape[0])?;
        self.decomposed_by(weight, patches.as_ref(), None, work)
    }

    /// The same for these patches, and for what the layer sees in their place once the layers in
    /// front are compressed.
    fn decomposed_by<T>(
        &self,
        weight: &ConvWeight,
        patches: Option<&Taps>,
        seen: Option<&Taps>,
        work: impl FnOnce(&Decomposition) -> T,
    ) -> Result<T, Error> {
        let decomposition = Decomposition::new(Layer {
            path: &self.path,
            weight: &weight.value,
            patches,
            seen,
            bias: weight.bias.as_ref(),
            norm: weight.norm.as_ref(),
        })?;
        Ok(work(&decomposition))
    }

    /// The sizes to choose from, with losses by the energy of the filters.
    ///
    /// # Errors
    /// The errors of [`Decomposition::new`].
    pub(super) fn curve(&self, unit: Unit, all_channels: bool) -> Result<Curve, Error> {
        if self.reason.is_some() {
            return Ok(Curve::dense(self, unit));
        }
        let Some(source) = &self.source else {
            return Ok(Curve::dense(self, unit));
        };
        let energies = self.decomposed(source, &Calibration::new(), |decomposition| {
            decomposition.energies()
        })?;
        Ok(Curve::new(self, &energies, unit, all_channels))
    }

    /// Whether the calibration has observed the layer.
    pub(super) fn is_observed(&self, calibration: &Calibration) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|source| calibration.pixels(source.id).is_some())
    }

    /// Sets the choice, and measures the error where the weight is known.
    ///
    /// # Errors
    /// The errors of [`Choice::cost`] and of the decomposition. The layer then stays as it was.
    pub(super) fn choose(
        &mut self,
        choice: Option<Choice>,
        calibration: &Calibration,
    ) -> Result<(), Error> {
        let error = match (choice, &self.source) {
            (None, _) => Some(0.0),
            (Some(choice), Some(source)) => {
                let fits = self.fits(source, calibration, &[choice])?;
                fits.first().map(|fit| fit.error)
            }
            (Some(choice), None) => {
                self.cost_of(&choice)?;
                None
            }
        };
        self.error = error;
        self.choice = choice;
        self.parameters = self.parameters();
        Ok(())
    }

    /// A fit for each choice, all by one decomposition.
    ///
    /// # Errors
    /// The errors of [`Choice::cost`] and of the decomposition.
    fn fits(
        &self,
        weight: &ConvWeight,
        calibration: &Calibration,
        choices: &[Choice],
    ) -> Result<Vec<Fit>, Error> {
        let costs: Result<Vec<LayerCost>, Error> =
            choices.iter().map(|choice| self.cost_of(choice)).collect();
        let costs = costs?;
        self.decomposed(weight, calibration, |decomposition| {
            let fits = choices.iter().zip(&costs);
            fits.map(|(choice, cost)| decomposition.fit(choice, cost))
                .collect()
        })
    }
}

impl Plan {
    pub(super) fn new<M: Module>(
        model: &M,
        matches: impl Fn(&ConvWeight) -> bool,
        calibration: Arc<Calibration>,
    ) -> Result<Self, Error> {
        let Weights { found, others, .. } = Weights::of(model)?;
        let groups = super::weights::groups(model);
        let layers = found.into_iter().filter(matches).map(|weight| {
            let groups = groups.get(&weight.id.to_string()).copied();
            PlannedLayer::new(weight, groups, &calibration)
        });
        Ok(Self {
            layers: layers.collect(),
            others,
            calibration,
        })
    }

    /// The convolutions of the model, in the order of the model.
    pub fn layers(&self) -> &[PlannedLayer] {
        &self.layers
    }

    /// The layers that have a weight and are not a [`Conv2d`](burn::nn::conv::Conv2d). A plan
    /// leaves them alone.
    pub fn other_layers(&self) -> &[OtherLayer] {
        &self.others
    }

    /// Sets another choice for one layer; `None` leaves it dense.
    ///
    /// # Errors
    /// - [`Error::OtherModel`]: there is no layer at the path.
    /// - [`Error::Primary`], [`Error::PrimaryChannels`], [`Error::Rank`], …: the layer cannot have
    ///   the choice.
    /// - [`Error::TooFewResponses`]: the layer has fewer calibration patches than filters.
    /// - [`Error::NotFinite`]: a weight or an output on the calibration images is infinite or NaN.
    ///
    /// After an error the plan is as it was before.
    pub fn choose(&mut self, path: &str, choice: Option<Choice>) -> Result<(), Error> {
        let mut layers = self.layers.iter_mut();
        let layer = layers.find(|layer| layer.path == path);
        let layer = layer.ok_or_else(|| Error::OtherModel { path: path.into() })?;
        layer.choose(choice, &self.calibration)
    }

    /// Sets the choice of every layer.
    pub(super) fn choose_all(&mut self, choices: Vec<Option<Choice>>) -> Result<(), Error> {
        let layers = self.layers.iter_mut().zip(choices);
        let chosen = threads::map(layers, |(layer, choice)| {
            layer.choose(choice, &self.calibration)
        });
        chosen.into_iter().collect()
    }

    /// For each choice: the model with this layer alone compressed, and the share of the layer's
    /// weights that is kept.
    pub(super) fn each_alone<M: Module>(
        &self,
        model: &M,
        index: usize,
        choices: &[Choice],
    ) -> Result<impl Iterator<Item = (Choice, f64, M)>, Error> {
        let layer = &self.layers[index];
        let fits = match &layer.source {
            Some(source) => layer.fits(source, &self.calibration, choices)?,
            None => Vec::new(),
        };
        Ok(choices.iter().zip(fits).map(|(choice, fit)| {
            let fits = BTreeMap::from([(layer.path.clone(), fit)]);
            (
                *choice,
                layer.share_of(choice),
                put_in_place(model.clone(), &fits),
            )
        }))
    }

    /// Number of weights of all dense layers, without biases.
    pub fn dense_parameters(&self) -> usize {
        self.layers.iter().map(PlannedLayer::dense_parameters).sum()
    }

    /// Number of weights and coefficients that are kept, without biases.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(PlannedLayer::parameters).sum()
    }

    /// The multiply-adds of all dense layers, see [`PlannedLayer::dense_multiply_adds`].
    pub fn dense_multiply_adds(&self) -> u64 {
        let layers = self.layers.iter();
        saturating_sum(layers.map(PlannedLayer::dense_multiply_adds))
    }

    /// The multiply-adds of all layers as planned, see [`PlannedLayer::multiply_adds`].
    pub fn multiply_adds(&self) -> u64 {
        saturating_sum(self.layers.iter().map(PlannedLayer::multiply_adds))
    }

    /// The error `e` of all layers together. A layer with the [error](PlannedLayer::error) `eᵢ`
    /// keeps `1 - eᵢ²` of its energy; `1 - e²` is the geometric mean of this over the layers. NaN
    /// where an error is not known: in a plan that was read and compresses a layer.
    pub fn error(&self) -> f64 {
        let errors = self.layers.iter().map(|layer| layer.error);
        let errors: Option<Vec<f64>> = errors.collect();
        let Some(errors) = errors else {
            return f64::NAN;
        };
        let losses: f64 = errors.iter().map(|error| loss(error * error)).sum();
        let mean = losses / errors.len().max(1) as f64;
        (1.0 - (-mean).exp()).max(0.0).sqrt()
    }

    /// The choices by the path of each weight, without the layers that stay dense. Save them beside
    /// the weights of the compressed model:
    /// [`Compression::per_layer`](crate::Compression::per_layer) needs them to load the weights.
    pub fn choices(&self) -> BTreeMap<String, Choice> {
        let layers = self.layers.iter();
        layers
            .filter_map(|layer| Some((layer.path.clone(), layer.choice?)))
            .collect()
    }

    /// Compresses the model: splits its weights as planned. Parameters keep their ids and get other
    /// shapes, so start a new optimizer.
    ///
    /// A plan that was read is fitted to the filters of the model.
    ///
    /// # Errors
    /// - [`Error::OtherModel`]: a weight of the plan is not in the model, or has another shape or
    ///   number of groups. For a plan that was made for a model: the weight is another parameter or
    ///   has other values.
    /// - [`Error::Primary`], [`Error::Rank`], …: a layer cannot have its choice.
    /// - [`Error::Reparameterized`]: the model is compressed already.
    /// - [`Error::NotFinite`]: a weight is infinite or NaN.
    pub fn apply<M: Module>(&self, model: M) -> Result<M, Error> {
        let weights = Weights::of(&model)?;
        let found = self.chosen(&model, &weights)?;
        let fits = threads::map(found, |(layer, choice, weight)| {
            let fits = layer.fits(weight, &self.calibration, &[choice])?;
            Ok(fits.into_iter().map(|fit| (layer.path.clone(), fit)))
        });
        let fits: Result<Vec<_>, Error> = fits.into_iter().collect();
        let fits = fits?.into_iter().flatten().collect();
        Ok(put_in_place(model, &fits))
    }

    /// As [`apply`](Self::apply), but compresses the layers one after the other, in the order of the
    /// model. Each layer is fitted to give the outputs of the dense model from the inputs that it gets
    /// behind the layers which are compressed already. So it makes up for a part of what they lost
    /// (asymmetric reconstruction, Zhang et al. 2016,
    /// [arXiv 1505.06798](https://arxiv.org/abs/1505.06798)). The deeper a model is, the more it gains.
    ///
    /// `run` runs a model on calibration images, the same images at each call: a few hundred training
    /// images, without labels. It is called twice for each layer that is compressed, with the dense
    /// model and with the partly compressed model. On a device with autodiff, `run` should run
    /// [`model.valid()`](Module::valid), so that a batch normalization uses its running statistics.
    /// Layers that `run` does not run as a [`Conv`](crate::Conv) are fitted as by `apply`.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::{Device, Distribution, Tensor, activation::relu};
    /// use linearconv::{Compression, Conv};
    ///
    /// let device = Device::default();
    /// let conv = |channels| Conv::from(Conv2dConfig::new(channels, [3, 3]).init(&device));
    /// let model = vec![conv([8, 16]), conv([16, 32])];
    /// let images = Tensor::random([8, 8, 12, 12], Distribution::Default, &device);
    ///
    /// let plan = Compression::to_parameters(0.5).plan(&model).unwrap();
    /// let small = plan
    ///     .apply_in_turn(model.clone(), |model: &Vec<Conv>| {
    ///         model.iter().fold(images.clone(), |x, conv| relu(conv.forward(x)));
    ///     })
    ///     .unwrap();
    /// assert!(small.num_params() < model.num_params());
    /// ```
    ///
    /// # Errors
    /// The errors of [`apply`](Self::apply), and:
    /// - [`Error::OtherImages`]: two calls of `run` have not run the same images.
    /// - [`Error::TooFewResponses`]: a layer has fewer output pixels than filters.
    pub fn apply_in_turn<M: Module>(&self, model: M, mut run: impl FnMut(&M)) -> Result<M, Error> {
        let weights = Weights::of(&model)?;
        let mut fits = BTreeMap::new();
        for (layer, choice, weight) in self.chosen(&model, &weights)? {
            let mut observe = |model: &M| {
                let mut observer = Calibration::of_one(weight.id);
                observer.observe(|| run(model));
                observer.enough_patches(&layer.path, weight.id, layer.shape[0])
            };
            let patches = observe(&model)?;
            let seen = observe(&put_in_place(model.clone(), &fits))?;
            let fit = match patches.zip(seen) {
                Some((patches, seen)) => {
                    // NaN equals nothing. The fit refuses it.
                    let finite = patches.first_not_finite().is_none();
                    let other_values = fits.is_empty() && finite && patches != seen;
                    if patches.rows != seen.rows || other_values {
                        let path = layer.path.clone();
                        return Err(Error::OtherImages { path });
                    }
                    let cost = layer.cost_of(&choice)?;
                    // In front of the first layer nothing has changed.
                    let seen = Some(&seen).filter(|_| !fits.is_empty());
                    let fit = |decomposition: &Decomposition| decomposition.fit(&choice, &cost);
                    Some(layer.decomposed_by(weight, Some(&patches), seen, fit)?)
                }
                None => layer.fits(weight, &self.calibration, &[choice])?.pop(),
            };
            fits.extend(fit.map(|fit| (layer.path.clone(), fit)));
        }
        Ok(put_in_place(model, &fits))
    }

    /// Splits the weights of the model as planned, but sets them to zero: load a record of the
    /// compressed model into it. This takes no time, while [`apply`](Self::apply) decomposes every
    /// weight.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::Device;
    /// use linearconv::{Compression, Plan};
    ///
    /// let new_model = || Conv2dConfig::new([32, 64], [3, 3]).init(&Device::default());
    /// let model = new_model();
    /// let plan = Compression::to_parameters(0.5).plan(&model).unwrap();
    /// let model = plan.apply(model).unwrap();
    /// let (record, json) = (model.clone().into_record(), serde_json::to_string(&plan).unwrap());
    ///
    /// let plan: Plan = serde_json::from_str(&json).unwrap();
    /// let loaded = plan.prepare(new_model()).unwrap().load_record(record);
    /// assert_eq!(loaded.weight.val().into_data(), model.weight.val().into_data());
    /// ```
    ///
    /// # Errors
    /// The errors of [`apply`](Self::apply), except [`Error::NotFinite`].
    pub fn prepare<M: Module>(&self, model: M) -> Result<M, Error> {
        let weights = Weights::of(&model)?;
        let zeros = self.chosen(&model, &weights)?.into_iter();
        let zeros = zeros.map(|(layer, choice, weight)| {
            let cost = layer.cost_of(&choice)?;
            let fit = Fit::of_zeros(&choice, &cost, &weight.value);
            Ok((layer.path.clone(), fit))
        });
        let zeros: Result<_, Error> = zeros.collect();
        Ok(put_in_place(model, &zeros?))
    }

    /// The layers of a model that are to be compressed: each layer, its choice and its weight.
    ///
    /// # Errors
    /// [`Error::OtherModel`], and the errors of [`Choice::cost`].
    fn chosen<'a, M: Module>(
        &'a self,
        model: &M,
        weights: &'a Weights,
    ) -> Result<Vec<(&'a PlannedLayer, Choice, &'a ConvWeight)>, Error> {
        let groups = super::weights::groups(model);
        let mut found = Vec::new();
        for layer in &self.layers {
            let mut weights = weights.found.iter();
            let Some(weight) = weights.find(|weight| layer.is_of(weight, &groups)) else {
                return Err(Error::OtherModel {
                    path: layer.path.clone(),
                });
            };
            if let Some(choice) = layer.choice {
                layer.cost_of(&choice)?;
                found.push((layer, choice, weight));
            }
        }
        Ok(found)
    }
}

impl PlannedLayer {
    /// Whether the layer was planned for this weight. In a plan that was read: whether the weight
    /// has the shape of the layer and, where both are known, its number of groups.
    fn is_of(&self, weight: &ConvWeight, groups: &HashMap<String, usize>) -> bool {
        let groups = groups.get(&weight.id.to_string());
        let other_groups = groups.zip(self.groups).is_some_and(|(a, b)| *a != b);
        weight.path == self.path
            && match &self.source {
                Some(source) => weight.id == source.id && equal(&weight.value, &source.value),
                None => weight.value.dims() == self.shape && !other_groups,
            }
    }
}

fn equal(weight: &Tensor<4>, planned: &Tensor<4>) -> bool {
    weight.dims() == planned.dims()
        && weight.dtype() == planned.dtype()
        && weight.to_data() == planned.to_data()
}

impl From<Plan> for Saved {
    fn from(plan: Plan) -> Self {
        Self {
            version: VERSION,
            layers: plan.layers,
            others: plan.others,
        }
    }
}

impl TryFrom<Saved> for Plan {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self, Error> {
        if saved.version != VERSION {
            return Err(Error::PlanVersion {
                version: saved.version,
                known: VERSION,
            });
        }
        let mut layers = saved.layers;
        for layer in &mut layers {
            layer.check_size()?;
            if let Some(choice) = layer.choice {
                layer.cost_of(&choice)?;
            }
            layer.parameters = layer.parameters();
            layer.error = layer.choice.is_none().then_some(0.0);
        }
        Ok(Self {
            layers,
            others: saved.others,
            calibration: Arc::default(),
        })
    }
}
