//! LinearConv for the convolutions of any model, by Burn's reparameterizations.

use std::string::String;

use burn::module::{Module, Param, ParamGroup, Reparameterization, Reparameterizer};
use burn::tensor::{Int, Tensor};

use crate::coefficients::{Coefficients, CoefficientsConfig, REPARAMETERIZATION, rows};
use crate::cost::LayerCost;
use crate::error::Error;
use crate::fit::{Choice, Spectrum};
use crate::linear_conv2d::LinearConv2dConfig;

/// Turns the weights of convolutions into primary filters and coefficients that approximate them,
/// in a model that knows nothing of it: the argument of Burn's
/// [`Module::apply_reparameterization`].
///
/// The stored parameter becomes the primary filters, chosen among the given ones; the coefficients
/// stand beside it in records and optimizers. Every forward pass builds the whole kernel, so the
/// architecture stays as it is and its outputs keep their order. [`correlation_loss`],
/// [`coefficient_l1`] and [pruning](crate::pruning) see these layers as they see
/// [`LinearConv2d`](crate::LinearConv2d), which is the way to have them *fast*:
/// [`LinearConv2d::from_reparameterized`](crate::LinearConv2d::from_reparameterized).
/// [`Module::materialize`] gives the dense model back.
///
/// Layers stay dense where LinearConv does not pay ([`LayerCost::pays`](crate::LayerCost::pays)),
/// depthwise ones and those of a single channel, and those too narrow for the ratio or rank. Linear
/// layers, biases and running statistics are left alone. A weight does not show its groups: it is
/// judged as if there were one.
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
    group: ParamGroup,
    min_size: usize,
    all: bool,
    /// The layer whose weight was split last, and its filters.
    last: Option<(String, usize)>,
}

impl LinearConv {
    /// Every convolution for which LinearConv pays, half of its filters primary.
    pub fn new(coefficients: CoefficientsConfig) -> Self {
        Self {
            coefficients,
            primary_ratio: 0.5,
            group: ParamGroup::all(),
            min_size: 0,
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

    /// Only the weights of a group.
    pub fn within(self, group: ParamGroup) -> Self {
        Self { group, ..self }
    }

    /// Only layers of at least this many weights, `channels_out · channels_in / groups · height ·
    /// width`.
    pub fn with_min_size(self, min_size: usize) -> Self {
        Self { min_size, ..self }
    }

    /// Also layers for which it does not pay. Those too narrow for the ratio or rank stay dense.
    pub fn with_all_layers(self) -> Self {
        Self { all: true, ..self }
    }

    /// The primary filters and coefficients for a weight; none where it stays dense.
    pub(crate) fn choice(
        &self,
        [filters, channels, height, width]: [usize; 4],
    ) -> Result<Option<Choice>, Error> {
        let size = filters * channels * height * width;
        let config = LinearConv2dConfig::new([channels, filters], [height, width])
            .with_primary_ratio(self.primary_ratio)
            .with_coefficients(self.coefficients);
        let cost = config.cost_if_wide_enough()?;
        // One channel is the mark of a depthwise convolution; it is a poor one for others, too.
        let worth_it = |cost: &LayerCost| self.all || (channels > 1 && cost.pays());
        let cost = cost.filter(|cost| size >= self.min_size && worth_it(cost));
        Ok(cost.map(|cost| Choice {
            primary: cost.primary,
            coefficients: self.coefficients,
        }))
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
        if path.split('.').any(|name| name == CombinedFilters::NAME) {
            or_panic(Error::Reparameterized { path: path.into() });
        }
        let shape = param.lazy_shape();
        let (layer, name) = path.rsplit_once('.').unwrap_or(("", path));
        if D == 1
            && name == "bias"
            && let Some((_, filters)) = self.last.take_if(|(split, _)| split == layer)
            && shape[0] != filters
        {
            or_panic(Error::NotConv2d {
                path: path.into(),
                biases: shape[0],
                filters,
            });
        }
        if D != 4 || name != "weight" || !self.group.matches(&param.id, Some(path)) {
            return (param, None);
        }
        let shape = shape.dims::<4>();
        let choice = self.choice(shape).unwrap_or_else(|error| or_panic(error));
        let Some(choice) = choice else {
            return (param, None);
        };
        self.last = Some((layer.into(), shape[0]));
        Spectrum::new(path, &rows(param.val()))
            .and_then(|spectrum| split(param, &choice, &spectrum))
            .unwrap_or_else(|error| or_panic(error))
    }
}

/// A parameter as primary filters, and what combines the others from them.
pub(crate) fn split<const D: usize>(
    param: Param<Tensor<D>>,
    choice: &Choice,
    spectrum: &Spectrum,
) -> Result<(Param<Tensor<D>>, Option<CombinedFilters>), Error> {
    let filters = rows(param.val()).detach();
    let split = spectrum.split(&filters, choice.primary, &choice.coefficients)?;
    let trained = param.is_require_grad();
    // Without autodiff nothing is trained yet, and a parameter does not tell whether it will be.
    let frozen = filters.is_autodiff() && !trained;
    let param = param.map(|weight| {
        let mut shape = weight.shape();
        shape[0] = choice.primary;
        split
            .primary
            .clone()
            .detach()
            .reshape(shape)
            .set_require_grad(trained)
    });
    let mut combined = CombinedFilters {
        coefficients: split.coefficients,
        order: Param::initialized(burn::module::ParamId::new(), split.order),
    };
    if frozen {
        combined = combined.no_grad();
    }
    Ok((param, Some(combined)))
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
}

impl Reparameterization for CombinedFilters {
    const NAME: &'static str = REPARAMETERIZATION;

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.coefficients.kernel(base, Some(self.order.val()))
    }
}
