//! VGG11 on 32×32 images: `cargo run --example vgg11 -- --variant rank --rank 1`.

use std::process::ExitCode;

use linearconv_zoo::models::VggConfig;
use linearconv_zoo::recipe::Recipe;

fn main() -> ExitCode {
    linearconv_zoo::run("vgg11", Recipe::default(), |config, device| {
        VggConfig::Vgg11.try_init(config, device)
    })
}
