//! The figures of the documentation: `cargo run --example figures`.

use std::process::ExitCode;

use clap::Parser;
use linearconv_zoo::commands::{FiguresArgs, figures};

fn main() -> ExitCode {
    linearconv_zoo::exit(figures(&FiguresArgs::parse()))
}
