//! Weights in files of this program, of the reference implementation, and of PyTorch.
//!
//! [`load`] builds a network from a file. The names and the shapes of the tensors decide the kind and the
//! rank of each layer, and the numbers of classes and channels.

mod error;
pub mod export;
mod file;
mod layers;
mod load;
mod metadata;
#[cfg(feature = "onnx")]
mod onnx;

pub use error::Error;
pub use load::{Loaded, load};
pub use metadata::Metadata;
