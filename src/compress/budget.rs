//! How much of each convolution of a model to keep: the budget.

use std::collections::{BTreeMap, HashMap};
use std::string::String;
use std::vec::Vec;

use burn::module::{Module, ParamGroup, ParamId};
use burn::tensor::Tensor;

use super::choice::Choice;
use super::decomposition::Spectrum;
use super::plan::{Plan, PlannedLayer};
use super::reparameterization::LinearConv;
use super::search::{Goal, loss};
use super::weights::Weights;
use crate::coefficients::{CoefficientsConfig, rows};
use crate::error::Error;

/// A budget for the convolutions of a model. It [plans](Self::plan) how much of each layer to
/// keep: more where filters are independent of each other, less where few combine to many.
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
#[derive(Clone, Debug)]
pub struct Compression {
    target: Target,
    group: ParamGroup,
    responses: HashMap<ParamId, Tensor<2>>,
}

#[derive(Clone, Debug)]
enum Target {
    Parameters(f64),
    Error(f64),
    Uniform(f64, CoefficientsConfig),
    PerLayer(BTreeMap<String, Choice>),
}

impl Compression {
    /// Keep this share of the weights of all convolutions, with the least error. Those of a single
    /// channel, which depthwise ones are, stay dense.
    pub fn to_parameters(share: f64) -> Self {
        Self::new(Target::Parameters(share))
    }

    /// Keep as few weights as possible with at most this error of all layers together, see
    /// [`Plan::error`]. Those of a single channel stay dense.
    pub fn to_error(error: f64) -> Self {
        Self::new(Target::Error(error))
    }

    /// The same share of primary filters and the same coefficients for every layer that
    /// [`LinearConv`] would split.
    pub fn uniform(primary_ratio: f64, coefficients: CoefficientsConfig) -> Self {
        Self::new(Target::Uniform(primary_ratio, coefficients))
    }

    /// These choices, by the path of each weight; all other layers stay dense.
    ///
    /// A compressed model has other parameters than the dense one, so its weights load only into
    /// a model that was compressed alike: a new one by the [choices](Plan::choices) of the old.
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
    /// let loaded = plan.apply(loaded).unwrap().load_record(record);
    /// assert_eq!(loaded.weight.val().into_data(), model.weight.val().into_data());
    /// ```
    pub fn per_layer(choices: BTreeMap<String, Choice>) -> Self {
        Self::new(Target::PerLayer(choices))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            group: ParamGroup::all(),
            responses: HashMap::new(),
        }
    }

    /// Only the weights of a group.
    pub fn within(self, group: ParamGroup) -> Self {
        Self { group, ..self }
    }

    /// Fit what filters answer to a calibration batch in place of the filters themselves.
    ///
    /// For the weights of some convolutions, by their ids: their [`responses`](crate::responses),
    /// one row for each filter and one column for each output pixel, or for some of them. At least
    /// as many columns as filters are needed, several times more are useful.
    pub fn with_responses(self, responses: HashMap<ParamId, Tensor<2>>) -> Self {
        Self { responses, ..self }
    }

    /// Decide for every [`Conv2d`](burn::nn::conv::Conv2d) of a model.
    ///
    /// # Errors
    /// - [`Error::Share`]: a share or error outside of `(0, 1]`.
    /// - [`Error::Budget`]: one too small for these layers.
    /// - Those of [`LinearConv2dConfig::try_init`](crate::LinearConv2dConfig::try_init): a uniform
    ///   ratio or coefficients that no layer could have.
    /// - [`Error::OtherModel`]: there is no convolution at a path of the given choices.
    /// - [`Error::Reparameterized`]: the model is compressed already.
    /// - [`Error::Responses`], [`Error::TooFewResponses`]: responses of another number of filters,
    ///   or to too small a calibration batch.
    /// - [`Error::NotFinite`]: a weight or response that is infinite or no number.
    pub fn plan<M: Module>(&self, model: &M) -> Result<Plan, Error> {
        let weights = Weights::of(model)?;
        let mut layers = Vec::new();
        for (path, id, weight) in weights.found {
            if !self.group.matches(&id, Some(&path)) {
                continue;
            }
            let filters = rows(weight.clone());
            layers.push(PlannedLayer {
                spectrum: Spectrum::new(&path, &filters, self.responses.get(&id))?,
                path,
                id,
                shape: weight.dims(),
                weight,
                choice: None,
                pixels: 1,
            });
        }
        let mut plan = Plan { layers };
        match self.target {
            Target::Uniform(ratio, coefficients) => {
                for layer in &mut plan.layers {
                    let policy = LinearConv::new(coefficients).with_primary_ratio(ratio);
                    layer.choice = policy.choice(layer.shape)?;
                }
            }
            Target::PerLayer(ref choices) => {
                for layer in &mut plan.layers {
                    layer.choice = choices.get(&layer.path).copied();
                }
                let planned = plan.choices();
                if let Some(path) = choices.keys().find(|path| !planned.contains_key(*path)) {
                    return Err(Error::OtherModel { path: path.clone() });
                }
            }
            Target::Parameters(share) => {
                check_share("share of parameters", share)?;
                let budget = (share * plan.dense_parameters() as f64) as usize;
                plan.choose(&Goal {
                    name: "share of parameters",
                    value: share,
                    allows: &|total| total.parameters <= budget,
                    cost: &|total| total.loss,
                    rising: true,
                })?;
            }
            Target::Error(error) => {
                check_share("error", error)?;
                // Not zero layers: an error of 1 is an infinite loss, and the product no number.
                let limit = loss(error) * plan.layers.len().max(1) as f64;
                plan.choose(&Goal {
                    name: "error",
                    value: error,
                    allows: &|total| total.loss <= limit,
                    cost: &|total| total.parameters as f64,
                    rising: false,
                })?;
            }
        }
        Ok(plan)
    }
}

fn check_share(name: &'static str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value <= 1.0 {
        Ok(())
    } else {
        Err(Error::Share { name, value })
    }
}
