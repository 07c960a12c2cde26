//! Trains ResNet with 34 layers on 32×32 images: `cargo run --example resnet34`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::ResNet34)
}
