//! How much of each convolution of a model to keep: the plan.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use burn::module::{Module, Param, ParamId, Reparameterizer};
use burn::tensor::Tensor;

use super::choice::{Choice, worth_replacing};
use super::decomposition::Spectrum;
use super::reparameterization::{CombinedFilters, split};
use super::search::{Candidate, Goal, choose, loss};
use super::weights::Weights;
use crate::coefficients::CoefficientsConfig;
use crate::cost::{Evaluation, LayerCost};
use crate::error::Error;

/// What a [`Compression`](crate::Compression) decided, layer by layer; to be printed, changed and
/// applied.
///
/// Printed, it has a row for each layer: the shape of its weight; its primary filters and the rank
/// of its coefficients; its weights, and those and the coefficients that are kept; its
/// [error](PlannedLayer::error); and its multiply-adds, dense and factored, for an output pixel or
/// for as many as [`PlannedLayer::pixels`] says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The convolutions of the model, in its order.
    pub layers: Vec<PlannedLayer>,
}

/// One convolution in a [`Plan`].
#[derive(Clone, Debug)]
pub struct PlannedLayer {
    /// Where the weight is in the model.
    pub path: String,
    /// The identity of the weight.
    pub id: ParamId,
    /// The shape of the dense weight.
    pub shape: [usize; 4],
    /// How it is compressed; `None` leaves it dense.
    pub choice: Option<Choice>,
    /// The output pixels for which multiply-adds are counted: 1, as a weight does not show them,
    /// unless set to those of an image.
    pub pixels: usize,
    /// The weight that the plan was made for.
    pub(crate) weight: Tensor<4>,
    pub(crate) spectrum: Spectrum,
}

impl PlannedLayer {
    /// The weights of the dense layer.
    pub fn dense_parameters(&self) -> usize {
        self.shape.iter().product()
    }

    /// The weights and coefficients that are kept.
    pub fn parameters(&self) -> usize {
        self.cost(self.choice)
            .map_or(self.dense_parameters(), |cost| cost.parameters())
    }

    /// Multiply-adds of the dense layer for its [`pixels`](Self::pixels).
    pub fn dense_multiply_adds(&self) -> usize {
        self.dense_parameters() * self.pixels
    }

    /// Multiply-adds for its [`pixels`](Self::pixels) as a factored
    /// [`LinearConv2d`](crate::LinearConv2d), which needs `groups = 1`.
    pub fn multiply_adds(&self) -> usize {
        self.cost(self.choice)
            .map_or(self.dense_multiply_adds(), |cost| {
                cost.multiply_adds(Evaluation::Factored, self.pixels)
            })
    }

    /// The relative error of the filters, or of the responses where the plan was made from them:
    /// the norm of the difference over the norm.
    pub fn error(&self) -> f64 {
        self.choice.map_or(0.0, |choice| {
            let rank = self.cost(Some(choice)).and_then(|cost| cost.rank);
            self.spectrum.error(choice.primary, rank)
        })
    }

    /// `None` for a dense layer and for a choice that this layer cannot have.
    fn cost(&self, choice: Option<Choice>) -> Option<LayerCost> {
        let choice = choice?;
        let filters = self.shape[0];
        let rank = choice.rank(filters).ok()?;
        Some(LayerCost {
            primary: choice.primary,
            secondary: filters - choice.primary,
            filter_size: self.shape[1..].iter().product(),
            groups: 1,
            rank,
            bias: false,
        })
    }

    /// Everything worth choosing from.
    fn options(&self) -> Vec<Candidate> {
        let [filters, ..] = self.shape;
        let mut options = std::vec![Candidate {
            choice: None,
            parameters: self.dense_parameters(),
            loss: 0.0,
        }];
        let steps = |total: usize| {
            let mut steps: Vec<usize> = (1..STEPS).map(|step| total * step / STEPS).collect();
            steps.dedup();
            steps.retain(|step| (1..total).contains(step));
            steps
        };
        for primary in steps(filters) {
            let widest = primary.min(filters - primary);
            let errors = self.spectrum.errors(primary);
            let ranks = steps(widest).into_iter().map(Some);
            for rank in ranks.chain([None]) {
                let coefficients = match rank {
                    Some(rank) => CoefficientsConfig::LowRank { rank },
                    None => CoefficientsConfig::Full,
                };
                let choice = Choice {
                    primary,
                    coefficients,
                };
                let Some(cost) = self.cost(Some(choice)) else {
                    continue;
                };
                if worth_replacing(self.shape, &cost) {
                    options.push(Candidate {
                        choice: Some(choice),
                        parameters: cost.parameters(),
                        loss: loss(errors[rank.unwrap_or(usize::MAX).min(errors.len() - 1)]),
                    });
                }
            }
        }
        options
    }
}

/// Steps from nothing to all of a layer's filters, and to all ranks.
const STEPS: usize = 16;

/// See [`Plan::error`].
pub(super) fn error_of_all(errors: &[f64]) -> f64 {
    let losses: f64 = errors.iter().copied().map(loss).sum();
    let mean = losses / errors.len().max(1) as f64;
    (1.0 - (-mean).exp()).sqrt()
}

impl Plan {
    /// The weights of all dense layers.
    pub fn dense_parameters(&self) -> usize {
        self.layers.iter().map(PlannedLayer::dense_parameters).sum()
    }

    /// The weights and coefficients that are kept.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(PlannedLayer::parameters).sum()
    }

    /// The error `e` of all layers together: `1 - e²` is the geometric mean, over the layers, of
    /// what each keeps of its energy, one minus its squared [error](PlannedLayer::error).
    pub fn error(&self) -> f64 {
        error_of_all(&self.errors())
    }

    pub(super) fn errors(&self) -> Vec<f64> {
        self.layers.iter().map(PlannedLayer::error).collect()
    }

    /// What was chosen, by the path of each weight, without the layers that stay dense. Saved
    /// beside the weights of the compressed model, it is what
    /// [`Compression::per_layer`](crate::Compression::per_layer) needs to load them.
    pub fn choices(&self) -> BTreeMap<String, Choice> {
        let layers = self.layers.iter();
        layers
            .filter_map(|layer| Some((layer.path.clone(), layer.choice?)))
            .collect()
    }

    /// The model with its weights split as planned. Parameters keep their identities and get other
    /// shapes, so start a new optimizer.
    ///
    /// # Errors
    /// - [`Error::Primary`], [`Error::Rank`], …: a choice that a layer cannot have.
    /// - [`Error::Reparameterized`]: the model is compressed already.
    /// - [`Error::OtherModel`]: a weight of the plan is not in the model, or has changed since.
    pub fn apply<M: Module>(&self, model: M) -> Result<M, Error> {
        let weights = Weights::of(&model)?;
        for layer in &self.layers {
            let mut found = weights.found.iter();
            let found = found.find(|(path, id, _)| (path, id) == (&layer.path, &layer.id));
            if found.is_none_or(|(.., weight)| !equal(weight, &layer.weight)) {
                return Err(Error::OtherModel {
                    path: layer.path.clone(),
                });
            }
            if let Some(choice) = layer.choice {
                choice.rank(layer.shape[0])?;
            }
        }
        Ok(model.apply_reparameterization(Apply(self)))
    }

    /// Makes the choices that reach a goal.
    ///
    /// # Errors
    /// [`Error::Budget`]
    pub(crate) fn choose(&mut self, goal: &Goal) -> Result<(), Error> {
        let options: Vec<_> = self.layers.iter().map(PlannedLayer::options).collect();
        for (layer, chosen) in self.layers.iter_mut().zip(choose(&options, goal)?) {
            layer.choice = chosen.choice;
        }
        Ok(())
    }
}

fn equal(weight: &Tensor<4>, planned: &Tensor<4>) -> bool {
    weight.dims() == planned.dims()
        && weight.dtype() == planned.dtype()
        && weight.to_data() == planned.to_data()
}

/// Applies a plan.
struct Apply<'a>(&'a Plan);

impl Reparameterizer for Apply<'_> {
    type Reparam = CombinedFilters;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<CombinedFilters>) {
        let planned = self.0.layers.iter().find(|layer| layer.path == path);
        match planned.and_then(|layer| Some((layer, layer.choice?))) {
            Some((layer, choice)) => {
                split(param, &choice, &layer.spectrum).expect("a plan that was checked")
            }
            None => (param, None),
        }
    }
}
