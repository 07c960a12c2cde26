//! Trains MobileNetV2 on 32×32 images: `cargo run --example mobilenet_v2`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::MobileNetV2)
}
