//! The figures of the documentation, from the recorded results of the project's own runs.

mod accuracy;
mod compression;
mod correlation;
mod csv;
mod measured;
mod operation;
mod records;
mod tables;
mod training;

use std::fmt;
use std::path::PathBuf;

use clap::Parser;

use crate::Error;
use crate::files::write_json;
use measured::Measured;
use records::Results;

/// Draw the figures of the documentation from the recorded results of runs, each as SVG with its
/// numbers as CSV, and write tables of the results.
#[derive(Parser, Clone, Debug)]
pub struct FiguresArgs {
    /// The folder with the recorded results, which `figs/train.sh` writes.
    #[arg(long, value_name = "DIR", default_value = "figs/results")]
    pub results: PathBuf,

    /// Where to write the figures.
    #[arg(long, value_name = "DIR", default_value = "figs")]
    pub out_dir: PathBuf,

    /// Draw nothing: time the networks that the runs in DIR have trained, correlate their filters, and
    /// write both to `measured.json` there.
    #[arg(long, value_name = "DIR")]
    pub measure: Option<PathBuf>,
}

/// The files that were written, a line for each.
#[derive(Clone, Debug)]
pub struct Written(Vec<PathBuf>);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut paths = self.0.iter();
        paths.try_for_each(|path| writeln!(f, "{}", path.display()))
    }
}

/// Draws the figures, or measures what they need of trained networks.
///
/// # Errors
/// Names the file that could not be read or written.
pub fn figures(args: &FiguresArgs) -> Result<Written, Error> {
    if let Some(runs) = &args.measure {
        let path = runs.join("measured.json");
        write_json(&path, &Measured::of(runs)?)?;
        return Ok(Written(vec![path]));
    }
    let results = Results::read(&args.results)?;
    let draw = [
        operation::draw,
        accuracy::against_weights,
        accuracy::against_time,
        compression::draw,
        training::draw,
        correlation::draw,
        tables::write,
    ];
    let mut written = Vec::new();
    for draw in draw {
        written.extend(draw(&results, &args.out_dir)?);
    }
    Ok(Written(written))
}
