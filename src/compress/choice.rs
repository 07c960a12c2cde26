//! How one layer is compressed, and which layers are worth it.

use serde::{Deserialize, Serialize};

use crate::coefficients::CoefficientsConfig;
use crate::cost::LayerCost;
use crate::error::Error;

/// How a convolution is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The number of primary filters.
    pub primary: usize,
    /// How the coefficients of the others are stored.
    pub coefficients: CoefficientsConfig,
}

impl Choice {
    /// The rank of the coefficients, where they have one, for a layer of this many filters.
    ///
    /// # Errors
    /// [`Error::Primary`], and those of the coefficients' configuration: the layer cannot have it.
    pub(crate) fn rank(&self, filters: usize) -> Result<Option<usize>, Error> {
        let primary = self.primary;
        if !(1..filters).contains(&primary) {
            return Err(Error::Primary { primary, filters });
        }
        self.coefficients.rank(filters - primary, primary)
    }
}

/// Whether a weight of this shape is worth replacing at this cost: where that
/// [saves](LayerCost::saves) parameters, and where there is more than one channel. One channel is
/// the mark of a depthwise convolution, whose filters have nothing in common.
pub(crate) fn worth_replacing([_, channels, ..]: [usize; 4], cost: &LayerCost) -> bool {
    channels > 1 && cost.saves()
}
