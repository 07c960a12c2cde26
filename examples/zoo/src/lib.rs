//! The networks, data sets and training loop of `linearconv`'s examples.
//!
//! The example of a network is one call of [`run`] with its [name](models::NetworkName).

#![warn(missing_docs)]

pub mod answers;
pub mod backend;
pub mod calibration;
pub mod cli;
pub mod compare;
pub mod compress;
pub mod data;
pub mod error;
pub mod models;
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

pub use error::Error;
pub use run::{execute, exit, load, run};
