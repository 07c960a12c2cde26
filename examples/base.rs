//! Trains the baseline of the LinearConv paper on 32×32 images: `cargo run --example base`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::Base)
}
