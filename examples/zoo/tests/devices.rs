//! Runs on other devices than one CPU: what is written on one goes on on another.
//! `tests/wgpu.sh` runs this with a GPU backend, `cargo test` with two CPUs.

mod common;

use linearconv_zoo::Report;
use linearconv_zoo::models::NetworkName;

use common::{kill_in_third_epoch, run};

/// Two places to compute, and how close their losses are for the same weights and batches: up to
/// rounding; on two devices, batch normalization sees half of a batch.
fn places() -> ([&'static str; 2], f64) {
    match cfg!(feature = "wgpu") {
        true => (["--backend flex", "--backend wgpu"], 1e-3),
        false => (
            ["--backend flex --devices 1", "--backend flex --devices 2"],
            0.05,
        ),
    }
}

/// The last epoch's losses, for training and validation.
fn losses(report: &Report) -> [f64; 2] {
    let last = report.epochs.last().expect("an epoch");
    [last.train_loss, last.valid_loss]
}

#[test]
fn a_run_goes_on_where_another_device_has_left_it() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let ([here, there], tolerance) = places();
    for (first, second) in [(here, there), (there, here)] {
        let folder = parent.path().join(first.replace(' ', "-"));
        let place = format!("--out-dir {}", folder.display());
        let small = "--epochs 3 --train-limit 330 --test-limit 10 --batch-size 30 --lr 3e-4";
        let variant = "--variant sparse --sparsity 0.5";
        let all = run(
            NetworkName::Base,
            &format!("{variant} {small} {first} {place}"),
        );
        kill_in_third_epoch(&folder);
        let resumed = run(
            NetworkName::Base,
            &format!("--resume {} {second}", folder.display()),
        );
        // Of the best epoch, which may be another one where two are about as good.
        let sparsity = [&resumed, &all].map(|report| report.sparsity);
        assert!(
            sparsity.iter().all(|sparsity| *sparsity > 0.4),
            "{sparsity:?}"
        );
        assert_eq!(resumed.epochs.len(), 3);
        for (ours, theirs) in losses(&resumed).iter().zip(losses(&all)) {
            let difference = (ours - theirs).abs() / theirs;
            assert!(
                difference < tolerance,
                "{first}, then {second}: {ours} and {theirs}"
            );
        }
    }
}
