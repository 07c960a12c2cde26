//! The networks, data sets and training loop of `linearconv`'s examples.
//!
//! The example of a network is one call of [`run`] with the network's [name](models::NetworkName).

#![warn(missing_docs)]

pub mod backend;
mod calibration;
mod chart;
pub mod cli;
pub mod commands;
pub mod data;
pub mod error;
mod files;
mod memory;
pub mod models;
mod output;
mod quantization;
mod run;
pub mod train;
mod value_name;
pub mod weights;

pub use calibration::{calibrate, first_images, normalize_again};
pub use error::Error;
pub use files::{read_json, write_json};
pub use memory::keep_freed_memory;
pub use output::exit;
pub use run::{Report, Run, Settings, execute, load, run, used};
