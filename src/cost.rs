//! What a layer costs, as integer formulas, and the choice that follows from it.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// How a layer computes its output. All ways give the same result up to rounding.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evaluation {
    /// The faster of the two for the sizes at hand, see [`LayerCost::cheaper`].
    Auto,
    /// Convolve with the primary filters, then combine their feature maps:
    /// `m·k + n·m` multiply-adds an output pixel, at low rank `m·k + r·(n + m)`. Where input
    /// channels are combined, that comes first: `s·(c − s)` multiply-adds an input pixel. Needs
    /// `groups = 1`.
    Factored,
    /// Build the whole kernel, then convolve with it: `(m + n)·k` multiply-adds an output pixel
    /// and `n·m·k` for the kernel, at low rank `r·(n + m)·k`, as the reference implementation does.
    Materialized,
}

/// The pixels that a layer reads and computes, each batch × height × width.
///
/// One number stands for a layer that computes as many pixels as it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// Pixels of the input.
    pub input: usize,
    /// Pixels of the output.
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

/// The sizes of a convolution that decide its number of parameters and multiply-adds.
///
/// A dense convolution is the case without secondary filters, see [`dense`](Self::dense).
///
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
    /// Primary filters `m`.
    pub primary: usize,
    /// Secondary filters `n`.
    pub secondary: usize,
    /// Weights of one stored filter `k`: primary channels of a group × kernel height × kernel
    /// width.
    pub filter_size: usize,
    /// Primary input channels of a group `s`: all of them in the paper's layer.
    pub primary_channels: usize,
    /// Input channels `c − s` that are added onto the primary ones.
    pub secondary_channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// The rank of low-rank coefficients; `None` where all `n·m` are stored.
    pub rank: Option<usize>,
    /// Whether the layer adds a bias.
    pub bias: bool,
}

impl LayerCost {
    /// Of a dense convolution whose weight is `[filters, channels / groups, height, width]`.
    pub(crate) fn of_weight(
        [filters, channels, height, width]: [usize; 4],
        groups: usize,
        bias: bool,
    ) -> Self {
        Self {
            primary: filters,
            secondary: 0,
            filter_size: channels * height * width,
            primary_channels: channels,
            secondary_channels: 0,
            groups,
            rank: None,
            bias,
        }
    }

    /// The dense convolution with as many filters.
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

    /// Trainable parameters: primary filters, coefficients of filters and of channels, and bias.
    ///
    /// Masked coefficients count, the threshold of sparse ones does not. A sum beyond all numbers is
    /// the largest one, here and in the counts below.
    pub fn parameters(&self) -> usize {
        let bias = if self.bias { self.filters() } else { 0 };
        let weights = product([self.primary, self.filter_size]);
        let sum = weights
            .saturating_add(self.coefficients())
            .saturating_add(self.channel_coefficients())
            .saturating_add(bias as u64);
        usize::try_from(sum).unwrap_or(usize::MAX)
    }

    /// Multiply-adds of a forward pass over these [`Pixels`], bias left out as usual.
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

    /// The evaluation that is expected to be faster for these [`Pixels`]: what
    /// [`Evaluation::Auto`] stands for.
    ///
    /// That is the one with fewer multiply-adds, where those that build the kernel count one and a
    /// half times, because the kernel is also copied. The layer bench shows it for the kernel of
    /// the feature `flex` and for tensor operations alike. Grouped convolutions are materialized,
    /// because nothing else is valid for them.
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

    /// Whether the layer has fewer parameters than its dense twin.
    pub fn saves(&self) -> bool {
        self.parameters() < self.dense().parameters()
    }

    /// Whether the layer [saves](Self::saves) parameters and is expected to be faster than its
    /// dense twin, whatever the size of its input: what
    /// [`ConvConfig::Auto`](crate::ConvConfig::Auto) asks.
    ///
    /// That is where the factored evaluation needs at most four fifths of the dense twin's
    /// multiply-adds. See the layer bench.
    pub fn pays(&self) -> bool {
        let [factored, dense] = [
            self.multiply_adds(Evaluation::Factored, 1),
            self.dense().multiply_adds(Evaluation::Materialized, 1),
        ]
        .map(u128::from);
        self.groups == 1 && self.saves() && 5 * factored <= 4 * dense
    }

    fn filters(&self) -> usize {
        self.primary.saturating_add(self.secondary)
    }

    /// Weights of one channel of a filter.
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

/// In 64 bits also where sizes have 32; the largest number where that is too small.
fn product<const N: usize>(factors: [usize; N]) -> u64 {
    let product = |product: u64, factor: usize| product.saturating_mul(factor as u64);
    // A zero behind a sum beyond all numbers.
    match factors.contains(&0) {
        true => 0,
        false => factors.into_iter().fold(1, product),
    }
}
