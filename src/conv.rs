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

/// What a model uses for its convolutions, so that it is written once and runs dense or as any
/// variant of LinearConv; as Burn's `NormalizationConfig` for normalization layers.
///
/// A model takes one policy and adapts it to each of its layers by
/// [`with_layer`](Self::with_layer).
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
    /// [`LinearConv2d`] where that pays, Burn's [`Conv2d`] elsewhere.
    ///
    /// It pays where the layer has fewer parameters than its dense twin and is expected to be
    /// faster ([`LayerCost::pays`]). It does not for depthwise and other grouped convolutions,
    /// for the stem, or where a 1×1 convolution multiplies the channels. Nor is a layer
    /// replaced that is too narrow for the ratio or the rank.
    Auto(LinearConv2dConfig),
}

impl ConvConfig {
    /// The policy of dense convolutions with Burn's defaults.
    pub fn dense() -> Self {
        Self::Dense(Conv2dConfig::new([0, 0], [0, 0]))
    }

    /// The policy of LinearConv layers with the given coefficients and otherwise the defaults.
    pub fn linear(coefficients: CoefficientsConfig) -> Self {
        Self::Linear(LinearConv2dConfig::new([0, 0], [0, 0]).with_coefficients(coefficients))
    }

    /// The policy of LinearConv layers with the given coefficients where they pay, and dense
    /// convolutions elsewhere, with the defaults of each.
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
    /// // 64×64 coefficients would outnumber the 64×9 weights.
    /// let depthwise = auto.with_layer(Conv2dConfig::new([64, 64], [3, 3]).with_groups(64));
    /// assert!(matches!(depthwise.init(&device), Conv::Dense(_)));
    /// ```
    pub fn auto(coefficients: CoefficientsConfig) -> Self {
        Self::Auto(LinearConv2dConfig::new([0, 0], [0, 0]).with_coefficients(coefficients))
    }

    /// This policy for the given layer: channels, kernel size, stride, dilation, groups, padding
    /// and bias are the layer's; initializer, the ratios, coefficients and evaluation are the
    /// policy's. Layers that `Auto` leaves dense start as Burn's do by default. All channels of
    /// grouped layers, and of images, which have up to four, are primary.
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

    /// Initialize the layer.
    ///
    /// # Panics
    /// Panics with the message of the error that [`try_init`](Self::try_init) returns.
    pub fn init(&self, device: &Device) -> Conv {
        self.try_init(device)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Initialize the layer, or say what is wrong with its configuration.
    ///
    /// # Errors
    /// Those of [`LinearConv2dConfig::try_init`]; for a dense layer [`Error::ZeroSize`] and
    /// [`Error::Groups`], where Burn's `Conv2dConfig::init` would panic or build a layer that
    /// cannot run.
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

/// Channels up to which an input is taken for an image: a mix of red, green and blue is no less to
/// compute with and far less to see.
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

/// A convolution of either kind; created by [`ConvConfig`].
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a Box is not a Module")]
#[non_exhaustive]
pub enum Conv {
    /// Burn's dense convolution.
    Dense(Conv2d),
    /// A LinearConv layer.
    Linear(LinearConv2d),
    /// One that is made for [`Inference`](crate::Inference).
    #[cfg(feature = "std")]
    Packed(PackedConv),
}

impl Conv {
    /// Applies the convolution: a dense one by [`conv2d`], so by this crate's kernel where it has
    /// one; a dense one that [`LinearConv`](crate::LinearConv) reparameterized as the fast layer
    /// that it is.
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    ///
    /// # Panics
    /// As [`Conv2d::forward`] and [`LinearConv2d::forward`]; one that is made for inference as
    /// [`Inference`](crate::Inference) says.
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

    /// [`forward`](Self::forward), then what follows it.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward)'s.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and where normalization or shortcut have another shape than the
    /// output.
    pub fn forward_with(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        match self {
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.forward_with(input, epilogue),
            conv => epilogue.apply(conv.forward(input)),
        }
    }

    /// The identity of the weight, or of the primary filters.
    #[cfg(feature = "std")]
    pub(crate) fn id(&self) -> ParamId {
        match self {
            Self::Dense(conv) => conv.weight.id,
            Self::Linear(conv) => conv.primary.id,
            Self::Packed(conv) => conv.id(),
        }
    }

    /// The device of its weights, which are not initialized for that.
    #[cfg(feature = "std")]
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Dense(conv) => conv.weight.lazy_device(),
            Self::Linear(conv) => conv.primary.lazy_device(),
            Self::Packed(conv) => conv.device().clone(),
        }
    }

    /// The sizes that decide what this layer costs.
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

    /// The dense convolution with the same output: a plain one as it is, any other as
    /// [`LinearConv2d::to_conv2d`] has it.
    ///
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

    /// The same layer, a reparameterized one as the LinearConv layer that it runs as.
    pub(crate) fn as_it_runs(&self) -> Self {
        match self {
            Self::Dense(conv) => reparameterized(conv).map_or_else(|| self.clone(), Self::Linear),
            Self::Linear(_) => self.clone(),
            #[cfg(feature = "std")]
            Self::Packed(_) => panic!("{NO_WEIGHTS}"),
        }
    }
}

/// [`Conv2d::forward`], by this crate's kernel where it has one.
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
