use burn::config::Config;
#[cfg(feature = "std")]
use burn::module::ParamId;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use crate::coefficients::CoefficientsConfig;
#[cfg(feature = "fit")]
use crate::compress::{is_watched, record};
use crate::convolution::{conv2d, options};
use crate::cost::LayerCost;
use crate::epilogue::Epilogue;
use crate::error::Error;
use crate::linear_conv2d::{LinearConv2d, LinearConv2dConfig, check_geometry};
#[cfg(feature = "std")]
use crate::packed_conv::{NO_WEIGHTS, PackedConv};

/// The kind of convolution that a model uses: dense, or a variant of LinearConv. The code of the
/// model is the same for all kinds. Burn's `NormalizationConfig` does this for normalization layers.
///
/// A model takes one `ConvConfig`, its policy. [`with_layer`](Self::with_layer) adapts the policy
/// to each layer.
///
/// ```
/// use burn::nn::{PaddingConfig2d, conv::Conv2dConfig};
/// use burn::tensor::Device;
/// use linearconv::{Conv, CoefficientsConfig, ConvConfig};
///
/// fn stem(policy: &ConvConfig, device: &Device) -> Conv {
///     let layer = Conv2dConfig::new([3, 64], [3, 3]).with_padding(PaddingConfig2d::Same);
///     policy.with_layer(layer).init(device)
/// }
///
/// let device = Device::default();
/// let dense = stem(&ConvConfig::dense(), &device);
/// let low_rank = stem(&ConvConfig::linear(CoefficientsConfig::LowRank { rank: 10 }), &device);
/// assert_eq!(dense.cost().parameters(), 64 * 27 + 64);
/// assert_eq!(low_rank.cost().parameters(), 32 * 27 + 10 * (32 + 32) + 64);
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub enum ConvConfig {
    /// Burn's [`Conv2d`].
    Dense(Conv2dConfig),
    /// [`LinearConv2d`].
    Linear(LinearConv2dConfig),
    /// [`LinearConv2d`] where this pays ([`LayerCost::pays`]), Burn's [`Conv2d`] elsewhere.
    ///
    /// It pays if the layer has fewer parameters than the dense layer, and if the layer is expected
    /// to be faster. Grouped convolutions stay dense, depthwise convolutions too. A layer that is
    /// too narrow for the ratio or the rank stays dense. With full coefficients and the default
    /// ratios, other layers stay dense too: for example a 3×3 convolution from 3 to 64 channels,
    /// and a 1×1 convolution with twice as many output channels as input channels.
    Auto(LinearConv2dConfig),
}

impl ConvConfig {
    /// The policy of dense convolutions, with Burn's defaults.
    pub fn dense() -> Self {
        Self::Dense(Conv2dConfig::new([0, 0], [0, 0]))
    }

    /// The policy of LinearConv layers, with the given coefficients. All else has its default.
    pub fn linear(coefficients: CoefficientsConfig) -> Self {
        Self::Linear(LinearConv2dConfig::new([0, 0], [0, 0]).with_coefficients(coefficients))
    }

    /// The policy [`Auto`](Self::Auto), with the given coefficients. All else has its default.
    ///
    /// ```
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::Device;
    /// use linearconv::{CoefficientsConfig, Conv, ConvConfig};
    ///
    /// let device = Device::default();
    /// let auto = ConvConfig::auto(CoefficientsConfig::Full);
    /// let wide = auto.with_layer(Conv2dConfig::new([64, 64], [3, 3]));
    /// assert!(matches!(wide.init(&device), Conv::Linear(_)));
    /// // A depthwise layer has 64×9 weights; the 32×32 coefficients alone would be more.
    /// let depthwise = auto.with_layer(Conv2dConfig::new([64, 64], [3, 3]).with_groups(64));
    /// assert!(matches!(depthwise.init(&device), Conv::Dense(_)));
    /// ```
    pub fn auto(coefficients: CoefficientsConfig) -> Self {
        Self::Auto(LinearConv2dConfig::new([0, 0], [0, 0]).with_coefficients(coefficients))
    }

    /// This policy for the given layer.
    ///
    /// The layer gives the channels, kernel size, stride, dilation, groups, padding and bias. The
    /// policy gives the initializer, ratios, coefficients and evaluation. A layer that
    /// [`Auto`](Self::Auto) leaves dense has Burn's default initializer. All input channels are
    /// primary in a grouped layer, and in a layer of at most 4 input channels, which is taken for
    /// a layer that reads images.
    pub fn with_layer(&self, layer: Conv2dConfig) -> Self {
        match self.clone() {
            Self::Dense(policy) => Self::Dense(Conv2dConfig {
                initializer: policy.initializer,
                ..layer
            }),
            Self::Linear(policy) => Self::Linear(with_geometry(policy, layer)),
            Self::Auto(policy) => Self::Auto(with_geometry(policy, layer)),
        }
    }

    /// Initializes the layer.
    ///
    /// # Panics
    /// Panics with the message of the error that [`try_init`](Self::try_init) returns.
    pub fn init(&self, device: &Device) -> Conv {
        self.try_init(device)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Initializes the layer, or returns what is wrong with its configuration.
    ///
    /// # Errors
    /// - LinearConv: the errors of [`LinearConv2dConfig::try_init`].
    /// - Dense: [`Error::ZeroSize`] and [`Error::Groups`]. Burn's `Conv2dConfig::init` would panic,
    ///   or build a layer that cannot run.
    /// - Auto: the errors of [`LinearConv2dConfig::cost`]. A layer that is only too narrow is no
    ///   error, and stays dense.
    pub fn try_init(&self, device: &Device) -> Result<Conv, Error> {
        match self {
            Self::Dense(config) => {
                check_geometry(
                    config.channels,
                    config.kernel_size,
                    config.stride,
                    config.dilation,
                    config.groups,
                )?;
                Ok(Conv::Dense(config.init(device)))
            }
            Self::Linear(config) => config.try_init(device).map(Conv::Linear),
            Self::Auto(config) => match config.cost_if_wide_enough()? {
                Some(cost) if cost.pays() => config.try_init(device).map(Conv::Linear),
                _ => Self::Dense(dense_twin(config)).try_init(device),
            },
        }
    }
}

/// An input of at most this many channels is taken for an image. Its channels are not combined:
/// that would lose colours, and save little in a layer that has few weights.
pub(crate) const IMAGE_CHANNELS: usize = 4;

fn with_geometry(policy: LinearConv2dConfig, layer: Conv2dConfig) -> LinearConv2dConfig {
    LinearConv2dConfig {
        channels: layer.channels,
        kernel_size: layer.kernel_size,
        stride: layer.stride,
        dilation: layer.dilation,
        groups: layer.groups,
        padding: layer.padding,
        bias: layer.bias,
        channel_ratio: if layer.groups > 1 || layer.channels[0] <= IMAGE_CHANNELS {
            1.0
        } else {
            policy.channel_ratio
        },
        ..policy
    }
}

fn dense_twin(config: &LinearConv2dConfig) -> Conv2dConfig {
    Conv2dConfig::new(config.channels, config.kernel_size)
        .with_stride(config.stride)
        .with_dilation(config.dilation)
        .with_groups(config.groups)
        .with_padding(config.padding.clone())
        .with_bias(config.bias)
}

impl From<Conv2dConfig> for ConvConfig {
    fn from(config: Conv2dConfig) -> Self {
        Self::Dense(config)
    }
}

impl From<LinearConv2dConfig> for ConvConfig {
    fn from(config: LinearConv2dConfig) -> Self {
        Self::Linear(config)
    }
}

/// A convolution of any kind. It takes the place of Burn's [`Conv2d`] in a model. [`ConvConfig`]
/// creates it.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a Box is not a Module")]
#[non_exhaustive]
pub enum Conv {
    /// Burn's dense convolution.
    Dense(Conv2d),
    /// A LinearConv layer.
    Linear(LinearConv2d),
    /// A convolution of a model that is made for [`Inference`](crate::Inference).
    #[cfg(feature = "std")]
    Packed(PackedConv),
}

impl Conv {
    /// Applies the convolution.
    ///
    /// A dense convolution runs by [`conv2d`]. A dense convolution that
    /// [`LinearConv`](crate::LinearConv) reparameterized runs as a [`LinearConv2d`].
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    ///
    /// # Panics
    /// As [`conv2d`] and [`LinearConv2d::forward`]. A convolution that is made for inference panics
    /// as [`Inference`](crate::Inference) says.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "fit")]
        let watched = is_watched().then(|| input.clone());
        let output = match self {
            Self::Dense(conv) => match reparameterized(conv) {
                Some(layer) => layer.forward(input),
                None => dense_forward(conv, input),
            },
            Self::Linear(conv) => conv.forward(input),
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.forward_with(input, Epilogue::new()),
        };
        #[cfg(feature = "fit")]
        if let Some(input) = watched {
            record(self, input, output.dims());
        }
        output
    }

    /// Applies the convolution, then the steps of the epilogue.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`; a pool makes the last two
    ///   smaller
    ///
    /// # Panics
    /// As [`forward`](Self::forward). Also if the normalization or the shortcut does not fit the
    /// shape of the convolution's output.
    pub fn forward_with(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        match self {
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.forward_with(input, epilogue),
            conv => epilogue.apply(conv.forward(input)),
        }
    }

    /// The parameter id of the weight, or of the primary filters.
    #[cfg(feature = "std")]
    pub(crate) fn id(&self) -> ParamId {
        match self {
            Self::Dense(conv) => conv.weight.id,
            Self::Linear(conv) => conv.primary.id,
            Self::Packed(conv) => conv.id(),
        }
    }

    /// The device of the weights. Lazy weights are not initialized.
    #[cfg(feature = "std")]
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Dense(conv) => conv.weight.lazy_device(),
            Self::Linear(conv) => conv.primary.lazy_device(),
            Self::Packed(conv) => conv.device().clone(),
        }
    }

    /// The sizes of the layer, which give its numbers of parameters and multiply-adds.
    pub fn cost(&self) -> LayerCost {
        match self {
            Self::Dense(conv) => match reparameterized(conv) {
                Some(layer) => layer.cost(),
                None => {
                    let shape = conv.weight.lazy_shape().dims::<4>();
                    LayerCost::of_weight(shape, conv.groups, conv.bias.is_some())
                }
            },
            Self::Linear(conv) => conv.cost(),
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.cost(),
        }
    }

    /// The dense convolution with the same output. A dense convolution is returned as it is. A
    /// LinearConv layer is converted by [`LinearConv2d::to_conv2d`]; so is a dense convolution that
    /// [`LinearConv`](crate::LinearConv) reparameterized.
    ///
    /// # Panics
    /// Panics if the convolution is made for [`Inference`](crate::Inference).
    ///
    /// # Example
    /// ```
    /// use burn::nn::conv::Conv2dConfig;
    /// use burn::tensor::Device;
    /// use linearconv::{CoefficientsConfig, ConvConfig};
    ///
    /// let full = ConvConfig::linear(CoefficientsConfig::Full);
    /// let conv = full.with_layer(Conv2dConfig::new([3, 8], [3, 3]));
    /// let dense = conv.init(&Device::default()).to_conv2d();
    /// assert_eq!(dense.weight.dims(), [8, 3, 3, 3]);
    /// ```
    pub fn to_conv2d(&self) -> Conv2d {
        match self.as_it_runs() {
            Self::Dense(conv) => conv,
            Self::Linear(layer) => layer.to_conv2d(),
            #[cfg(feature = "std")]
            Self::Packed(_) => panic!("{NO_WEIGHTS}"),
        }
    }

    /// The same layer. A reparameterized convolution is returned as the [`LinearConv2d`] that it
    /// runs as.
    ///
    /// # Panics
    /// Panics if the convolution is made for inference.
    pub(crate) fn as_it_runs(&self) -> Self {
        match self {
            Self::Dense(conv) => reparameterized(conv).map_or_else(|| self.clone(), Self::Linear),
            Self::Linear(_) => self.clone(),
            #[cfg(feature = "std")]
            Self::Packed(_) => panic!("{NO_WEIGHTS}"),
        }
    }
}

/// [`Conv2d::forward`], by [`conv2d`] of this crate.
fn dense_forward(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let options = options(
        &input,
        &conv.padding,
        conv.kernel_size,
        conv.stride,
        conv.dilation,
        conv.groups,
    );
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    conv2d(input, conv.weight.val(), bias, options)
}

#[cfg(feature = "fit")]
fn reparameterized(conv: &Conv2d) -> Option<LinearConv2d> {
    LinearConv2d::from_reparameterized(conv)
}

#[cfg(not(feature = "fit"))]
fn reparameterized(_conv: &Conv2d) -> Option<LinearConv2d> {
    None
}

impl From<Conv2d> for Conv {
    fn from(conv: Conv2d) -> Self {
        Self::Dense(conv)
    }
}

impl From<LinearConv2d> for Conv {
    fn from(conv: LinearConv2d) -> Self {
        Self::Linear(conv)
    }
}
