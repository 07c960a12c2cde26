//! Prints the parameters and multiply-adds of every network and variant:
//! `cargo run --example summary`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{SummaryArgs, summary};

fn main() -> ExitCode {
    linearconv_zoo::exit(summary(&SummaryArgs::parse()))
}
