//! Compression of trained convolutions: the fit of one layer, the plan for all layers of a model,
//! and the replacement of dense layers by small ones.

mod activations;
mod budget;
mod choice;
mod combination;
mod decomposition;
mod fit;
mod from_conv2d;
mod plan;
mod regression;
mod reparameterization;
mod search;
mod sensitivity;
mod smallest;
mod table;
mod taps;
mod threads;
mod weights;

pub use activations::Calibration;
pub(crate) use activations::{is_watched, record};
pub use budget::Compression;
pub use choice::Choice;
pub use plan::{Dense, Plan, PlannedLayer};
pub use reparameterization::{CombinedFilters, LinearConv};
pub use sensitivity::{Measurement, Sensitivity};
pub use smallest::{Search, Trial, Verdict};
pub use weights::{OtherLayer, conv2d_weights};
