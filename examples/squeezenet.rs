//! Trains SqueezeNet 1.1 on 32×32 images: `cargo run --example squeezenet`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::SqueezeNet)
}
