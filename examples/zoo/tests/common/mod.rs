//! What the tests of whole runs share.

use std::fs;
use std::path::Path;

use clap::Parser;
use linearconv_zoo::Report;
use linearconv_zoo::cli::Args;
use linearconv_zoo::execute;
use linearconv_zoo::models::NetworkName;

pub fn run(network: NetworkName, flags: &str) -> Report {
    let flags = ["network"].into_iter().chain(flags.split_whitespace());
    execute(network, Args::try_parse_from(flags).expect("flags")).expect("a result")
}

/// What a run leaves behind that is killed in its third epoch.
pub fn kill_in_third_epoch(folder: &Path) {
    for file in ["report.json", "curves.svg", "model.bpk"] {
        fs::remove_file(folder.join(file)).expect("a result");
    }
    for part in ["model", "optim", "scheduler"] {
        let file = format!("checkpoint/{part}-3.bpk");
        fs::remove_file(folder.join(file)).expect("a checkpoint");
    }
    for split in ["train", "valid"] {
        fs::remove_dir_all(folder.join(split).join("epoch-3")).expect("logs");
    }
}
