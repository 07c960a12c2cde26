//! Errors of reading weights.

use std::io;

use thiserror::Error;

/// The reason why a file does not give the weights of a network.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),

    /// The file does not begin like a format that can be read.
    #[error(
        "this is no file of weights: it begins with the bytes {begin:02x?}; expected burnpack (.bpk), \
         SafeTensors (.safetensors) or PyTorch (.pt, .pth, .ckpt)"
    )]
    Format {
        /// The first bytes.
        begin: Vec<u8>,
    },

    /// The file is damaged, or has content that is not allowed in its format.
    #[error("damaged or foreign {format}: {reason}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// The error of the reader.
        reason: String,
    },

    /// The file lacks the weights of a layer.
    #[error(
        "{layer}: missing; expected one of {expected:?}. The file has {found}: is it a file of {network}?"
    )]
    Missing {
        /// The layer.
        layer: String,
        /// The names that the tensor may have.
        expected: Vec<String>,
        /// Some names that the file has.
        found: String,
        /// The network.
        network: String,
    },

    /// A tensor has another shape.
    #[error("{name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape that the layer needs; 0 stands for any size.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor has another type.
    #[error("{name}: expected {expected}, found {found}")]
    Type {
        /// The tensor.
        name: String,
        /// The type that the layer needs.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },

    /// An order of filters or channels has an index that does not exist.
    #[error("{name}: {index} of {count} filters or channels does not exist")]
    Order {
        /// The tensor.
        name: String,
        /// The index.
        index: i64,
        /// The number of filters or channels.
        count: usize,
    },

    /// The file has tensors that belong to no layer.
    #[error("the file has {count} tensors that {network} has no place for: {names}")]
    Unused {
        /// The number of such tensors.
        count: usize,
        /// Some of their names.
        names: String,
        /// The network.
        network: String,
    },

    /// The layers of the file do not make the network.
    #[error(transparent)]
    LinearConv(#[from] linearconv::Error),
}
