//! The layer in the place of a dense one.

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::Conv2d;
use burn::tensor::{Int, Tensor};

use super::activations::try_responses;
use super::choice::Choice;
use super::decomposition::Spectrum;
use super::reparameterization::{CombinedFilters, is_frozen};
use crate::coefficients::{Coefficients, rows};
use crate::cost::Evaluation;
use crate::error::Error;
use crate::linear_conv2d::LinearConv2d;

impl LinearConv2d {
    /// The layer that approximates a dense one, trained or not, and the error it makes: the norm
    /// of the difference over the norm, of the filters or, given a calibration batch of the
    /// layer's inputs, of its outputs without bias, whose error is then the least.
    ///
    /// Primary filters are chosen among the given ones, by a QR decomposition with pivoting. The
    /// outputs keep their order.
    ///
    /// # Errors
    /// [`Error::Primary`], those of the coefficients' configuration, [`Error::NotFinite`], and for
    /// a calibration batch [`Error::TooFewResponses`] where it has fewer output pixels than there
    /// are filters, and [`Error::GroupedResponses`].
    ///
    /// # Panics
    /// Panics if the calibration batch is no input of the layer.
    ///
    /// # Example
    /// ```
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use linearconv::{Choice, CoefficientsConfig, LinearConv2d};
    ///
    /// let device = Device::default();
    /// let dense = Conv2dConfig::new([4, 8], [3, 3]).init(&device);
    /// let half = Choice { primary: 4, coefficients: CoefficientsConfig::Full };
    /// let (layer, error) = LinearConv2d::from_conv2d(&dense, half, None).unwrap();
    /// assert!(error > 0.0 && error < 1.0);
    /// assert_eq!(layer.forward(Tensor::zeros([1, 4, 9, 9], &device)).dims(), [1, 8, 7, 7]);
    /// ```
    pub fn from_conv2d(
        conv: &Conv2d,
        choice: Choice,
        calibration: Option<Tensor<4>>,
    ) -> Result<(Self, f64), Error> {
        let weight = conv.weight.val();
        let [filters, channels, height, width] = weight.dims();
        let rank = choice.rank(filters)?;
        // A leaf stays one when it is detached; what is computed from it does not.
        let rows = rows(weight).detach();
        let responses = calibration.map(|input| try_responses(conv, input));
        let spectrum = Spectrum::new("weight", &rows, responses.transpose()?.as_ref())?;
        let split = spectrum.split(&rows, &choice)?;
        let size = [choice.primary, channels, height, width];
        let mut filters = Param::from_tensor(split.primary.reshape(size));
        let mut coefficients = split.coefficients;
        if is_frozen(&conv.weight) {
            filters = filters.no_grad();
            coefficients = coefficients.no_grad();
        }
        let order = Param::initialized(ParamId::new(), split.order);
        let layer = Self::in_place_of(conv, filters, coefficients, order);
        Ok((layer, spectrum.error(choice.primary, rank)))
    }

    /// The layer that computes what a convolution does whose weight
    /// [`LinearConv`](crate::LinearConv) has split: of the same parameters, without another fit,
    /// and fast where `groups = 1`, since it can combine feature maps in place of filters. None for
    /// a dense convolution.
    ///
    /// Its record holds the [order](Self::order) of its outputs, which a layer by
    /// [`LinearConv2dConfig`](crate::LinearConv2dConfig) does not have: load it into a layer that
    /// was made in the same way.
    ///
    /// # Example
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::Device;
    /// use linearconv::{CoefficientsConfig, LinearConv, LinearConv2d};
    ///
    /// let device = Device::default();
    /// let conv = Conv2dConfig::new([64, 64], [3, 3]).init(&device);
    /// let conv = conv.apply_reparameterization(LinearConv::new(CoefficientsConfig::Full));
    /// // Fine-tuned, and then:
    /// let layer = LinearConv2d::from_reparameterized(&conv).unwrap();
    /// assert_eq!(layer.cost().parameters(), conv.num_params());
    /// ```
    pub fn from_reparameterized(conv: &Conv2d) -> Option<Self> {
        let combined = conv.weight.reparameterization::<CombinedFilters>()?;
        // Mapping drops the reparameterization and keeps what the parameter is otherwise.
        let primary = conv.weight.clone().map(|base| base);
        let CombinedFilters {
            coefficients,
            order,
        } = combined.clone();
        Some(Self::in_place_of(conv, primary, coefficients, order))
    }

    /// The geometry and bias of a dense layer, and other filters, in the given order.
    fn in_place_of(
        conv: &Conv2d,
        primary: Param<Tensor<4>>,
        coefficients: Coefficients,
        order: Param<Tensor<1, Int>>,
    ) -> Self {
        Self {
            primary,
            coefficients,
            bias: conv.bias.clone(),
            stride: conv.stride,
            kernel_size: conv.kernel_size,
            dilation: conv.dilation,
            groups: conv.groups,
            padding: conv.padding.clone(),
            order: Some(order),
            evaluation: Evaluation::Auto,
        }
    }
}
