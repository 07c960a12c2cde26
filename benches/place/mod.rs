//! Where benches run: cargo starts them in the folder of their crate.

use std::env;
use std::path::Path;

/// Goes to the root of the repository, to which the paths of a command line are relative; nowhere where
/// no cargo has started the bench.
pub fn enter_root() {
    if let Some(krate) = env::var_os("CARGO_MANIFEST_DIR") {
        env::set_current_dir(Path::new(&krate).join("../.."))
            .expect("the folder of the repository");
    }
}
