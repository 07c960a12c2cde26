//! The networks, data sets and training loop of `linearconv`'s examples.
//!
//! An example is one call of [`run`] with a [network](models::Network) and its
//! [recipe](recipe::Recipe).

#![warn(missing_docs)]

pub mod backend;
pub mod cli;
pub mod data;
pub mod error;
pub mod models;
mod progress;
pub mod recipe;
pub mod report;
mod run;
pub mod trace;
pub mod training;

pub use error::Error;
pub use run::{execute, run};
