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

/// Replaces the weights of convolutions by primary filters and coefficients that approximate them,
/// in any model: the argument of Burn's [`Module::apply_reparameterization`].
///
/// The stored parameter becomes the primary filters, by a truncated singular value decomposition.
/// The coefficients stand beside it in records and optimizers. The architecture stays as it is, and
/// outputs keep their order. [`correlation_loss`], [`coefficient_l1`] and [pruning](crate::pruning)
/// treat such a layer as a [`LinearConv2d`](crate::LinearConv2d). [`Module::materialize`] makes the
/// model dense again.
///
/// A `Conv2d` builds its whole kernel at every pass: it is small, not fast. A [`Conv`](crate::Conv)
/// runs as the fast layer that
/// [`LinearConv2d::from_reparameterized`](crate::LinearConv2d::from_reparameterized) makes of it.
///
/// A layer stays dense if it would not get smaller, if it has fewer than 1024 weights, if its
/// filters have a single channel (as in a depthwise convolution), or if it is too narrow for the
/// ratio or rank. Linear layers, biases and running statistics stay as they are.
///
/// A parameter keeps its id and gets another shape, so start a new optimizer afterwards. The
/// coefficients of a frozen weight are frozen too, if the model is on a device with autodiff.
/// Without autodiff, Burn does not show which parameters are frozen, and all coefficients will
/// train.
///
/// Burn shows a reparameterizer a parameter and its path, but not the layer around it. The weight
/// of a transposed convolution looks like the weight of a convolution. If the length of the bias
/// shows the difference, `apply_reparameterization` panics; otherwise the weight is split wrongly.
/// For a model with transposed convolutions, use
/// [`Compression::uniform`](crate::Compression::uniform), which looks at the layers and returns
/// errors, or [`within`](Self::within) with [`conv2d_weights`](crate::conv2d_weights).
///
/// # Panics
/// `apply_reparameterization` panics with the message of an [`Error`]:
/// - [`Error::PrimaryRatio`], [`Error::ChannelRatio`], [`Error::Rank`], [`Error::RankRatio`],
///   [`Error::Sparsity`]: a setting that no layer can have.
/// - [`Error::Reparameterized`]: a weight is split by `LinearConv` already.
/// - [`Error::NotFinite`]: a weight is infinite or NaN.
/// - [`Error::NotConv2d`]: the bias beside a weight shows that the layer is not a convolution.
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
    /// The weight that was visited last.
    last: Option<Seen>,
}

/// A weight with four dimensions.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    filters: usize,
    split: bool,
}

impl LinearConv {
    /// Splits every convolution that gets smaller by it, with half of the filters primary and all
    /// channels primary. Convolutions with single-channel filters or fewer than 1024 weights stay
    /// dense.
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

    /// Sets the ratio of primary filters, in place of 0.5:
    /// `m = floor(primary_ratio · channels_out)`.
    pub fn with_primary_ratio(self, primary_ratio: f64) -> Self {
        Self {
            primary_ratio,
            ..self
        }
    }

    /// Sets the ratio of primary channels, in place of 1. The secondary channels are added to the
    /// primary channels. A weight does not show its groups, and a grouped convolution cannot
    /// combine channels. Name the ungrouped weights by [`within`](Self::within), or use
    /// [`Compression::like`](crate::Compression::like), which knows the groups.
    pub fn with_channel_ratio(self, channel_ratio: f64) -> Self {
        Self {
            channel_ratio,
            ..self
        }
    }

    /// Splits only the weights of this group.
    pub fn within(self, group: ParamGroup) -> Self {
        Self { group, ..self }
    }

    /// Splits only layers with at least this many weights, in place of 1024. The weights of a layer
    /// are `channels_out · channels_in / groups · height · width`.
    pub fn with_min_size(self, min_size: usize) -> Self {
        Self { min_size, ..self }
    }

    /// Also splits layers that do not get smaller, of any size. Layers that are too narrow for the
    /// ratio or rank stay dense.
    pub fn with_all_layers(self) -> Self {
        Self {
            all: true,
            min_size: 0,
            ..self
        }
    }

    /// The choice for a weight of this shape; `None` where it stays dense.
    ///
    /// # Errors
    /// The errors of the configuration, where no layer can have it.
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

    /// The choice for a layer of a plan; `None` also where the layer has a reason to stay dense.
    ///
    /// # Errors
    /// The errors of the configuration, where no layer can have it.
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
                seen: None,
                bias: None,
                norm: None,
            })?;
            Ok(decomposition.fit(&choice, &cost))
        });
        split(param, &fit.unwrap_or_else(|error| or_panic(error)))
    }
}

impl Seen {
    /// Checks what the next parameter tells about this weight.
    ///
    /// # Errors
    /// - [`Error::Reparameterized`]: the parameter belongs to a reparameterization of the weight.
    /// - [`Error::NotConv2d`]: the parameter is a bias with another length than the number of
    ///   filters.
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

/// Splits a parameter into primary filters and what combines the secondary filters from them.
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

/// The model with these fits in the place of the weights at their paths. The biases are moved too.
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

/// Whether a parameter is known to be frozen. Without autodiff nothing is trained yet, and a
/// parameter does not tell whether it will be trained.
pub(crate) fn is_frozen<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    param.base().is_autodiff() && !param.is_require_grad()
}

/// What [`LinearConv`] puts beside the weight of a convolution, which then holds the primary
/// filters: the coefficients, and the order of filters and channels.
#[derive(Module, Debug)]
pub struct CombinedFilters {
    /// Coefficients `A` of the secondary filters, `[n, m]` as a [matrix](Coefficients::matrix).
    pub coefficients: Coefficients,
    /// Filter `i` of the weight is filter `order[i]` of the primary and then the secondary filters,
    /// `[channels_out]`.
    pub order: Param<Tensor<1, Int>>,
    /// Coefficients `B` that add the secondary channels to the primary channels,
    /// `[s, channels_in - s]`; `None` where all channels are primary.
    pub channel_coefficients: Option<Param<Tensor<2>>>,
    /// Input channel `i` is channel `channel_order[i]` of the primary and then the secondary
    /// channels, `[channels_in]`; `None` where all channels are primary.
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
