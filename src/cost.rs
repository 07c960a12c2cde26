//! What a layer costs, as integer formulas, and the choice that follows from it.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// How a layer computes its output. All ways give the same result up to rounding.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// The faster of the two for the sizes at hand, see [`LayerCost::cheaper`].
    Auto,
    /// Convolve with the primary filters, then combine their feature maps:
    /// `m·k + n·m` multiply-adds an output pixel, at low rank `m·k + r·(n + m)`. Needs
    /// `groups = 1`.
    Factored,
    /// Build the whole kernel, then convolve with it: `(m + n)·k` multiply-adds an output pixel
    /// and `n·m·k` for the kernel, at low rank `r·(n + m)·k`, as the reference implementation does.
    Materialized,
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
    /// Weights of one filter `k`: input channels of a group × kernel height × kernel width.
    pub filter_size: usize,
    /// Groups of channels.
    pub groups: usize,
    /// The rank of low-rank coefficients; `None` where all `n·m` are stored.
    pub rank: Option<usize>,
    /// Whether the layer adds a bias.
    pub bias: bool,
}

impl LayerCost {
    /// The dense convolution with as many filters.
    pub fn dense(&self) -> Self {
        Self {
            primary: self.filters(),
            secondary: 0,
            rank: None,
            ..*self
        }
    }

    /// Trainable parameters: primary filters, coefficients and bias.
    ///
    /// Masked coefficients count, the threshold of sparse ones does not.
    pub fn parameters(&self) -> usize {
        let bias = if self.bias { self.filters() } else { 0 };
        self.primary * self.filter_size + self.coefficients() + bias
    }

    /// Multiply-adds of a forward pass that computes `pixels` output pixels
    /// (batch × height × width), bias left out as usual.
    pub fn multiply_adds(&self, evaluation: Evaluation, pixels: usize) -> usize {
        match evaluation {
            Evaluation::Auto => self.multiply_adds(self.cheaper(pixels), pixels),
            Evaluation::Factored => {
                pixels * (self.primary * self.filter_size + self.coefficients())
            }
            Evaluation::Materialized => {
                pixels * self.filters() * self.filter_size + self.coefficients() * self.filter_size
            }
        }
    }

    /// The evaluation that is expected to be faster for `pixels` output pixels
    /// (batch × height × width): what [`Evaluation::Auto`] stands for.
    ///
    /// That is the one with fewer multiply-adds, where those that build the kernel count one and a
    /// half times, because the kernel is also copied. The layer bench shows it for the kernel of
    /// the feature `flex` and for tensor operations alike. Grouped convolutions are materialized,
    /// because nothing else is valid for them.
    pub fn cheaper(&self, pixels: usize) -> Evaluation {
        let [factored, materialized] = [Evaluation::Factored, Evaluation::Materialized]
            .map(|evaluation| self.multiply_adds(evaluation, pixels));
        let build = self.multiply_adds(Evaluation::Materialized, 0);
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
        ];
        self.groups == 1 && self.saves() && 5 * factored <= 4 * dense
    }

    fn filters(&self) -> usize {
        self.primary + self.secondary
    }

    fn coefficients(&self) -> usize {
        match self.rank {
            Some(rank) => rank * (self.secondary + self.primary),
            None => self.secondary * self.primary,
        }
    }
}
