//! The layer in the place of a dense one.

use burn::module::{Param, ParamId};
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use crate::coefficients::rows;
use crate::cost::Evaluation;
use crate::error::Error;
use crate::fit::{Choice, Spectrum};
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
    /// [`Error::Primary`], and those of the coefficients' configuration.
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
        let primary = choice.primary;
        if !(1..filters).contains(&primary) {
            return Err(Error::Primary { primary, filters });
        }
        // A leaf stays one when it is detached; what is computed from it does not.
        let rows = rows(weight).detach();
        let responses = calibration.map(|input| {
            let unbiased = Conv2d {
                bias: None,
                ..conv.clone()
            };
            let output = unbiased.forward(input).detach().swap_dims(0, 1);
            output.flatten::<2>(1, 3)
        });
        let spectrum = Spectrum::new(responses.as_ref().unwrap_or(&rows));
        let split = spectrum.split(&rows, primary, &choice.coefficients)?;
        let rank = choice.coefficients.rank(filters - primary, primary)?;
        let size = [primary, channels, height, width];
        let layer = Self {
            primary: Param::from_tensor(split.primary.reshape(size)),
            coefficients: split.coefficients,
            bias: conv
                .bias
                .as_ref()
                .map(|bias| Param::from_tensor(bias.val().select(0, split.kept).detach())),
            stride: conv.stride,
            kernel_size: conv.kernel_size,
            dilation: conv.dilation,
            groups: conv.groups,
            padding: conv.padding.clone(),
            order: Some(Param::initialized(ParamId::new(), split.order)),
            evaluation: Evaluation::Auto,
        };
        Ok((layer, spectrum.error(primary, rank)))
    }
}
