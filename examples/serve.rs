//! Lends the devices of this process to the runs of other processes:
//! `cargo run --example serve --features remote -- --port 3000`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{ServeArgs, serve};

fn main() -> ExitCode {
    linearconv_zoo::exit(serve(&ServeArgs::parse()))
}
