//! Trains VGG with 13 layers on 32×32 images: `cargo run --example vgg13`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::Vgg13)
}
