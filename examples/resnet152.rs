//! Trains ResNet with 152 layers on 32×32 images: `cargo run --example resnet152`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::ResNet152)
}
