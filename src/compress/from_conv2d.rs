//! A [`LinearConv2d`] in the place of a dense convolution.

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
    /// Fits a layer to a dense convolution, trained or not. Returns the layer and its relative
    /// error: the norm of the difference over the norm of the original. It is the error of the
    /// filters or, given a calibration batch of inputs, of the outputs without bias. The outputs
    /// keep their order.
    ///
    /// With full coefficients and all channels primary, no filters of rank `primary` have a smaller
    /// error: the new filters are the truncated singular value decomposition of the old filters
    /// (Eckart-Young). Some well-conditioned rows of it become the primary filters, and combine to
    /// all other rows exactly. Given a calibration batch, the decomposed matrix is that of the
    /// outputs, and the bias makes up for the mean of the lost outputs.
    ///
    /// # Shapes
    /// - calibration: `[batch_size, channels_in, height_in, width_in]`
    ///
    /// # Errors
    /// - [`Error::Primary`], [`Error::PrimaryChannels`], [`Error::Rank`], [`Error::RankRatio`],
    ///   [`Error::Sparsity`]: the layer cannot have this choice.
    /// - [`Error::NotFinite`]: a filter, or one of its outputs, is infinite or NaN.
    /// - [`Error::TooFewResponses`]: the calibration batch has fewer output pixels than there are
    ///   filters.
    /// - [`Error::GroupedResponses`]: there is a calibration batch, and the convolution has several
    ///   groups.
    ///
    /// # Panics
    /// Panics on a calibration batch with another number of channels than the layer, or smaller
    /// than the kernel.
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
            seen: None,
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

    /// The layer for a convolution whose weight [`LinearConv`](crate::LinearConv) has split. It has
    /// the same parameters, without another fit. It is fast where `groups = 1`, because it can
    /// combine feature maps in place of filters. `None` for a dense convolution.
    ///
    /// Its record holds the [order](Self::order) of its outputs, which a layer from
    /// [`LinearConv2dConfig`](crate::LinearConv2dConfig) does not have. Load the record into a
    /// layer that was made in the same way.
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
    /// // Fine-tune the model, and then:
    /// let layer = LinearConv2d::from_reparameterized(&conv).unwrap();
    /// assert_eq!(layer.cost().parameters(), conv.num_params());
    /// ```
    pub fn from_reparameterized(conv: &Conv2d) -> Option<Self> {
        let combined = conv.weight.reparameterization::<CombinedFilters>()?;
        // `map` drops the reparameterization and keeps the other properties of the parameter.
        let primary = conv.weight.clone().map(|base| base);
        Some(Self::in_place_of(conv, primary, combined.clone()))
    }

    /// A layer with the geometry and bias of a dense convolution, and these filters.
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
