//! Trains the all-convolutional network All-CNN-C on 32×32 images: `cargo run --example allconv`.

use std::process::ExitCode;

use linearconv_zoo::models::NetworkName;

fn main() -> ExitCode {
    linearconv_zoo::run(NetworkName::AllConv)
}
