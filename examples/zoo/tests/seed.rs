//! A run is drawn from its seed alone, also when it is interrupted and resumed. This is the only
//! test of its binary: flex has one random generator for the process, so a test beside it would
//! draw from the same one.

use std::fs;
use std::path::Path;

use clap::Parser;
use linearconv_zoo::cli::Args;
use linearconv_zoo::execute;
use linearconv_zoo::models::NetworkName;
use linearconv_zoo::report::Report;

fn run(network: NetworkName, flags: &str) -> Report {
    let flags = ["network"].into_iter().chain(flags.split_whitespace());
    execute(network, Args::try_parse_from(flags).expect("flags")).expect("a result")
}

/// All that a run has measured but times.
fn measured(report: &Report) -> String {
    format!(
        "{:?} {} {}",
        report.epochs, report.sparsity, report.test_accuracy
    )
}

/// What a run leaves behind that is killed in its third epoch.
fn kill_in_third_epoch(folder: &Path) {
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

#[test]
fn runs_repeat_exactly_differ_by_seed_and_resume_as_if_never_interrupted() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let small = "--epochs 3 --train-limit 42 --test-limit 10 --batch-size 10";
    // Dropout draws in AllConv's forward pass, pruning moves along a ramp.
    for (network, variant) in [
        (NetworkName::AllConv, "--variant sparse --sparsity 0.5"),
        (NetworkName::Base, "--variant low-rank --recipe paper"),
    ] {
        let folder = |name: &str| parent.path().join(format!("{network}-{name}"));
        let new = |name: &str, seed: u64| {
            let folder = folder(name);
            let flags = format!(
                "{small} {variant} --seed {seed} --out-dir {}",
                folder.display()
            );
            run(network, &flags)
        };
        let first = measured(&new("first", 3));
        assert_eq!(measured(&new("second", 3)), first);
        assert_ne!(measured(&new("third", 4)), first);

        kill_in_third_epoch(&folder("second"));
        let resumed = run(network, &format!("--resume {}", folder("second").display()));
        assert_eq!(measured(&resumed), first);
    }
}
