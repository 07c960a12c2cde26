//! The networks, data sets and training loop of `linearconv`'s examples.
//!
//! The example of a network is one call of [`run`] with its [name](models::NetworkName).

#![warn(missing_docs)]

pub mod answers;
pub mod backend;
pub mod calibration;
mod claim;
pub mod cli;
pub mod compare;
pub mod compress;
pub mod data;
mod divergence;
pub mod error;
mod interruption;
mod logs;
pub mod models;
mod output;
pub mod paper;
mod progress;
pub mod recipe;
pub mod report;
mod run;
mod saving;
#[cfg(feature = "remote")]
pub mod serve;
mod session;
pub mod settings;
pub mod summary;
pub mod table;
pub mod trace;
pub mod training;
mod value_name;

pub use divergence::Diverged;
pub use error::Error;
pub use output::exit;
pub use run::{execute, load, run};
pub use saving::load_weights;
