//! A run that is killed at any moment, by a signal that no program sees, and goes on from what it left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use linearconv_zoo::Report;
use linearconv_zoo::cli::Args;
use linearconv_zoo::execute;
use linearconv_zoo::models::NetworkName;

/// The variable that makes a test the program which is killed.
const FLAGS: &str = "LINEARCONV_TEST_FLAGS";

#[test]
#[ignore = "the other test starts it as a program of its own"]
fn program() {
    if let Ok(flags) = std::env::var(FLAGS) {
        let flags = ["base"].into_iter().chain(flags.split_whitespace());
        let args = Args::try_parse_from(flags).expect("flags");
        execute(NetworkName::Base, args).expect("a result");
    }
}

/// Runs the program, for so long at most; whether it has ended by itself.
fn run(flags: &str, longest: Duration) -> bool {
    let mut program = Command::new(std::env::current_exe().expect("this program"));
    let program = program.args(["--exact", "program", "--ignored", "--nocapture"]);
    let program = program.env(FLAGS, flags).stdout(Stdio::null());
    let mut child = program.stderr(Stdio::piped()).spawn().expect("started");
    let started = Instant::now();
    while started.elapsed() < longest {
        if let Some(status) = child.try_wait().expect("a child") {
            let output = child.wait_with_output().expect("its output");
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(status.success(), "{flags}: {output}");
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("dead");
    false
}

fn report(folder: &Path) -> Report {
    let json = fs::read(folder.join("report.json")).expect("a report");
    serde_json::from_slice(&json).expect("whole")
}

/// What does not depend on time: with the losses, the weights of every epoch.
fn outcome(folder: &Path) -> (serde_json::Value, usize, f64, f64) {
    let report = report(folder);
    let epochs = serde_json::to_value(&report.epochs).expect("numbers");
    (
        epochs,
        report.best_epoch,
        report.sparsity,
        report.test_accuracy,
    )
}

#[test]
fn a_run_that_is_killed_again_and_again_reaches_the_uninterrupted_result() {
    const KILLS: u32 = 20;
    let parent = tempfile::tempdir().expect("a temporary folder");
    let settings = "--variant sparse --train-limit 60 --test-limit 20 --batch-size 5 --epochs 6";
    let flags = |folder: &Path| format!("{settings} --out-dir {}", folder.display());
    let whole = parent.path().join("whole");
    let started = Instant::now();
    assert!(run(&flags(&whole), Duration::MAX));
    let time = started.elapsed();
    let expected = outcome(&whole);

    let mut kills = 0;
    for round in 0.. {
        let folder = parent.path().join(format!("run-{round}"));
        while !folder.join("report.json").exists() {
            // By multiples of the golden ratio, moments are spread over all of the time.
            let share = (f64::from(kills) * 0.618_034).fract();
            let longest = match kills < KILLS {
                true => time.mul_f64(0.1 + 0.9 * share),
                false => Duration::MAX,
            };
            // Killed before it could say what it is, it starts anew.
            let flags = match folder.join("config.json").exists() {
                true => format!("--resume {}", folder.display()),
                false => flags(&folder),
            };
            if !run(&flags, longest) {
                kills += 1;
            }
        }
        assert_eq!(outcome(&folder), expected, "after {kills} kills");
        if kills >= KILLS {
            break;
        }
    }
}
