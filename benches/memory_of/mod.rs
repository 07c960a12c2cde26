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

/// Forgets the most so far.
#[allow(dead_code, reason = "not every bench asks")]
pub fn forget_peak() {
    // Without it the figure includes what came before; `peak` then tells more, and never less.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn status(name: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kibibytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
