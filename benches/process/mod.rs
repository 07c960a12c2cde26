//! Measurements in processes of their own.

use std::process::Command;

/// What this program prints where it is asked to measure one thing.
pub fn measure(which: [usize; 3]) -> String {
    let program = std::env::current_exe().expect("this program");
    let which = which.map(|index| index.to_string());
    let output = Command::new(program).arg("--measure").args(which).output();
    let output = output.expect("started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).trim().into()
}
