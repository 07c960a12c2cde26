//! Weights from files: of this program, of the reference implementation, and of PyTorch.
//!
//! [`load`] builds a network as a file says: which layer is of what kind, their ranks, the number of
//! classes and channels follow from the names and the shapes of its tensors.

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
