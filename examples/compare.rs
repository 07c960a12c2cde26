//! The variants of a network, trained alike:
//! `cargo run --example compare -- --network base --dataset mnist-mini`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{CompareArgs, compare};

fn main() -> ExitCode {
    linearconv_zoo::exit(compare(&CompareArgs::parse()))
}
