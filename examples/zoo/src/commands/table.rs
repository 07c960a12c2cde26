//! Tables for the terminal, for Markdown and for other programs.

use std::fmt;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table as TextTable};

/// The format of a table. Without a flag, columns are aligned for reading.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Format {
    /// Print Markdown.
    #[arg(long)]
    pub markdown: bool,

    /// Print comma-separated values.
    #[arg(long, conflicts_with = "markdown")]
    pub csv: bool,
}

/// A table of text. Its first columns are names, its other columns are figures.
#[derive(Clone, Debug)]
pub struct Table {
    format: Format,
    names: usize,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows, with `names` columns of names.
    pub fn new(format: Format, names: usize, header: &[&str]) -> Self {
        Self {
            format,
            names,
            header: header.iter().map(|name| name.to_string()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with as many cells as the header has. Cells must not hold commas, because CSV cells are
    /// not quoted.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format.csv {
            let mut lines = std::iter::once(&self.header).chain(&self.rows);
            return lines.try_for_each(|cells| writeln!(f, "{}", cells.join(",")));
        }
        let mut table = TextTable::new();
        let preset = if self.format.markdown {
            ASCII_MARKDOWN
        } else {
            NOTHING
        };
        table.load_style(preset).set_header(&self.header);
        table.add_rows(&self.rows);
        for column in table.column_iter_mut().skip(self.names) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(format: Format) -> String {
        let mut table = Table::new(format, 2, &["network", "variant", "parameters"]);
        table.row(vec!["base".into(), "dense".into(), "399626".into()]);
        table.row(vec!["vgg11".into(), "full".into(), "12".into()]);
        table.to_string()
    }

    #[test]
    fn figures_are_aligned_to_the_right() {
        let text = table(Format::default());
        let ends: Vec<usize> = text.lines().map(|line| line.trim_end().len()).collect();
        assert_eq!(ends, [ends[0]; 3], "{text}");
    }

    #[test]
    fn markdown_and_csv_hold_every_cell() {
        let markdown = table(Format {
            markdown: true,
            csv: false,
        });
        assert!(
            markdown.lines().all(|line| line.matches('|').count() == 4),
            "{markdown}"
        );
        let csv = table(Format {
            markdown: false,
            csv: true,
        });
        assert_eq!(
            csv,
            "network,variant,parameters\nbase,dense,399626\nvgg11,full,12\n"
        );
    }
}
