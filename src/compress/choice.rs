//! How one layer is compressed, and which layers are worth it.

use serde::{Deserialize, Serialize};

use crate::coefficients::CoefficientsConfig;
use crate::cost::LayerCost;
use crate::error::Error;

/// How a convolution is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Choice {
    /// The number of primary filters `m`.
    pub primary: usize,
    /// The number of primary channels `s`, onto which the other input channels are added; `None`
    /// where all channels are primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_channels: Option<usize>,
    /// How the coefficients of the other filters are stored.
    pub coefficients: CoefficientsConfig,
}

impl Choice {
    /// Primary filters of all channels: the paper's layer.
    pub fn new(primary: usize, coefficients: CoefficientsConfig) -> Self {
        Self {
            primary,
            primary_channels: None,
            coefficients,
        }
    }

    /// With primary filters of this many channels.
    pub fn with_primary_channels(self, primary_channels: usize) -> Self {
        Self {
            primary_channels: Some(primary_channels),
            ..self
        }
    }

    /// What a layer of this weight, without bias, costs once it is compressed so. This is the check
    /// of every choice: what has a cost can be fitted.
    ///
    /// # Errors
    /// [`Error::Primary`], [`Error::PrimaryChannels`], and those of the coefficients'
    /// configuration: the layer cannot be compressed so.
    pub(crate) fn cost(&self, shape: [usize; 4], groups: usize) -> Result<LayerCost, Error> {
        let [filters, channels, height, width] = shape;
        let primary = self.primary;
        if !(1..filters).contains(&primary) {
            return Err(Error::Primary { primary, filters });
        }
        let primary_channels = self.primary_channels.unwrap_or(channels);
        let all = primary_channels == channels;
        if !(1..=channels).contains(&primary_channels) || groups > 1 && !all {
            return Err(Error::PrimaryChannels {
                primary_channels,
                channels,
                groups,
            });
        }
        let secondary = filters - primary;
        Ok(LayerCost {
            primary,
            secondary,
            filter_size: primary_channels * height * width,
            primary_channels,
            secondary_channels: channels - primary_channels,
            groups,
            rank: self.coefficients.rank(secondary, primary)?,
            bias: false,
        })
    }
}

/// Whether a weight of this shape is worth replacing at this cost: where that
/// [saves](LayerCost::saves) parameters, and where there is more than one channel. One channel is
/// the mark of a depthwise convolution, whose filters have nothing in common.
pub(crate) fn worth_replacing([_, channels, ..]: [usize; 4], cost: &LayerCost) -> bool {
    channels > 1 && cost.saves()
}
