//! LinearConv for the convolutions of any model, by Burn's reparameterizations.

use std::string::String;

use burn::module::{Module, Param, ParamGroup, ParamId, Reparameterization, Reparameterizer};
use burn::tensor::{Int, Shape, Tensor};

use super::choice::{Choice, worth_replacing};
use super::decomposition::Spectrum;
use crate::coefficients::{Coefficients, CoefficientsConfig, REPARAMETERIZATION, rows};
use crate::cost::LayerCost;
use crate::error::Error;
use crate::linear_conv2d::LinearConv2dConfig;

/// Turns the weights of convolutions into primary filters and coefficients that approximate them,
/// in a model that knows nothing of it: the argument of Burn's
/// [`Module::apply_reparameterization`].
///
/// The stored parameter becomes the primary filters, chosen among the given ones; the coefficients
/// stand beside it in records and optimizers. The architecture stays as it is and outputs keep their
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
    pub(crate) fn choice(
        &self,
        [filters, channels, height, width]: [usize; 4],
    ) -> Result<Option<Choice>, Error> {
        let shape = [filters, channels, height, width];
        let size: usize = shape.iter().product();
        let config = LinearConv2dConfig::new([channels, filters], [height, width])
            .with_primary_ratio(self.primary_ratio)
            .with_coefficients(self.coefficients);
        let cost = config.cost_if_wide_enough()?;
        let worth_it = |cost: &LayerCost| self.all || worth_replacing(shape, cost);
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
        let choice = self.choice(shape).unwrap_or_else(|error| or_panic(error));
        self.last = Some(Seen {
            path: path.into(),
            filters: shape[0],
            split: choice.is_some(),
        });
        let Some(choice) = choice else {
            return (param, None);
        };
        Spectrum::new(path, &rows(param.val()), None)
            .and_then(|spectrum| split(param, &choice, &spectrum))
            .unwrap_or_else(|error| or_panic(error))
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
pub(crate) fn split<const D: usize>(
    param: Param<Tensor<D>>,
    choice: &Choice,
    spectrum: &Spectrum,
) -> Result<(Param<Tensor<D>>, Option<CombinedFilters>), Error> {
    let filters = rows(param.val()).detach();
    let split = spectrum.split(&filters, choice)?;
    let (trained, frozen) = (param.is_require_grad(), is_frozen(&param));
    let param = param.map(|weight| {
        let mut shape = weight.shape();
        shape[0] = choice.primary;
        let primary = split.primary.detach().reshape(shape);
        primary.set_require_grad(trained)
    });
    let mut combined = CombinedFilters {
        coefficients: split.coefficients,
        order: Param::initialized(ParamId::new(), split.order),
    };
    if frozen {
        combined = combined.no_grad();
    }
    Ok((param, Some(combined)))
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
}

impl Reparameterization for CombinedFilters {
    const NAME: &'static str = REPARAMETERIZATION;

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.coefficients.kernel(base, Some(self.order.val()))
    }
}
