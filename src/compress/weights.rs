//! The weights of a model's convolutions.

use std::string::String;
use std::vec::Vec;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;

use crate::coefficients::REPARAMETERIZATION;
use crate::error::Error;

/// The weights of the [`Conv2d`](burn::nn::conv::Conv2d)s of a model, for
/// [`LinearConv::within`](crate::LinearConv::within): nothing else has four dimensions and is one.
///
/// # Errors
/// [`Error::Reparameterized`], if one of them is, by [`LinearConv`](crate::LinearConv) or
/// otherwise.
pub fn conv2d_weights<M: Module>(model: &M) -> Result<ParamGroup, Error> {
    let ids = Weights::of(model)?.found.into_iter().map(|(_, id, _)| id);
    Ok(ParamGroup::from_ids(ids.collect()))
}

/// A visitor that finds them, by the layers that own them.
#[derive(Default)]
pub(crate) struct Weights {
    path: Vec<String>,
    in_conv2d: bool,
    /// Path, identity and value.
    pub(crate) found: Vec<(String, ParamId, Tensor<4>)>,
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
            let of_conv2d = self.found.last().is_some_and(|(found, ..)| *found == path);
            if of_conv2d || name == REPARAMETERIZATION {
                let name = name.into();
                let first = &mut self.reparameterized;
                first.get_or_insert(Error::Reparameterized { path, name });
            }
        }
        self.path.push(name.into());
        self.in_conv2d = container_type == "Struct:Conv2d" && name == "weight";
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.in_conv2d && D == 4 {
            let weight = param.val();
            let shape = weight.shape();
            self.found
                .push((self.path.join("."), param.id, weight.reshape(shape)));
        }
    }
}
