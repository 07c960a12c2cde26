//! The layer in the place of a dense one.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use super::activations::all_patches;
use super::choice::Choice;
use super::fit::{Decomposition, Layer};
use super::reparameterization::{CombinedFilters, is_frozen};
use crate::cost::Evaluation;
use crate::error::Error;
use crate::linear_conv2d::LinearConv2d;

impl LinearConv2d {
    /// The layer that approximates a dense one, trained or not, and the error it makes: the norm
    /// of the difference over the norm, of the filters or, given a calibration batch of the
    /// layer's inputs, of its outputs without bias. The outputs keep their order.
    ///
    /// With full coefficients of all channels the error is the least that filters of rank `primary`
    /// can have: the filters are a truncated singular value decomposition (Eckart-Young), of which
    /// well-conditioned rows are the primary filters and combine to all others exactly. Given a
    /// calibration batch, a bias makes up for the mean of what is lost.
    ///
    /// # Errors
    /// [`Error::Primary`], [`Error::PrimaryChannels`], those of the coefficients' configuration,
    /// [`Error::NotFinite`], and for
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
    /// let half = Choice::new(4, CoefficientsConfig::Full);
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
        let cost = choice.cost(weight.dims(), conv.groups)?;
        let patches = calibration.map(|input| all_patches(conv, input));
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        let fit = Decomposition::new(Layer {
            path: "weight",
            weight: &weight,
            patches: patches.transpose()?.as_ref(),
            bias: bias.as_ref(),
            norm: None,
        })?
        .fit(&choice, &cost);
        let mut primary = Param::from_tensor(fit.primary.clone());
        let mut combined = CombinedFilters::of(&fit);
        if is_frozen(&conv.weight) {
            primary = primary.no_grad();
            combined = combined.no_grad();
        }
        let mut layer = Self::in_place_of(conv, primary, combined);
        layer.bias = layer.bias.map(|bias| fit.move_bias(bias));
        Ok((layer, fit.error))
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
        Some(Self::in_place_of(conv, primary, combined.clone()))
    }

    /// The geometry and bias of a dense layer, and other filters.
    fn in_place_of(
        conv: &Conv2d,
        primary: Param<Tensor<4>>,
        CombinedFilters {
            coefficients,
            order,
            channel_coefficients,
            channel_order,
        }: CombinedFilters,
    ) -> Self {
        Self {
            primary,
            coefficients,
            channel_coefficients,
            channel_order,
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
