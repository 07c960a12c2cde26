//! Trains VGG with 11 layers on 32×32 images: `cargo run --example vgg11 -- --variant rank --rank 1`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::Vgg11)
}
