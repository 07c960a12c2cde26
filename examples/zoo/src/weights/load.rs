//! Builds a network from a file.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use linearconv::{CoefficientsConfig, ConvConfig};

use super::file::read;
use super::layers::Reader;
use super::{Error, Metadata};
use crate::models::{AnyNetwork, Layer, Layered, NetworkConfig, NetworkName};

/// A network with the weights of a file.
#[derive(Debug)]
pub struct Loaded {
    /// The network, in its training state.
    pub network: AnyNetwork,
    /// The number of channels of its input images.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
    /// Whether the network has LinearConv layers.
    pub is_linear: bool,
    /// The metadata of the file.
    pub metadata: BTreeMap<String, String>,
}

impl Loaded {
    /// The coefficients that decide the losses of a training. `Full` stands for coefficients of any kind: the
    /// training adds the correlation loss and does not prune. None for a dense network.
    pub(crate) fn coefficients(&self) -> Option<CoefficientsConfig> {
        self.is_linear.then_some(CoefficientsConfig::Full)
    }

    /// The metadata for a file of this network.
    pub fn metadata_of(&self, network: NetworkName) -> Metadata {
        let kind = if self.is_linear {
            "linearconv"
        } else {
            "dense"
        };
        let variant = self.metadata.get("variant").map_or(kind, String::as_str);
        Metadata::new(network, self.classes, variant).or(&self.metadata)
    }
}

/// Builds a network on a device, with the weights of a file. The file decides the kind of each convolution:
/// dense, or LinearConv with full, low-rank or masked coefficients. All tensors of the file must belong to
/// the network, and all tensors of the network must be in the file. There is one exception: a normalization
/// may be missing if its convolution has a bias, because it was then folded into the convolution.
///
/// # Errors
/// [`Error`], which names the tensor.
pub fn load(name: NetworkName, path: &Path, device: &Device) -> Result<Loaded, Error> {
    let mut reader = Reader::new(read(path)?, name, device);
    let config = |channels, classes| NetworkConfig {
        conv: ConvConfig::dense(),
        channels,
        classes,
    };
    let mut sketch = name.try_init(&config(3, 10), device)?;
    let (channels, classes) = reader.sizes(&sketch.layers())?;

    let mut network = name.try_init(&config(channels, classes), device)?;
    let mut is_linear = false;
    for layer in network.layers() {
        match layer {
            Layer::Conv {
                name, conv, norm, ..
            } => {
                *conv = reader.conv(&name, conv)?;
                is_linear |= conv.cost().secondary > 0;
                if let Some(norm) = norm {
                    *norm.layer = reader.norm(conv, &norm)?;
                }
            }
            Layer::Linear { name, linear } => {
                *linear = reader.linear(&name, linear)?;
            }
        }
    }
    let metadata = reader.finish()?;
    Ok(Loaded {
        network,
        channels,
        classes,
        is_linear,
        metadata,
    })
}
