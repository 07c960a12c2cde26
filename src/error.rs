use thiserror::Error;

/// Why a layer cannot be built, with the offending values.
///
/// Returned by [`LinearConv2dConfig::try_init`](crate::LinearConv2dConfig::try_init);
/// [`init`](crate::LinearConv2dConfig::init) panics with the same message.
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
}
