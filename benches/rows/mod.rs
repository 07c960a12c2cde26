//! The flags of benches that print rows.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// Which rows are measured, and where they are written.
#[derive(clap::Args)]
pub struct Rows {
    /// Fewer rows, or fewer turns, in less than a minute.
    #[arg(long)]
    pub quick: bool,

    /// Only rows whose name contains TEXT.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Write everything that was measured to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Rows {
    /// Whether the row of this name is asked for.
    pub fn have(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Writes what was measured, if a file is asked for. A file that cannot be written ends the program.
    pub fn write(&self, measured: &Value) {
        let Some(path) = &self.json else { return };
        if let Err(error) = fs::write(path, format!("{measured:#}\n")) {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}
