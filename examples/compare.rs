//! Trains the variants of a network with the same settings and prints one table:
//! `cargo run --example compare -- --network base --dataset mnist-mini`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{CompareArgs, compare};

fn main() -> ExitCode {
    linearconv_zoo::exit(compare(&CompareArgs::parse()))
}
