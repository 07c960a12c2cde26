//! The weights of a model's convolutions.

use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::coefficients::{REPARAMETERIZATION, is_coefficient_matrix};
use crate::error::Error;

/// The weights of the [`Conv2d`](burn::nn::conv::Conv2d)s of a model, for
/// [`LinearConv::within`](crate::LinearConv::within): nothing else has four dimensions and is one.
///
/// # Errors
/// [`Error::Reparameterized`], if one of them is, by [`LinearConv`](crate::LinearConv) or
/// otherwise.
pub fn conv2d_weights<M: Module>(model: &M) -> Result<ParamGroup, Error> {
    let ids = Weights::of(model)?
        .found
        .into_iter()
        .map(|weight| weight.id);
    Ok(ParamGroup::from_ids(ids.collect()))
}

/// The weight of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct ConvWeight {
    pub(crate) path: String,
    pub(crate) id: ParamId,
    pub(crate) value: Tensor<4>,
    /// Whether the layer has a bias.
    pub(crate) bias: bool,
}

/// The weight of a layer that is no [`Conv2d`](burn::nn::conv::Conv2d), which compression leaves
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherLayer {
    /// Where the weight is in the model.
    pub path: String,
    /// The type of the layer.
    pub layer: String,
}

/// A visitor that finds them, by the layers that own them.
#[derive(Default)]
pub(crate) struct Weights {
    path: Vec<String>,
    /// The type of the struct, and the name of its field, that is visited.
    owner: (String, String),
    pub(crate) found: Vec<ConvWeight>,
    pub(crate) others: Vec<OtherLayer>,
    reparameterized: Option<Error>,
}

impl Weights {
    /// # Errors
    /// [`Error::Reparameterized`]
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
        match (owner, field, D) {
            ("Struct:Conv2d", "weight", 4) => {
                let value = param.val();
                let shape = value.shape();
                self.found.push(ConvWeight {
                    path: self.path.join("."),
                    id: param.id,
                    value: value.reshape(shape),
                    bias: false,
                });
            }
            ("Struct:Conv2d", "bias", 1) => {
                if let Some(weight) = self.found.last_mut() {
                    weight.bias = true;
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

/// The groups of the convolutions of a model, by the identities of their weights. A visitor is not
/// shown them, so they are read from the text that a module's `Debug` prints; they are missing of a
/// module that hides its layers there.
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
