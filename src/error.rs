use alloc::string::String;

use thiserror::Error;

/// Why a layer cannot be built, pruned or fitted or a model not be compressed, with the offending
/// values.
///
/// Functions that panic, such as [`init`](crate::LinearConv2dConfig::init) beside
/// [`try_init`](crate::LinearConv2dConfig::try_init), do so with the same messages.
#[derive(Error, Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A size of which every dimension must be at least 1 has a zero in it.
    #[error("{name} must be at least 1 in every dimension, got {value:?}")]
    ZeroSize {
        /// The field of the configuration.
        name: &'static str,
        /// Its value.
        value: [usize; 2],
    },

    /// The channels cannot be split into the groups.
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

    /// The share of primary filters leaves no primary or no secondary filter.
    #[error(
        "primary_ratio must lie strictly between 0 and 1 and leave at least one primary and one \
         secondary filter, got primary_ratio={ratio} with {filters} filters"
    )]
    PrimaryRatio {
        /// The share of primary filters.
        ratio: f64,
        /// The number of output channels.
        filters: usize,
    },

    /// The share of primary channels leaves no channel.
    #[error(
        "channel_ratio must lie above 0, be at most 1 and leave at least one primary channel, got \
         channel_ratio={ratio} with {channels} channels"
    )]
    ChannelRatio {
        /// The share of primary channels.
        ratio: f64,
        /// The number of input channels.
        channels: usize,
    },

    /// Input channels of a grouped convolution were to be combined.
    #[error(
        "a channel_ratio below 1 needs groups=1, got channel_ratio={ratio} with groups={groups}: \
         channels of one group would be added onto those of another"
    )]
    ChannelGroups {
        /// The number of groups.
        groups: usize,
        /// The share of primary channels.
        ratio: f64,
    },

    /// The rank is 0, or above that of any matrix of the coefficients' size.
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

    /// The rank ratio is not a share.
    #[error("rank ratio must lie above 0 and be at most 1, got ratio={ratio}")]
    RankRatio {
        /// The rank as a share of the primary filters.
        ratio: f64,
    },

    /// The target sparsity is not a share below 1.
    #[error("sparsity must be at least 0 and below 1, got sparsity={sparsity}")]
    Sparsity {
        /// The share of coefficients to prune.
        sparsity: f64,
    },

    /// Factored evaluation was asked of a grouped convolution.
    #[error(
        "Evaluation::Factored needs groups=1, got groups={groups}: a secondary filter acts on \
         the channels of its own group, not on those its primary filters have seen; \
         use Evaluation::Materialized or Evaluation::Auto"
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

    /// A pruning ramp ends before it begins.
    #[error("a pruning ramp must end after it begins, got begin={begin}, end={end}")]
    Ramp {
        /// The first step of the ramp.
        begin: usize,
        /// The last step of the ramp.
        end: usize,
    },

    /// A number of primary filters leaves no secondary filter, or is 0.
    #[error("primary filters must be at least 1 and fewer than all, got {primary} of {filters}")]
    Primary {
        /// The number of primary filters.
        primary: usize,
        /// The number of all filters.
        filters: usize,
    },

    /// A number of primary channels is 0 or above that of all, or below it with groups.
    #[error(
        "primary channels must be at least 1 and at most all, and all with more than one group, \
         got {primary_channels} of {channels} with groups={groups}"
    )]
    PrimaryChannels {
        /// The number of primary channels.
        primary_channels: usize,
        /// The number of input channels of a group.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },

    /// The goal of a compression is not a share.
    #[error("the {name} to compress to must lie above 0 and be at most 1, got {value}")]
    Share {
        /// What the goal is about.
        name: &'static str,
        /// Its value.
        value: f64,
    },

    /// A compression asks for fewer weights than its layers can be made of.
    #[error(
        "no plan reaches a {name} of {value}: these layers need at least {smallest} of their \
         {dense} weights"
    )]
    Budget {
        /// What the goal is about.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The weights of the smallest plan.
        smallest: u64,
        /// The weights of the dense layers.
        dense: u64,
    },

    /// Multiply-adds are to be counted of a layer that no calibration has seen running.
    #[error(
        "how many pixels {path} computes is not known; run the model under \
         `Calibration::observe`, with its convolutions declared as `Conv`, and give that to \
         `Compression::with_calibration`"
    )]
    NotObserved {
        /// Where in the model.
        path: String,
    },

    /// The smallest model that a measure accepts was asked for, and it accepts none.
    #[error("no budget was accepted; tried were:\n{trials}")]
    NoneAccepted {
        /// The budgets, and what came out.
        trials: String,
    },

    /// The smallest model was asked of a compression that has no budget to make smaller.
    #[error(
        "a search for the smallest model needs a share to make smaller: `to_parameters` or \
         `to_multiply_adds`"
    )]
    NoBudget,

    /// A layer of a saved plan has no size that a convolution could have.
    #[error(
        "{path} of a saved plan cannot be a convolution of shape {shape:?} with {pixels} pixels"
    )]
    LayerSize {
        /// Where in the model.
        path: String,
        /// The shape of the weight.
        shape: [usize; 4],
        /// The pixels of an image.
        pixels: usize,
    },

    /// A saved plan is of a version that this crate does not know.
    #[error("a plan of version {version} was saved, but this version of linearconv knows {known}")]
    PlanVersion {
        /// The version that was saved.
        version: u32,
        /// The version that is known.
        known: u32,
    },

    /// A weight is reparameterized already, by LinearConv or otherwise.
    #[error(
        "{path} is reparameterized already, by {name}; call `materialize()` to make it dense \
         before compressing the model"
    )]
    Reparameterized {
        /// Where in the model.
        path: String,
        /// The name of the reparameterization, `linear_conv` for LinearConv.
        name: String,
    },

    /// A plan was applied to another model than the one it was made for, or to other weights.
    #[error(
        "the plan is for another model or other weights: this model has no convolution weight \
         {path} as it was planned; make a plan for it"
    )]
    OtherModel {
        /// Where in the model the plan was made for.
        path: String,
    },

    /// A weight that was taken for that of a convolution has a bias of another length beside it.
    #[error(
        "{path} has {biases} values beside a weight of {filters} filters, so the layer is not a \
         convolution but, maybe, a transposed one; name the weights of the convolutions, \
         `LinearConv::new(..).within(conv2d_weights(&model)?)`, or use `Compression`, which looks \
         at the layers"
    )]
    NotConv2d {
        /// Where in the model the bias is.
        path: String,
        /// The length of the bias.
        biases: usize,
        /// The length of the first dimension of the weight.
        filters: usize,
    },

    /// There is nothing to fit: a filter, or its response to a calibration batch, has a value
    /// that is infinite or no number.
    #[error("filter {filter} of {path}, or its response to the calibration batch, is not finite")]
    NotFinite {
        /// Where in the model.
        path: String,
        /// The first such filter.
        filter: usize,
    },

    /// A fit to a calibration batch was asked of a grouped convolution.
    #[error(
        "a fit to responses needs groups=1, got groups={groups}: a combined filter acts on the \
         channels of its own group, not on those its primary filters have answered to; fit the \
         filters themselves"
    )]
    GroupedResponses {
        /// The number of groups.
        groups: usize,
    },

    /// A calibration batch has fewer output pixels than there are filters, so that a few of them
    /// seem to combine to all others.
    #[error(
        "{path} has {filters} filters, but there are only {columns} responses of each; calibrate \
         with more images, best for several times as many responses as filters"
    )]
    TooFewResponses {
        /// Where in the model.
        path: String,
        /// The number of filters.
        filters: usize,
        /// The columns of the responses.
        columns: usize,
    },
}
