//! How one layer is compressed, and which layers are worth it.

use serde::{Deserialize, Serialize};

use crate::coefficients::CoefficientsConfig;
use crate::cost::LayerCost;
use crate::error::Error;

/// How one convolution is compressed: the sizes of [`LinearConv2d`](crate::LinearConv2d) that
/// replace it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Choice {
    /// Number of primary filters `m`.
    pub primary: usize,
    /// Number of primary channels `s`, onto which the secondary channels are added. `None`: all
    /// channels are primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_channels: Option<usize>,
    /// How the coefficients of the secondary filters are stored.
    pub coefficients: CoefficientsConfig,
}

impl Choice {
    /// This many primary filters, with all channels primary: the layer of the paper, section 3.
    pub fn new(primary: usize, coefficients: CoefficientsConfig) -> Self {
        Self {
            primary,
            primary_channels: None,
            coefficients,
        }
    }

    /// The same choice with this many primary channels.
    pub fn with_primary_channels(self, primary_channels: usize) -> Self {
        Self {
            primary_channels: Some(primary_channels),
            ..self
        }
    }

    /// The cost of a layer with this weight, without bias, once it is compressed. Every choice is
    /// checked here: a choice that has a cost can be fitted.
    ///
    /// # Errors
    /// The layer cannot be compressed so: [`Error::Primary`], [`Error::PrimaryChannels`], or an
    /// error of the configuration of the coefficients.
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

/// Whether a layer is worth replacing at this cost: it [saves](LayerCost::saves) parameters, and
/// its filters have more than one channel. Filters of one channel belong to a depthwise
/// convolution, where each filter reads another channel, so that no filter combines from others.
pub(crate) fn worth_replacing([_, channels, ..]: [usize; 4], cost: &LayerCost) -> bool {
    channels > 1 && cost.saves()
}
