//! Trains ResNeXt with 29 layers, 2×64d, on 32×32 images: `cargo run --example resnext29`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::ResNeXt29_2x64d)
}
