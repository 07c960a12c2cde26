//! Why weights cannot be read.

use std::io;

use thiserror::Error;

/// Why a file does not give the weights of a network.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),

    /// The file begins as none that can be read.
    #[error(
        "this is no file of weights: it begins with the bytes {begin:02x?}; expected burnpack (.bpk), \
         SafeTensors (.safetensors) or PyTorch (.pt, .pth, .ckpt)"
    )]
    Format {
        /// The first bytes.
        begin: Vec<u8>,
    },

    /// The file is damaged, or holds what its format does not allow.
    #[error("damaged or foreign {format}: {reason}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// What its reader said.
        reason: String,
    },

    /// A layer has no weights in the file.
    #[error(
        "{layer}: missing; expected one of {expected:?}. The file has {found}: is it one of {network}?"
    )]
    Missing {
        /// The layer and its part.
        layer: String,
        /// The names under which it is looked for.
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
        /// The shape that its layer needs; 0 stands for any size.
        expected: Vec<usize>,
        /// The shape that it has.
        found: Vec<usize>,
    },

    /// A tensor has another type.
    #[error("{name}: expected {expected}, found {found}")]
    Type {
        /// The tensor.
        name: String,
        /// What its layer needs.
        expected: &'static str,
        /// What it is.
        found: String,
    },

    /// An order of filters or channels that is none.
    #[error("{name}: {index} of {count} filters or channels does not exist")]
    Order {
        /// The tensor.
        name: String,
        /// What it names.
        index: i64,
        /// How many there are.
        count: usize,
    },

    /// Tensors of the file belong to no layer.
    #[error("the file has {count} tensors that {network} has no place for: {names}")]
    Unused {
        /// How many.
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
