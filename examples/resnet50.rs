//! Trains ResNet with 50 layers on 32×32 images: `cargo run --example resnet50`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::ResNet50)
}
