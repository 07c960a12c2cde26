//! Trained convolutions made small: fitting one layer, deciding for all layers of a model, and
//! putting the small layers in the place of the dense ones.

mod activations;
mod budget;
mod choice;
mod decomposition;
mod from_conv2d;
mod plan;
mod reparameterization;
mod search;
mod table;
mod weights;

pub use activations::responses;
pub use budget::Compression;
pub use choice::Choice;
pub use plan::{Plan, PlannedLayer};
pub use reparameterization::{CombinedFilters, LinearConv};
pub use weights::conv2d_weights;
