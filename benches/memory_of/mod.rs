//! The memory of this process, where the system tells.

use std::fs;

/// The most that it has had so far, in bytes.
pub fn peak() -> Option<usize> {
    status("VmHWM:")
}

/// What it has, in bytes.
#[allow(dead_code, reason = "not every bench asks")]
pub fn resident() -> Option<usize> {
    status("VmRSS:")
}

fn status(name: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kibibytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
