//! Compresses a trained network and tests it after every stage:
//! `cargo run --example compress -- --network vgg11 --parameters 0.5`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{CompressArgs, compress};

fn main() -> ExitCode {
    linearconv_zoo::exit(compress(&CompressArgs::parse()))
}
