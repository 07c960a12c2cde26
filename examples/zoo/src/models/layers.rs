//! The layers of a network by name, for whatever reads, writes or replaces weights.

use burn::nn::{BatchNorm, Linear};
use linearconv::Conv;

/// A network that shows its layers.
pub trait Layered {
    /// All layers that have weights.
    fn layers(&mut self) -> Vec<Layer<'_>>;
}

/// The names of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerName {
    /// In records of Burn: the path of fields, without the variants of enums.
    pub burn: String,
    /// In checkpoints of the reference implementation, where it has the network; in those of
    /// PyTorch's users for its kin.
    pub pytorch: String,
}

impl LayerName {
    /// The names of a layer.
    pub fn new(burn: impl Into<String>, pytorch: impl Into<String>) -> Self {
        Self {
            burn: burn.into(),
            pytorch: pytorch.into(),
        }
    }
}

/// A layer of a network.
pub enum Layer<'a> {
    /// A convolution.
    Conv {
        /// Its names.
        name: LayerName,
        /// The layer.
        conv: &'a mut Conv,
        /// Where a convolution can stand that mixes the channels ahead of this one.
        mix: Option<&'a mut Option<Conv>>,
        /// The normalization that follows at once.
        norm: Option<Norm<'a>>,
    },
    /// A linear layer.
    Linear {
        /// Its names.
        name: LayerName,
        /// The layer.
        linear: &'a mut Linear,
    },
}

/// A normalization that can be folded into the convolution before it.
pub struct Norm<'a> {
    /// Its names.
    pub name: LayerName,
    /// The layer; none once it is folded.
    pub layer: &'a mut Option<BatchNorm>,
}
