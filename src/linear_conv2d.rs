use alloc::format;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Int, Tensor};

use crate::channels::{channel_matrix, expand_channels, primary_channels};
use crate::coefficients::{Coefficients, CoefficientsConfig, UNIFORM};
use crate::convolution::{linear_conv2d, options};
use crate::cost::{Evaluation, LayerCost, Pixels};
use crate::error::Error;

/// Configuration of a [`LinearConv2d`] layer.
///
/// It has the fields, builders and defaults of Burn's
/// [`Conv2dConfig`](burn::nn::conv::Conv2dConfig), and the fields that LinearConv adds. Only the
/// initial values of the parameters differ: they follow the paper's reference implementation.
#[derive(Config, Debug)]
pub struct LinearConv2dConfig {
    /// The numbers of channels, `[channels_in, channels_out]`.
    pub channels: [usize; 2],
    /// The size of the kernel in pixels, `[height, width]`.
    pub kernel_size: [usize; 2],
    /// The stride of the convolution in pixels, `[vertical, horizontal]`.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// The spacing between kernel elements in pixels, `[vertical, horizontal]`.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// The number of groups of channels. A filter reads the input channels of its own group.
    ///
    /// With several groups, a secondary filter may combine primary filters that read other channels
    /// than it does, as in the reference implementation.
    #[config(default = "1")]
    pub groups: usize,
    /// The padding configuration, symmetric or asymmetric.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Whether a bias is added to the output. The initial bias and the initial coefficients are drawn
    /// from U(-0.1, 0.1).
    #[config(default = true)]
    pub bias: bool,
    /// The initial values of the primary filters.
    ///
    /// `Initializer::Orthogonal` gives orthonormal filters if the number of primary filters is at
    /// most the number of weights of a filter. Their [correlation loss](crate::correlation_loss) is
    /// small, but usually not zero: correlation subtracts the mean of each filter, and the mean of an
    /// orthogonal filter is usually not zero.
    #[config(default = "Initializer::XavierUniform{gain:1.0}")]
    pub initializer: Initializer,
    /// Primary filters divided by output channels, in `(0, 1)`:
    /// `m = floor(primary_ratio · channels_out)`.
    #[config(default = 0.5)]
    pub primary_ratio: f64,
    /// Primary channels divided by input channels, in `(0, 1]`:
    /// `s = floor(channel_ratio · channels_in)`.
    ///
    /// The other channels are added to the primary channels, weighted by coefficients. So the
    /// primary filters have `s` channels. At 1 all channels are primary, as in the paper. A ratio
    /// below 1 needs `groups = 1`.
    #[config(default = 1.0)]
    pub channel_ratio: f64,
    /// How the coefficients are stored.
    #[config(default = "CoefficientsConfig::Full")]
    pub coefficients: CoefficientsConfig,
    /// How the layer computes its output.
    #[config(default = "Evaluation::Auto")]
    pub evaluation: Evaluation,
}

impl LinearConv2dConfig {
    /// Initializes a new [`LinearConv2d`], as Burn's `Conv2dConfig::init`.
    ///
    /// # Panics
    /// Panics with the message of the error that [`try_init`](Self::try_init) returns.
    pub fn init(&self, device: &Device) -> LinearConv2d {
        self.try_init(device)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Initializes a new [`LinearConv2d`], or returns what is wrong with the configuration.
    ///
    /// # Errors
    /// - [`Error::ZeroSize`], [`Error::Groups`]: no convolution has these sizes.
    /// - [`Error::PrimaryRatio`]: the ratio is outside `(0, 1)`, or leaves no primary or no secondary
    ///   filter.
    /// - [`Error::ChannelRatio`]: the ratio is outside `(0, 1]`, or leaves no primary channel.
    /// - [`Error::ChannelGroups`]: channels would be combined in a layer with several groups.
    /// - [`Error::Rank`], [`Error::RankRatio`], [`Error::Sparsity`]: the coefficients are not valid.
    /// - [`Error::FactoredGroups`]: the evaluation is factored, with several groups.
    pub fn try_init(&self, device: &Device) -> Result<LinearConv2d, Error> {
        let LayerCost {
            primary,
            secondary,
            filter_size,
            primary_channels,
            secondary_channels,
            ..
        } = self.cost()?;
        check_evaluation(self.evaluation, self.groups)?;
        let [height, width] = self.kernel_size;
        let shape = [primary, primary_channels, height, width];
        let fan_out = primary * height * width;

        Ok(LinearConv2d {
            coefficients: self.coefficients.try_init(secondary, primary, device)?,
            primary: self
                .initializer
                .init_with(shape, Some(filter_size), Some(fan_out), device),
            channel_coefficients: (secondary_channels > 0)
                .then(|| UNIFORM.init([primary_channels, secondary_channels], device)),
            channel_order: None,
            bias: self.bias.then(|| UNIFORM.init([self.channels[1]], device)),
            stride: self.stride,
            kernel_size: self.kernel_size,
            dilation: self.dilation,
            groups: self.groups,
            padding: self.padding.clone(),
            order: None,
            evaluation: self.evaluation,
        })
    }

    /// The sizes of the layer, which give its numbers of parameters and multiply-adds.
    ///
    /// # Errors
    /// As [`try_init`](Self::try_init), without [`Error::FactoredGroups`].
    pub fn cost(&self) -> Result<LayerCost, Error> {
        check_geometry(
            self.channels,
            self.kernel_size,
            self.stride,
            self.dilation,
            self.groups,
        )?;
        let primary = self.primary_filters()?;
        let secondary = self.channels[1] - primary;
        let channels = self.channels[0] / self.groups;
        let primary_channels = primary_channels(self.channel_ratio, channels, self.groups)?;
        let [height, width] = self.kernel_size;
        Ok(LayerCost {
            primary,
            secondary,
            filter_size: primary_channels * height * width,
            primary_channels,
            secondary_channels: channels - primary_channels,
            groups: self.groups,
            rank: self.coefficients.rank(secondary, primary)?,
            bias: self.bias,
        })
    }

    /// The [`cost`](Self::cost) of the layer. `None` if the layer has too few channels for its ratios or
    /// its rank.
    ///
    /// # Errors
    /// As [`cost`](Self::cost), if more channels would not help. More channels do not help a rank ratio
    /// that is too high: the rank and its limit grow alike.
    pub(crate) fn cost_if_wide_enough(&self) -> Result<Option<LayerCost>, Error> {
        let is_ratio = matches!(self.coefficients, CoefficientsConfig::RankRatio { .. });
        match self.cost() {
            Err(Error::Rank { rank: 1.., .. }) if !is_ratio => Ok(None),
            Err(Error::ChannelRatio { ratio, .. }) if ratio > 0.0 && ratio < 1.0 => Ok(None),
            Err(Error::PrimaryRatio { ratio, .. }) if ratio > 0.0 && ratio < 1.0 => Ok(None),
            cost => cost.map(Some),
        }
    }

    /// The number of primary filters.
    ///
    /// # Errors
    /// [`Error::PrimaryRatio`]
    fn primary_filters(&self) -> Result<usize, Error> {
        let (ratio, filters) = (self.primary_ratio, self.channels[1]);
        let primary = (ratio * filters as f64) as usize;
        if ratio > 0.0 && ratio < 1.0 && (1..filters).contains(&primary) {
            Ok(primary)
        } else {
            Err(Error::PrimaryRatio { ratio, filters })
        }
    }
}

/// Checks the sizes of a convolution, dense or LinearConv.
///
/// # Errors
/// - [`Error::ZeroSize`]: a size is 0.
/// - [`Error::Groups`]: the number of groups does not divide the numbers of channels.
pub(crate) fn check_geometry(
    channels: [usize; 2],
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Result<(), Error> {
    let sizes = [
        ("channels", channels),
        ("kernel_size", kernel_size),
        ("stride", stride),
        ("dilation", dilation),
    ];
    if let Some((name, value)) = sizes.into_iter().find(|(_, value)| value.contains(&0)) {
        return Err(Error::ZeroSize { name, value });
    }
    let [channels_in, channels_out] = channels;
    if groups == 0 || channels.iter().any(|channels| channels % groups != 0) {
        return Err(Error::Groups {
            groups,
            channels_in,
            channels_out,
        });
    }
    Ok(())
}

/// # Errors
/// [`Error::FactoredGroups`]
fn check_evaluation(evaluation: Evaluation, groups: usize) -> Result<(), Error> {
    match evaluation {
        Evaluation::Factored if groups != 1 => Err(Error::FactoredGroups { groups }),
        _ => Ok(()),
    }
}

/// A 2D convolution whose filters are primary filters and learned linear combinations of the primary
/// filters ([paper](https://arxiv.org/abs/1907.11432), section 3). It takes the place of Burn's
/// [`Conv2d`].
///
/// ```text
/// W = cat(P, A · P)        P: m primary filters, A: [n, m] coefficients
/// ```
///
/// With a [channel ratio](LinearConv2dConfig::channel_ratio) below 1, input channels are combined
/// too, before the convolution: `x_primary + B · x_rest`. This is not in the paper.
///
/// Create it with [`LinearConv2dConfig`].
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LinearConv2d {
    /// Primary filters `P`, of shape `[m, channels_in / groups, kernel_height, kernel_width]`, or
    /// `[m, s, kernel_height, kernel_width]` with `s` primary channels.
    pub primary: Param<Tensor<4>>,
    /// Coefficients `A` of the secondary filters. The [matrix](Coefficients::matrix) is `[n, m]`.
    pub coefficients: Coefficients,
    /// Coefficients `B` of the other channels, which are added to the primary channels, of shape
    /// `[s, channels_in - s]`. `None` if all channels are primary.
    pub channel_coefficients: Option<Param<Tensor<2>>>,
    /// The order of the input channels, of shape `[channels_in]`: input channel `i` is channel
    /// `channel_order[i]` of `cat(primary channels, other channels)`. `None` if the first `s` input
    /// channels are the primary channels.
    pub channel_order: Option<Param<Tensor<1, Int>>>,
    /// Bias, of shape `[channels_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Stride of the convolution in pixels, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Size of the kernel in pixels, `[height, width]`.
    pub kernel_size: [usize; 2],
    /// Spacing between kernel elements in pixels, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// The number of groups of channels. A filter reads the input channels of its own group.
    pub groups: usize,
    /// The padding configuration.
    #[module(skip)]
    pub padding: PaddingConfig2d,
    /// The order of the output channels, of shape `[channels_out]`: output channel `i` is the output
    /// of filter `order[i]` of `cat(primary, secondary)`. `None` if the output channels have the
    /// order of the filters.
    ///
    /// A fit makes an order that has every filter once. An order may also have a filter several
    /// times, and another filter not at all. The order has no gradient.
    pub order: Option<Param<Tensor<1, Int>>>,
    #[module(skip)]
    pub(crate) evaluation: Evaluation,
}

impl LinearConv2d {
    /// Applies the convolution, as Burn's [`Conv2d::forward`].
    ///
    /// # Shapes
    /// - input: `[batch_size, channels_in, height_in, width_in]`
    /// - output: `[batch_size, channels_out, height_out, width_out]`
    ///
    /// # Panics
    /// Panics if
    /// - the input has another number of channels.
    /// - the input with its padding is smaller than the kernel.
    /// - the bias or the [`order`](Self::order) has another length than the number of filters.
    /// - the order names a filter that does not exist. This is checked on the flex backend only.
    /// - the evaluation is [`Evaluation::Factored`], and there are several groups. The panic
    ///   has the message of [`Error::FactoredGroups`].
    ///
    /// # Example
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use linearconv::LinearConv2dConfig;
    ///
    /// let device = Device::default();
    /// let conv = LinearConv2dConfig::new([3, 8], [3, 3]).init(&device);
    /// let output = conv.forward(Tensor::zeros([1, 3, 28, 28], &device));
    /// assert_eq!(output.dims(), [1, 8, 26, 26]);
    /// ```
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let options = options(
            &input,
            &self.padding,
            self.kernel_size,
            self.stride,
            self.dilation,
            self.groups,
        );
        let bias = self.bias.as_ref().map(|bias| bias.val());
        match self.resolve_evaluation(input.dims()) {
            Evaluation::Factored => {
                let channels = self.channel_matrix();
                let primary = self.primary.val();
                let factors = Some(self.coefficients.factors());
                let order = self.order.as_ref().map(|order| order.val());
                linear_conv2d(input, channels, primary, factors, order, bias, options)
            }
            // The filters of the kernel are in the order of the outputs already.
            _ => linear_conv2d(input, None, self.weight(), None, None, bias, options),
        }
    }

    /// The matrix `[I, B]` that combines the input channels to the primary channels. Its columns are
    /// in the order of the input channels. `None` if all channels are primary.
    ///
    /// # Shapes
    /// - output: `[s, channels_in]`
    pub fn channel_matrix(&self) -> Option<Tensor<2>> {
        let coefficients = self.channel_coefficients.as_ref()?;
        Some(channel_matrix(coefficients, self.channel_order.as_ref()))
    }

    /// The whole kernel `W`, with its filters in the order of the output channels. It is part of the
    /// autodiff graph.
    ///
    /// # Shapes
    /// - output: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
    pub fn weight(&self) -> Tensor<4> {
        let order = self.order.as_ref().map(|order| order.val());
        let filters = self.coefficients.kernel(self.primary.val(), order);
        match self.channel_matrix() {
            Some(matrix) => expand_channels(filters, matrix),
            None => filters,
        }
    }

    /// The dense convolution with the same output, up to rounding. Its weight is a new trainable
    /// parameter. Use it to export a trained layer.
    pub fn to_conv2d(&self) -> Conv2d {
        Conv2d {
            weight: Param::from_tensor(self.weight().detach()),
            bias: self.bias.clone(),
            stride: self.stride,
            kernel_size: self.kernel_size,
            dilation: self.dilation,
            groups: self.groups,
            padding: self.padding.clone(),
        }
    }

    /// The same layer with another evaluation.
    ///
    /// # Panics
    /// Panics with the message of [`Error::FactoredGroups`] on [`Evaluation::Factored`] with more
    /// than one group.
    pub fn with_evaluation(self, evaluation: Evaluation) -> Self {
        check_evaluation(evaluation, self.groups).unwrap_or_else(|error| panic!("{error}"));
        Self { evaluation, ..self }
    }

    /// How the layer computes its output.
    pub fn evaluation(&self) -> Evaluation {
        self.evaluation
    }

    /// The sizes of the layer, which give its numbers of parameters and multiply-adds. Lazy parameters
    /// are not initialized.
    pub fn cost(&self) -> LayerCost {
        let shape = self.primary.lazy_shape();
        LayerCost {
            primary: shape[0],
            secondary: self.coefficients.num_secondary(),
            filter_size: shape[1] * shape[2] * shape[3],
            primary_channels: shape[1],
            secondary_channels: self.secondary_channels(),
            groups: self.groups,
            rank: self.coefficients.rank(),
            bias: self.bias.is_some(),
        }
    }

    /// Whether the layer is factored in a model that is made for inference, where the kernel is built
    /// only once. [`Evaluation::Auto`] is factored if the layer [pays](LayerCost::pays).
    #[cfg(feature = "flex")]
    pub(crate) fn is_factored(&self) -> bool {
        match self.evaluation {
            Evaluation::Auto => self.cost().pays(),
            evaluation => evaluation == Evaluation::Factored,
        }
    }

    /// The number of input channels that are not primary.
    fn secondary_channels(&self) -> usize {
        let coefficients = self.channel_coefficients.as_ref();
        coefficients.map_or(0, |coefficients| coefficients.lazy_shape()[1])
    }

    /// The evaluation for an input of this shape. The size of the output is estimated from the stride
    /// alone: the border hardly changes which evaluation is cheaper.
    ///
    /// # Panics
    /// Panics if the evaluation is factored, and there are several groups.
    fn resolve_evaluation(&self, [batch_size, _, height, width]: [usize; 4]) -> Evaluation {
        match self.evaluation {
            Evaluation::Auto => {
                let rows = height.div_ceil(self.stride[0]);
                let columns = width.div_ceil(self.stride[1]);
                self.cost().cheaper(Pixels {
                    input: batch_size * height * width,
                    output: batch_size * rows * columns,
                })
            }
            evaluation => {
                // The field `groups` is public, so it may have changed.
                let checked = check_evaluation(evaluation, self.groups);
                checked.unwrap_or_else(|error| panic!("{error}"));
                evaluation
            }
        }
    }
}

impl ModuleDisplay for LinearConv2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let shape = self.primary.lazy_shape();
        let debug = |value: [usize; 2]| format!("{value:?}");
        let channels = shape[1] * self.groups + self.secondary_channels();
        let content = content
            .add("ch_in", &format!("{channels}"))
            .add("ch_out", &format!("{}", self.cost().dense().primary))
            .add("primary", &format!("{}", shape[0]))
            .add("coefficients", &self.coefficients.describe());
        let content = match self.channel_coefficients {
            Some(_) => content.add("primary_channels", &format!("{}", shape[1])),
            None => content,
        };
        content
            .add("evaluation", &format!("{:?}", self.evaluation))
            .add("stride", &debug(self.stride))
            .add("kernel_size", &debug(self.kernel_size))
            .add("dilation", &debug(self.dilation))
            .add("groups", &self.groups)
            .add_debug_attribute("padding", &self.padding)
            .optional()
    }
}
