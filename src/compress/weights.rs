//! The weights of a model's convolutions.

use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::decomposition::to_values;
use crate::coefficients::{REPARAMETERIZATION, is_coefficient_matrix};
use crate::error::Error;

/// The weights of the [`Conv2d`](burn::nn::conv::Conv2d) layers of a model, for
/// [`LinearConv::within`](crate::LinearConv::within). The group holds no other parameter. The
/// weight of a transposed convolution also has four dimensions; it is not in the group.
///
/// # Errors
/// [`Error::Reparameterized`]: a weight is reparameterized, by [`LinearConv`](crate::LinearConv) or
/// otherwise.
pub fn conv2d_weights<M: Module>(model: &M) -> Result<ParamGroup, Error> {
    let ids = Weights::of(model)?
        .found
        .into_iter()
        .map(|weight| weight.id);
    Ok(ParamGroup::from_ids(ids.collect()))
}

/// The weight of a convolution, `[filters, channels / groups, height, width]`.
#[derive(Clone, Debug)]
pub(crate) struct ConvWeight {
    pub(crate) path: String,
    pub(crate) id: ParamId,
    pub(crate) value: Tensor<4>,
    /// The bias of the layer, `[filters]`.
    pub(crate) bias: Option<Tensor<1>>,
    /// The batch normalization whose parameters come next in the model, if it has as many channels
    /// as there are filters. The order of the parameters does not prove that it normalizes the
    /// outputs of this layer.
    pub(crate) norm: Option<Norm>,
}

/// The parameters of a batch normalization. They are read from the device only where they are
/// needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Norm {
    gamma: Option<Tensor<1>>,
    mean: Option<Tensor<1>>,
    variance: Option<Tensor<1>>,
}

/// The parameters of a batch normalization, one value for each channel.
pub(crate) struct NormValues {
    gamma: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// The weight of a layer that is not a [`Conv2d`](burn::nn::conv::Conv2d). Compression leaves it
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OtherLayer {
    /// The path of the weight in the model.
    pub path: String,
    /// The name of the layer's type.
    pub layer: String,
}

/// What Burn's batch normalization adds to a variance by default. A visitor does not see the value
/// of a layer.
const EPSILON: f64 = 1e-5;

impl Norm {
    /// The values, if the visitor has seen all of them.
    pub(crate) fn read(&self) -> Option<NormValues> {
        let read = |values: &Option<Tensor<1>>| values.clone().map(to_values);
        Some(NormValues {
            gamma: read(&self.gamma)?,
            mean: read(&self.mean)?,
            variance: read(&self.variance)?,
        })
    }
}

impl NormValues {
    /// Whether this normalizes outputs with these means and variances. For the median channel, both
    /// must be near to the running statistics. Outputs behind an activation are too different for
    /// that.
    pub(crate) fn is_of(&self, outputs: impl Iterator<Item = (f64, f64)>) -> bool {
        let statistics = self.mean.iter().zip(&self.variance);
        let mut differences: Vec<[f64; 2]> = statistics
            .zip(outputs)
            .map(|((running_mean, running_variance), (mean, variance))| {
                let scale = running_variance.max(0.0) + EPSILON;
                let ratio = (variance.max(0.0) + EPSILON) / scale;
                [(running_mean - mean).abs() / scale.sqrt(), ratio.ln().abs()]
            })
            .collect();
        let median = |of: usize, differences: &mut Vec<[f64; 2]>| {
            differences.sort_by(|a, b| a[of].total_cmp(&b[of]));
            differences
                .get(differences.len() / 2)
                .map(|found| found[of])
        };
        let means = median(0, &mut differences);
        let variances = median(1, &mut differences);
        means.is_some_and(|difference| difference < 0.2)
            && variances.is_some_and(|difference| difference < 0.5)
    }

    /// The factors by which the normalization multiplies the outputs of each channel, scaled to a
    /// mean square of 1. None is below 0.001 of the largest, so that dividing by it loses nothing
    /// to rounding.
    pub(crate) fn weights(&self) -> Vec<f64> {
        let scales = self.gamma.iter().zip(&self.variance);
        let scales =
            scales.map(|(gamma, variance)| gamma.abs() / (variance.max(0.0) + EPSILON).sqrt());
        let mut scales: Vec<f64> = scales.collect();
        let largest = scales.iter().copied().fold(0.0, f64::max);
        if !(largest > 0.0 && largest.is_finite()) {
            return std::vec![1.0; scales.len()];
        }
        let least = largest * 1e-3;
        scales
            .iter_mut()
            .for_each(|scale| *scale = scale.max(least));
        let squares: f64 = scales.iter().map(|scale| scale * scale).sum();
        let root = (squares / scales.len() as f64).sqrt();
        scales.iter().map(|scale| scale / root).collect()
    }
}

/// A visitor that finds the weights of convolutions, by the layers that own them.
#[derive(Default)]
pub(crate) struct Weights {
    path: Vec<String>,
    /// The type of the struct that is being visited, and the name of its field.
    owner: (String, String),
    pub(crate) found: Vec<ConvWeight>,
    /// Whether the parameter that was visited last belongs to the convolution that was found last,
    /// or to the normalization behind it.
    within_last: bool,
    pub(crate) others: Vec<OtherLayer>,
    reparameterized: Option<Error>,
}

impl Weights {
    /// # Errors
    /// [`Error::Reparameterized`]: the weight of a convolution is reparameterized.
    pub(crate) fn of<M: Module>(model: &M) -> Result<Self, Error> {
        let mut weights = Self::default();
        model.visit(&mut weights);
        match weights.reparameterized {
            Some(error) => Err(error),
            None => Ok(weights),
        }
    }
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == "Reparameterization" {
            let path = self.path.join(".");
            let of_conv2d = self.found.last().is_some_and(|found| found.path == path);
            if of_conv2d || name == REPARAMETERIZATION {
                let name = name.into();
                let first = &mut self.reparameterized;
                first.get_or_insert(Error::Reparameterized { path, name });
            }
        }
        self.path.push(name.into());
        self.owner = (container_type.into(), name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (owner, field) = (self.owner.0.as_str(), self.owner.1.as_str());
        let within_last = core::mem::take(&mut self.within_last);
        let last = self.found.last_mut().filter(|_| within_last);
        match (owner, field, D) {
            ("Struct:Conv2d", "weight", 4) => {
                let value = param.val();
                let shape = value.shape();
                self.found.push(ConvWeight {
                    path: self.path.join("."),
                    id: param.id,
                    value: value.reshape(shape),
                    bias: None,
                    norm: None,
                });
                self.within_last = true;
            }
            ("Struct:Conv2d", "bias", 1) => {
                if let Some(weight) = last {
                    weight.bias = Some(param.val().reshape([-1]));
                    self.within_last = true;
                }
            }
            ("Struct:BatchNorm", "gamma" | "beta" | "running_mean" | "running_var", 1) => {
                let filters = |weight: &&mut ConvWeight| weight.value.dims()[0];
                if let Some(weight) = last.filter(|weight| filters(weight) == param.shape()[0]) {
                    let norm = weight.norm.get_or_insert_default();
                    let values = Some(param.val().reshape([-1]));
                    match field {
                        "gamma" => norm.gamma = values,
                        "running_mean" => norm.mean = values,
                        "running_var" => norm.variance = values,
                        _ => {}
                    }
                    self.within_last = field != "running_var";
                }
            }
            (_, "weight", 2..) | ("Struct:LinearConv2d", "primary", 4)
                if !is_coefficient_matrix(owner, field) =>
            {
                if let Some(layer) = owner.strip_prefix("Struct:") {
                    self.others.push(OtherLayer {
                        path: self.path.join("."),
                        layer: layer.into(),
                    });
                }
            }
            _ => {}
        }
    }
}

/// The groups of the convolutions of a model, by the ids of their weights. A visitor does not see
/// the groups, so they are read from the text that a module's `Debug` prints. Layers that a module
/// hides there are missing.
pub(crate) fn groups<M: Module>(model: &M) -> HashMap<String, usize> {
    let text = format!("{model:?}");
    let after = |text: &'_ str, mark: &str| text.find(mark).map(|at| at + mark.len());
    let mut groups = HashMap::new();
    for layer in text.split("Conv2d { weight: Param: ").skip(1) {
        let number = after(layer, ", groups: ").and_then(|at| {
            let rest = &layer[at..];
            let end = rest.find(|character: char| !character.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse().ok()
        });
        if let (Some(id), Some(number)) = (layer.split(' ').next(), number) {
            groups.insert(id.to_string(), number);
        }
    }
    groups
}
