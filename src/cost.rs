//! The parameters and multiply-adds of a layer as integer formulas, and the rules that choose by them.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// How a layer computes its output. The result is the same up to rounding.
///
/// Multiply-adds are given with the names of [`LayerCost`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evaluation {
    /// The evaluation that is expected to be faster for the size of the input, see
    /// [`LayerCost::cheaper`].
    Auto,
    /// Convolve with the primary filters, then combine their feature maps. This needs `groups = 1`.
    ///
    /// For each output pixel it takes `m·k + n·m` multiply-adds, and `m·k + r·(n + m)` at rank `r`.
    /// If input channels are combined, this is done first. It takes `s·(c − s)` multiply-adds for
    /// each input pixel.
    Factored,
    /// Build the whole kernel, then convolve with it, as the reference implementation does.
    ///
    /// If all channels are primary, it takes `(m + n)·k` multiply-adds for each output pixel. To
    /// build the kernel takes `n·m·k`, and `r·(n + m)·k` at rank `r`.
    Materialized,
}

/// The numbers of pixels that a layer reads and computes: batch × height × width.
///
/// `Pixels::from(number)` is for a layer with as many output pixels as input pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// Pixels of the input, of all images of the batch.
    pub input: usize,
    /// Pixels of the output, of all images of the batch.
    pub output: usize,
}

impl From<usize> for Pixels {
    fn from(pixels: usize) -> Self {
        Self {
            input: pixels,
            output: pixels,
        }
    }
}

/// The sizes of a convolution that give its numbers of parameters and multiply-adds.
///
/// A dense convolution has no secondary filters, see [`dense`](Self::dense).
///
/// # Example
/// ```
/// use linearconv::{Evaluation, LayerCost};
///
/// // A 3×3 convolution from 64 to 128 channels, full coefficients.
/// let layer = LayerCost {
///     primary: 64,
///     secondary: 64,
///     filter_size: 64 * 3 * 3,
///     primary_channels: 64,
///     secondary_channels: 0,
///     groups: 1,
///     rank: None,
///     bias: true,
/// };
/// assert_eq!(layer.parameters(), 64 * 576 + 64 * 64 + 128);
/// assert_eq!(layer.dense().parameters(), 128 * 576 + 128);
/// assert_eq!(layer.multiply_adds(Evaluation::Factored, 1), 64 * 576 + 64 * 64);
/// assert_eq!(layer.dense().multiply_adds(Evaluation::Auto, 1), 128 * 576);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCost {
    /// The number of primary filters, `m`.
    pub primary: usize,
    /// The number of secondary filters, `n`.
    pub secondary: usize,
    /// The number of weights of one stored filter, `k`: primary channels of a group × kernel height
    /// × kernel width.
    pub filter_size: usize,
    /// The number of primary input channels of a group, `s`. In the layer of the paper all channels are
    /// primary.
    pub primary_channels: usize,
    /// The number of other input channels, `c − s`. They are added to the primary channels, weighted by
    /// coefficients.
    pub secondary_channels: usize,
    /// The number of groups of channels.
    pub groups: usize,
    /// The rank of low-rank coefficients, `r`. `None` if all `n·m` coefficients are stored.
    pub rank: Option<usize>,
    /// Whether the layer adds a bias.
    pub bias: bool,
}

impl LayerCost {
    /// The cost of a dense convolution. The shape of its weight is `[filters, channels / groups, height,
    /// width]`.
    pub(crate) fn of_weight(
        [filters, channels, height, width]: [usize; 4],
        groups: usize,
        bias: bool,
    ) -> Self {
        Self {
            primary: filters,
            secondary: 0,
            filter_size: channels.saturating_mul(height).saturating_mul(width),
            primary_channels: channels,
            secondary_channels: 0,
            groups,
            rank: None,
            bias,
        }
    }

    /// The dense convolution with the same numbers of filters and channels.
    pub fn dense(&self) -> Self {
        let channels = self
            .primary_channels
            .saturating_add(self.secondary_channels);
        Self {
            primary: self.filters(),
            secondary: 0,
            filter_size: self.taps().saturating_mul(channels),
            primary_channels: channels,
            secondary_channels: 0,
            rank: None,
            ..*self
        }
    }

    /// The number of trainable parameters: primary filters, coefficients of filters and of channels,
    /// and bias.
    ///
    /// Coefficients that are masked out count. The threshold of sparse coefficients does not count.
    /// A number that is too large for the type becomes the largest number of the type.
    pub fn parameters(&self) -> usize {
        let bias = if self.bias { self.filters() } else { 0 };
        let weights = product([self.primary, self.filter_size]);
        let sum = weights
            .saturating_add(self.coefficients())
            .saturating_add(self.channel_coefficients())
            .saturating_add(bias as u64);
        usize::try_from(sum).unwrap_or(usize::MAX)
    }

    /// The number of multiply-adds of a forward pass over these [`Pixels`]. The bias is not counted.
    ///
    /// A number that is too large for the type becomes the largest number of the type.
    pub fn multiply_adds(&self, evaluation: Evaluation, pixels: impl Into<Pixels>) -> u64 {
        let pixels = pixels.into();
        match evaluation {
            Evaluation::Auto => self.multiply_adds(self.cheaper(pixels), pixels),
            Evaluation::Factored => {
                let weights = product([self.primary, self.filter_size]);
                let of_output = weights.saturating_add(self.coefficients());
                let of_output = of_output.saturating_mul(pixels.output as u64);
                let channels = self.channel_coefficients();
                of_output.saturating_add(channels.saturating_mul(pixels.input as u64))
            }
            Evaluation::Materialized => {
                let dense = self.dense();
                let filters = self.coefficients();
                let channels = self.channel_coefficients();
                let taps = product([self.filters(), self.taps()]);
                product([pixels.output, dense.primary, dense.filter_size])
                    .saturating_add(filters.saturating_mul(self.filter_size as u64))
                    .saturating_add(channels.saturating_mul(taps))
            }
        }
    }

    /// The evaluation that is expected to be faster for these [`Pixels`]. [`Evaluation::Auto`]
    /// chooses by this rule.
    ///
    /// The rule takes the evaluation with fewer multiply-adds. Multiply-adds that build the kernel
    /// count one and a half times, because the kernel is also copied. With several groups the result
    /// is always [`Evaluation::Materialized`], because the factored evaluation is not valid there.
    /// The bench `layer` in the repository compares the rule with measured times.
    pub fn cheaper(&self, pixels: impl Into<Pixels>) -> Evaluation {
        let pixels = pixels.into();
        let [factored, materialized] = [Evaluation::Factored, Evaluation::Materialized]
            .map(|evaluation| u128::from(self.multiply_adds(evaluation, pixels)));
        let build = u128::from(self.multiply_adds(Evaluation::Materialized, 0));
        if self.groups == 1 && 2 * factored <= 2 * materialized + build {
            Evaluation::Factored
        } else {
            Evaluation::Materialized
        }
    }

    /// Whether the layer has fewer parameters than the [`dense`](Self::dense) layer.
    pub fn saves(&self) -> bool {
        self.parameters() < self.dense().parameters()
    }

    /// Whether the layer [saves](Self::saves) parameters and is expected to be faster than the
    /// [`dense`](Self::dense) layer. [`ConvConfig::Auto`](crate::ConvConfig::Auto) chooses by this
    /// rule. The size of the input does not matter.
    ///
    /// A layer is expected to be faster if it has one group, and if its factored evaluation takes at
    /// most 4/5 of the multiply-adds of the dense layer. The bench `layer` in the repository
    /// compares the rule with measured times.
    pub fn pays(&self) -> bool {
        let [factored, dense] = [
            self.multiply_adds(Evaluation::Factored, 1),
            self.dense().multiply_adds(Evaluation::Materialized, 1),
        ]
        .map(u128::from);
        self.groups == 1 && self.saves() && 5 * factored <= 4 * dense
    }

    /// The number of output channels.
    fn filters(&self) -> usize {
        self.primary.saturating_add(self.secondary)
    }

    /// The number of weights of one channel of a filter: kernel height × kernel width.
    fn taps(&self) -> usize {
        self.filter_size / self.primary_channels.max(1)
    }

    fn channel_coefficients(&self) -> u64 {
        product([self.primary_channels, self.secondary_channels])
    }

    fn coefficients(&self) -> u64 {
        match self.rank {
            Some(rank) => product([rank, self.filters()]),
            None => product([self.secondary, self.primary]),
        }
    }
}

/// The product in 64 bits, because `usize` may have 32. A product that is too large becomes the
/// largest number.
fn product<const N: usize>(factors: [usize; N]) -> u64 {
    let product = |product: u64, factor: usize| product.saturating_mul(factor as u64);
    // A zero may come after factors whose product is too large already.
    match factors.contains(&0) {
        true => 0,
        false => factors.into_iter().fold(1, product),
    }
}
