//! A run is drawn from its seed alone, also when it is interrupted and resumed. This is the only
//! test of its binary: flex has one random generator for the process, so a test beside it would
//! draw from the same one.

mod common;

use linearconv_zoo::Report;
use linearconv_zoo::models::NetworkName;

use common::{kill_in_third_epoch, run};

/// All that a run has measured but times.
fn measured(report: &Report) -> String {
    format!(
        "{:?} {} {}",
        report.epochs, report.sparsity, report.test_accuracy
    )
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
