use alloc::string::String;

use thiserror::Error;

/// Why a layer cannot be built, pruned or fitted, or why a model cannot be compressed. The message
/// has the values that are wrong.
///
/// Some functions panic with the same messages. For example,
/// [`init`](crate::LinearConv2dConfig::init) panics where
/// [`try_init`](crate::LinearConv2dConfig::try_init) returns an error.
#[derive(Error, Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A size of the configuration has a zero. Each of its dimensions must be at least 1.
    #[error("{name} must be at least 1 in every dimension, got {value:?}")]
    ZeroSize {
        /// The name of the field in the configuration.
        name: &'static str,
        /// The value of the field.
        value: [usize; 2],
    },

    /// The number of groups is 0, or does not divide the numbers of channels.
    #[error(
        "groups must be at least 1 and divide both channel counts, \
         got groups={groups}, channels_in={channels_in}, channels_out={channels_out}"
    )]
    Groups {
        /// The number of groups.
        groups: usize,
        /// The number of input channels.
        channels_in: usize,
        /// The number of output channels.
        channels_out: usize,
    },

    /// The ratio of primary filters is out of range, or leaves no primary or no secondary filter.
    #[error(
        "primary_ratio must lie strictly between 0 and 1 and leave at least one primary and one \
         secondary filter, got primary_ratio={ratio} with {filters} filters"
    )]
    PrimaryRatio {
        /// Primary filters divided by all filters.
        ratio: f64,
        /// The number of output channels.
        filters: usize,
    },

    /// The ratio of primary channels is out of range, or leaves no primary channel.
    #[error(
        "channel_ratio must lie above 0, be at most 1 and leave at least one primary channel, got \
         channel_ratio={ratio} with {channels} channels"
    )]
    ChannelRatio {
        /// Primary channels divided by all input channels.
        ratio: f64,
        /// The number of input channels.
        channels: usize,
    },

    /// Input channels cannot be combined in a convolution with several groups.
    #[error(
        "a channel_ratio below 1 needs groups=1, got channel_ratio={ratio} with groups={groups}: \
         channels of one group would be added to channels of another group"
    )]
    ChannelGroups {
        /// The number of groups.
        groups: usize,
        /// Primary channels divided by all input channels.
        ratio: f64,
    },

    /// The rank is 0, or more than the smaller side of the coefficient matrix.
    #[error(
        "rank must lie between 1 and the smaller side of the coefficient matrix, \
         got rank={rank} for {secondary} secondary by {primary} primary filters"
    )]
    Rank {
        /// The rank.
        rank: usize,
        /// The number of secondary filters, the rows of the matrix.
        secondary: usize,
        /// The number of primary filters, the columns of the matrix.
        primary: usize,
    },

    /// The rank ratio is outside `(0, 1]`.
    #[error("rank ratio must lie above 0 and be at most 1, got ratio={ratio}")]
    RankRatio {
        /// The rank divided by the number of primary filters.
        ratio: f64,
    },

    /// The sparsity is outside `[0, 1)`.
    #[error("sparsity must be at least 0 and below 1, got sparsity={sparsity}")]
    Sparsity {
        /// The fraction of coefficients to mask out.
        sparsity: f64,
    },

    /// The factored evaluation is not valid with several groups.
    #[error(
        "Evaluation::Factored needs groups=1, got groups={groups}: a secondary filter reads the \
         channels of its own group, but its primary filters may read other channels; use \
         Evaluation::Materialized or Evaluation::Auto"
    )]
    FactoredGroups {
        /// The number of groups.
        groups: usize,
    },

    /// The step of an adaptive threshold is not a positive finite number.
    #[error("the step of an adaptive threshold must be positive and finite, got step={step}")]
    ThresholdStep {
        /// The largest change of the threshold in one cycle.
        step: f64,
    },

    /// A pruning ramp does not end after it begins.
    #[error("a pruning ramp must end after it begins, got begin={begin}, end={end}")]
    Ramp {
        /// The first step of the ramp.
        begin: usize,
        /// The last step of the ramp.
        end: usize,
    },

    /// The number of primary filters is 0, or leaves no secondary filter.
    #[error(
        "the number of primary filters must be at least 1 and less than the number of all \
         filters, got {primary} of {filters}"
    )]
    Primary {
        /// The number of primary filters.
        primary: usize,
        /// The number of all filters.
        filters: usize,
    },

    /// The number of primary channels is 0, or larger than the number of all channels, or smaller with
    /// several groups.
    #[error(
        "the number of primary channels must be at least 1 and at most the number of all channels; \
         with several groups, all channels must be primary; got {primary_channels} of {channels} \
         with groups={groups}"
    )]
    PrimaryChannels {
        /// The number of primary channels.
        primary_channels: usize,
        /// The number of input channels of a group.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },

    /// The goal of a compression is outside `(0, 1]`.
    #[error("the {name} of a compression must be above 0 and at most 1, got {value}")]
    Share {
        /// What the goal limits, for example `share of parameters`.
        name: &'static str,
        /// The goal.
        value: f64,
    },

    /// The goal of a compression is smaller than the smallest plan.
    #[error(
        "no plan reaches the {name} {value}: the dense layers have the size {dense}, the smallest \
         plan has {smallest}"
    )]
    Budget {
        /// What the goal limits, for example `share of parameters`.
        name: &'static str,
        /// The goal.
        value: f64,
        /// The size of the smallest plan: weights, or multiply-adds if the goal limits these.
        smallest: u64,
        /// The size of the dense layers, in the same unit.
        dense: u64,
    },

    /// The multiply-adds of a layer cannot be counted, because the calibration has not seen the layer
    /// run.
    #[error(
        "the number of pixels that {path} computes is not known; run the model inside \
         `Calibration::observe`, with its convolutions declared as `Conv`, and give the \
         calibration to `Compression::with_calibration`"
    )]
    NotObserved {
        /// The path of the weight in the model.
        path: String,
    },

    /// Two passes of calibration images were not of the same images.
    #[error(
        "{path} has not seen the same images in two passes; run the same batches of images, in the \
         same order, at each call"
    )]
    OtherImages {
        /// The path of the weight in the model.
        path: String,
    },

    /// A search for the smallest model has found no model that is accepted.
    #[error("no budget was accepted; these budgets were tried:\n{trials}")]
    NoneAccepted {
        /// The budgets, and the result of each.
        trials: String,
    },

    /// A search for the smallest model was started from a compression without a budget.
    #[error(
        "a search for the smallest model needs a budget: use `to_parameters` or \
         `to_multiply_adds`"
    )]
    NoBudget,

    /// A saved plan gives a layer a size that no convolution can have.
    #[error(
        "the saved plan gives {path} the shape {shape:?} and {pixels} pixels; no convolution can \
         have this size"
    )]
    LayerSize {
        /// The path of the weight in the model.
        path: String,
        /// The shape of the weight.
        shape: [usize; 4],
        /// The number of pixels of an image: of the input or of the output, whichever is larger.
        pixels: usize,
    },

    /// A saved plan has a version that this crate cannot read.
    #[error(
        "the saved plan has version {version}, but this version of linearconv reads version {known}"
    )]
    PlanVersion {
        /// The version of the saved plan.
        version: u32,
        /// The version that this crate reads.
        known: u32,
    },

    /// A weight is reparameterized already, by LinearConv or by another reparameterization.
    #[error(
        "{path} is reparameterized already, by {name}; call `materialize()` to make it dense \
         before compressing the model"
    )]
    Reparameterized {
        /// The path of the weight in the model.
        path: String,
        /// The name of the reparameterization. LinearConv has the name `linear_conv`.
        name: String,
    },

    /// The plan was made for another model or for other weights.
    #[error(
        "the plan is for another model or for other weights: this model has no convolution weight \
         {path} as in the plan; make a plan for this model"
    )]
    OtherModel {
        /// The path of the weight in the plan.
        path: String,
    },

    /// The bias beside a weight has another length than a convolution's bias would have.
    #[error(
        "{path} has {biases} values beside a weight of {filters} filters, so the layer is not a \
         convolution; it may be a transposed convolution; name the weights of the convolutions by \
         `LinearConv::new(..).within(conv2d_weights(&model)?)`, or use `Compression`, which looks \
         at the layers"
    )]
    NotConv2d {
        /// The path of the bias in the model.
        path: String,
        /// The length of the bias.
        biases: usize,
        /// The length of the first dimension of the weight.
        filters: usize,
    },

    /// A filter cannot be fitted: the filter, or its response to a calibration batch, has a value
    /// that is infinite or NaN.
    #[error("filter {filter} of {path}, or its response to the calibration batch, is not finite")]
    NotFinite {
        /// The path of the weight in the model.
        path: String,
        /// The index of the first such filter.
        filter: usize,
    },

    /// A convolution with several groups cannot be fitted to a calibration batch.
    #[error(
        "a fit to a calibration batch needs groups=1, got groups={groups}: a secondary filter \
         reads the channels of its own group, but its primary filters may read other channels; \
         fit this layer without a calibration batch"
    )]
    GroupedResponses {
        /// The number of groups.
        groups: usize,
    },

    /// The calibration has fewer output pixels than the layer has filters. A fit to so few responses
    /// would show no error, though the filters differ.
    #[error(
        "{path} has {filters} filters, but the calibration has only {columns} responses of each \
         filter; calibrate with more images: there should be several times as many responses as \
         filters"
    )]
    TooFewResponses {
        /// The path of the weight in the model.
        path: String,
        /// The number of filters.
        filters: usize,
        /// The number of responses of each filter.
        columns: usize,
    },
}
