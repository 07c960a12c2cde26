//! A plan printed as a table.

use std::fmt;
use std::format;
use std::string::{String, ToString};

use super::choice::Choice;
use super::plan::{Dense, Plan, PlannedLayer};
use crate::coefficients::CoefficientsConfig;

impl fmt::Display for Dense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneChannel => "one channel",
            Self::Grouped => "grouped",
            Self::UnknownGroups => "groups unknown",
            Self::OneFilter => "one filter",
        })
    }
}

/// Prints a choice as in a plan: `128 of 96 + rank 10` has 128 primary filters of 96 primary
/// channels.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.primary)?;
        if let Some(channels) = self.primary_channels {
            write!(f, " of {channels}")?;
        }
        match self.coefficients {
            CoefficientsConfig::Full => write!(f, " + full"),
            CoefficientsConfig::LowRank { rank } => write!(f, " + rank {rank}"),
            CoefficientsConfig::RankRatio { ratio } => write!(f, " + rank {ratio}m"),
            CoefficientsConfig::Sparse { .. } => write!(f, " + sparse"),
        }
    }
}

const HEADER: [&str; 8] = [
    "layer",
    "shape",
    "chosen",
    "weights",
    "kept",
    "error",
    "multiply-adds",
    "factored",
];

impl PlannedLayer {
    fn cells(&self) -> [String; 8] {
        let chosen = match (self.choice(), self.reason()) {
            (Some(choice), _) => choice.to_string(),
            (None, Some(reason)) => format!("dense: {reason}"),
            (None, None) => "dense".into(),
        };
        [
            self.path().into(),
            format!("{:?}", self.shape()),
            chosen,
            self.dense_parameters().to_string(),
            self.parameters().to_string(),
            error(self.error()),
            self.dense_multiply_adds().to_string(),
            self.multiply_adds().to_string(),
        ]
    }
}

fn error(error: Option<f64>) -> String {
    error.map_or("-".into(), |error| format!("{error:.4}"))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = std::vec![HEADER.map(String::from)];
        rows.extend(self.layers().iter().map(PlannedLayer::cells));
        rows.push([
            "total".into(),
            String::new(),
            String::new(),
            self.dense_parameters().to_string(),
            self.parameters().to_string(),
            error(Some(self.error()).filter(|error| !error.is_nan())),
            self.dense_multiply_adds().to_string(),
            self.multiply_adds().to_string(),
        ]);
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4, 5, 6, 7].map(width);
        for row in &rows {
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    1 | 2 => write!(f, " {cell:<width$}")?,
                    _ => write!(f, " {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        for other in self.other_layers() {
            writeln!(f, "left alone: {}, of a {}", other.path, other.layer)?;
        }
        Ok(())
    }
}
