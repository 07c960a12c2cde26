//! The layers of a network by name, for code that reads, writes or replaces weights.

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
    /// The name in records of Burn: the path of fields, without the variants of enums.
    pub burn: String,
    /// The name in checkpoints of the reference implementation. For networks that it lacks: the name in
    /// other checkpoints of PyTorch.
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
        /// A place for a convolution before this one, which combines the input channels.
        mix: Option<&'a mut Option<Conv>>,
        /// The normalization that follows directly.
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
    /// The layer; none once it is folded into the convolution.
    pub layer: &'a mut Option<BatchNorm>,
}
