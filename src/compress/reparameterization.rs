//! LinearConv for the convolutions of any model, by Burn's reparameterizations.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use burn::module::{
    Module, ModuleMapper, Param, ParamGroup, ParamId, Reparameterization, Reparameterizer,
};
use burn::tensor::{Int, Shape, Tensor};

use super::choice::{Choice, worth_replacing};
use super::fit::{Decomposition, Fit, Layer};
use super::plan::PlannedLayer;
use crate::channels::{channel_matrix, expand_channels};
use crate::coefficients::{Coefficients, CoefficientsConfig, REPARAMETERIZATION};
use crate::cost::LayerCost;
use crate::error::Error;
use crate::linear_conv2d::LinearConv2dConfig;

/// Turns the weights of convolutions into primary filters and coefficients that approximate them,
/// in a model that knows nothing of it: the argument of Burn's
/// [`Module::apply_reparameterization`].
///
/// The stored parameter becomes the primary filters of the best approximation of that size; the
/// coefficients stand beside it in records and optimizers. The architecture stays as it is and outputs keep their
/// order. [`correlation_loss`], [`coefficient_l1`] and [pruning](crate::pruning) see these layers as
/// they see [`LinearConv2d`](crate::LinearConv2d). [`Module::materialize`] gives the dense model back.
///
/// A `Conv2d` then builds its whole kernel at every pass: it is small, not fast. A
/// [`Conv`](crate::Conv) runs as the fast layer that
/// [`LinearConv2d::from_reparameterized`](crate::LinearConv2d::from_reparameterized) makes of it.
///
/// Layers stay dense that would not get smaller, tiny ones, those of a single channel, which
/// depthwise ones are, and those too narrow for the ratio or rank. Linear layers, biases and
/// running statistics are left alone.
///
/// A parameter keeps its identity and gets another shape, so start a new optimizer afterwards. The
/// coefficients of a frozen weight are frozen too, if the model is on a device with autodiff; on one
/// without, Burn does not show what is frozen, and they will train.
///
/// Burn shows a reparameterizer a parameter and its path, not the layer around it, and the weight
/// of a transposed convolution looks like that of a convolution; only the length of a bias beside
/// it may tell, and then this panics. For a model that has one, use
/// [`Compression::uniform`](crate::Compression::uniform), which looks at the layers and returns
/// errors in place of panics, or [`within`](Self::within) with
/// [`conv2d_weights`](crate::conv2d_weights).
///
/// # Panics
/// `apply_reparameterization` panics with the message of an [`Error`], on coefficients that no
/// layer could have, on a model that is reparameterized by `LinearConv` already, on weights that
/// are not finite and on those of layers that are no convolutions.
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::Device;
/// use linearconv::{CoefficientsConfig, LinearConv};
///
/// let device = Device::default().autodiff();
/// let model = Conv2dConfig::new([64, 64], [3, 3]).init(&device);
/// let rank_10 = CoefficientsConfig::LowRank { rank: 10 };
///
/// let model = model.apply_reparameterization(LinearConv::new(rank_10));
/// assert_eq!(model.weight.val().dims(), [64, 64, 3, 3]);
/// assert_eq!(model.weight.base().dims(), [32, 64, 3, 3]);
///
/// let dense = model.valid().materialize();
/// assert_eq!(dense.num_params(), 64 * 64 * 9 + 64);
/// ```
///
/// [`correlation_loss`]: crate::correlation_loss
/// [`coefficient_l1`]: crate::coefficient_l1
#[derive(Clone, Debug)]
pub struct LinearConv {
    coefficients: CoefficientsConfig,
    primary_ratio: f64,
    channel_ratio: f64,
    group: ParamGroup,
    min_size: usize,
    all: bool,
    /// The weight that was seen last.
    last: Option<Seen>,
}

/// A weight of four dimensions.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    filters: usize,
    split: bool,
}

impl LinearConv {
    /// Every convolution that LinearConv makes smaller, half of its filters primary; but none of a
    /// single channel, nor a tiny one, of fewer than 1024 weights.
    pub fn new(coefficients: CoefficientsConfig) -> Self {
        Self {
            coefficients,
            primary_ratio: 0.5,
            channel_ratio: 1.0,
            group: ParamGroup::all(),
            min_size: 1024,
            all: false,
            last: None,
        }
    }

    /// Another share of primary filters.
    pub fn with_primary_ratio(self, primary_ratio: f64) -> Self {
        Self {
            primary_ratio,
            ..self
        }
    }

    /// Primary filters of a share of the channels, onto which the other channels are added. A
    /// weight does not show its groups: name the ungrouped ones by [`within`](Self::within), or use
    /// [`Compression::like`](crate::Compression::like), which knows them.
    pub fn with_channel_ratio(self, channel_ratio: f64) -> Self {
        Self {
            channel_ratio,
            ..self
        }
    }

    /// Only the weights of a group.
    pub fn within(self, group: ParamGroup) -> Self {
        Self { group, ..self }
    }

    /// Only layers of at least this many weights, `channels_out · channels_in / groups · height ·
    /// width`, in place of 1024.
    pub fn with_min_size(self, min_size: usize) -> Self {
        Self { min_size, ..self }
    }

    /// Also layers that do not get smaller, of whatever size. Those too narrow for the ratio or
    /// rank stay dense.
    pub fn with_all_layers(self) -> Self {
        Self {
            all: true,
            min_size: 0,
            ..self
        }
    }

    /// The primary filters and coefficients for a weight; none where it stays dense.
    fn choice_for(
        &self,
        shape @ [filters, channels, height, width]: [usize; 4],
    ) -> Result<Option<Choice>, Error> {
        let size: usize = shape.iter().product();
        let config = LinearConv2dConfig::new([channels, filters], [height, width])
            .with_primary_ratio(self.primary_ratio)
            .with_channel_ratio(self.channel_ratio)
            .with_coefficients(self.coefficients);
        let cost = config.cost_if_wide_enough()?;
        let worth_it = |cost: &LayerCost| self.all || worth_replacing(shape, cost);
        let cost = cost.filter(|cost| size >= self.min_size && worth_it(cost));
        Ok(cost.map(|cost| Choice {
            primary: cost.primary,
            primary_channels: (cost.secondary_channels > 0).then_some(cost.primary_channels),
            coefficients: self.coefficients,
        }))
    }

    /// The same for a layer of a plan; none also where the layer's groups forbid it.
    ///
    /// # Errors
    /// Those of the configuration, where no layer could have it.
    pub(super) fn choice(&self, layer: &PlannedLayer) -> Result<Option<Choice>, Error> {
        let choice = self.choice_for(layer.shape())?;
        Ok(choice.filter(|_| layer.reason().is_none()))
    }
}

impl Reparameterizer for LinearConv {
    type Reparam = CombinedFilters;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<CombinedFilters>) {
        let or_panic = |error: Error| -> ! { panic!("{path}: {error}") };
        let shape = param.lazy_shape();
        if let Some(last) = &self.last {
            last.check(path, &shape)
                .unwrap_or_else(|error| or_panic(error));
        }
        let name = path.rsplit('.').next();
        if D != 4 || name != Some("weight") || !self.group.matches(&param.id, Some(path)) {
            return (param, None);
        }
        let shape = shape.dims::<4>();
        let choice = self
            .choice_for(shape)
            .unwrap_or_else(|error| or_panic(error));
        self.last = Some(Seen {
            path: path.into(),
            filters: shape[0],
            split: choice.is_some(),
        });
        let Some(choice) = choice else {
            return (param, None);
        };
        let weight = param.val().reshape(shape);
        let fit = choice.cost(shape, 1).and_then(|cost| {
            let decomposition = Decomposition::new(Layer {
                path,
                weight: &weight,
                patches: None,
                bias: None,
                norm: None,
            })?;
            Ok(decomposition.fit(&choice, &cost))
        });
        split(param, &fit.unwrap_or_else(|error| or_panic(error)))
    }
}

impl Seen {
    /// What the parameter that comes after the weight tells of it.
    ///
    /// # Errors
    /// - [`Error::Reparameterized`]: it belongs to a reparameterization of the weight.
    /// - [`Error::NotConv2d`]: it is a bias of another length.
    fn check(&self, path: &str, shape: &Shape) -> Result<(), Error> {
        let inside = path.strip_prefix(&*self.path);
        if let Some(inside) = inside.and_then(|inside| inside.strip_prefix('.'))
            && let Some(name) = inside.split('.').next()
            && (self.split || name == CombinedFilters::NAME)
        {
            return Err(Error::Reparameterized {
                path: self.path.clone(),
                name: name.into(),
            });
        }
        let layer = self.path.strip_suffix("weight").unwrap_or_default();
        if self.split && path.strip_prefix(layer) == Some("bias") && shape[0] != self.filters {
            return Err(Error::NotConv2d {
                path: path.into(),
                biases: shape[0],
                filters: self.filters,
            });
        }
        Ok(())
    }
}

/// A parameter as primary filters, and what combines the others from them.
fn split<const D: usize>(
    param: Param<Tensor<D>>,
    fit: &Fit,
) -> (Param<Tensor<D>>, Option<CombinedFilters>) {
    let (trained, frozen) = (param.is_require_grad(), is_frozen(&param));
    let param = param.map(|_| {
        let shape = fit.primary.shape();
        let primary = fit.primary.clone().reshape(shape);
        primary.set_require_grad(trained)
    });
    let mut combined = CombinedFilters::of(fit);
    if frozen {
        combined = combined.no_grad();
    }
    (param, Some(combined))
}

/// The model with fits in the place of the weights at their paths, and with what they move in the
/// biases.
pub(super) fn put_in_place<M: Module>(model: M, fits: &BTreeMap<String, Fit>) -> M {
    let model = model.apply_reparameterization(PutInPlace(fits));
    model.map(&mut MoveBiases {
        fits,
        path: Vec::new(),
    })
}

struct PutInPlace<'a>(&'a BTreeMap<String, Fit>);

impl Reparameterizer for PutInPlace<'_> {
    type Reparam = CombinedFilters;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<CombinedFilters>) {
        match self.0.get(path) {
            Some(fit) => split(param, fit),
            None => (param, None),
        }
    }
}

struct MoveBiases<'a> {
    fits: &'a BTreeMap<String, Fit>,
    path: Vec<String>,
}

impl ModuleMapper for MoveBiases<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((field, layer)) = self.path.split_last() else {
            return param;
        };
        let weight = layer.iter().map(String::as_str).chain(["weight"]);
        let weight = weight.collect::<Vec<_>>().join(".");
        match self.fits.get(&weight) {
            Some(fit) if field == "bias" => fit.move_bias(param),
            _ => param,
        }
    }
}

/// Whether a parameter is known to stay as it is. Without autodiff nothing is trained yet, and a
/// parameter does not tell whether it will be.
pub(crate) fn is_frozen<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    param.base().is_autodiff() && !param.is_require_grad()
}

/// What [`LinearConv`] puts beside the weight of a convolution, which then holds primary filters:
/// the coefficients of the others, and the order of all.
#[derive(Module, Debug)]
pub struct CombinedFilters {
    /// Coefficients of the secondary filters.
    pub coefficients: Coefficients,
    /// Filter `i` of the weight is filter `order[i]` of the primary and the secondary ones,
    /// `[channels_out]`.
    pub order: Param<Tensor<1, Int>>,
    /// Coefficients that add the other channels onto the primary ones, `[s, channels_in - s]`;
    /// absent where all channels are primary.
    pub channel_coefficients: Option<Param<Tensor<2>>>,
    /// Input channel `i` is channel `channel_order[i]` of the primary and the other ones.
    pub channel_order: Option<Param<Tensor<1, Int>>>,
}

impl CombinedFilters {
    pub(super) fn of(fit: &Fit) -> Self {
        let order = |order: &Tensor<1, Int>| Param::initialized(ParamId::new(), order.clone());
        let channels = fit.channels.as_ref();
        Self {
            coefficients: fit.coefficients(),
            order: order(&fit.order),
            channel_coefficients: channels
                .map(|(coefficients, _)| Param::from_tensor(coefficients.clone())),
            channel_order: channels.map(|(_, channels)| order(channels)),
        }
    }
}

impl Reparameterization for CombinedFilters {
    const NAME: &'static str = REPARAMETERIZATION;

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let filters = self.coefficients.kernel(base, Some(self.order.val()));
        match &self.channel_coefficients {
            Some(coefficients) => {
                let matrix = channel_matrix(coefficients, self.channel_order.as_ref());
                expand_channels(filters, matrix)
            }
            None => filters,
        }
    }
}
