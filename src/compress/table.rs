//! A plan as a table.

use std::fmt;
use std::format;
use std::string::{String, ToString};

use super::choice::Choice;
use super::plan::{Plan, PlannedLayer, error_of_all};
use crate::coefficients::CoefficientsConfig;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.layers.iter().map(|layer| layer.path.len());
        let width = widths.max().unwrap_or(0).max("layer".len());
        let row = |f: &mut fmt::Formatter<'_>, cells: [String; 8]| {
            let [
                path,
                shape,
                choice,
                before,
                after,
                error,
                adds_before,
                adds_after,
            ] = cells;
            writeln!(
                f,
                "{path:<width$} {shape:<18} {choice:<16} {before:>9} {after:>9} {error:>7} \
                 {adds_before:>13} {adds_after:>11}"
            )
        };
        let header = [
            "layer",
            "shape",
            "chosen",
            "weights",
            "kept",
            "error",
            "multiply-adds",
            "factored",
        ];
        row(f, header.map(String::from))?;
        let errors = self.errors();
        for (layer, error) in self.layers.iter().zip(&errors) {
            let choice = match layer.choice {
                None => "dense".into(),
                Some(Choice {
                    primary,
                    coefficients: CoefficientsConfig::LowRank { rank },
                }) => format!("{primary} + rank {rank}"),
                Some(Choice {
                    primary,
                    coefficients: CoefficientsConfig::RankRatio { ratio },
                }) => format!("{primary} + rank {ratio}m"),
                Some(Choice {
                    primary,
                    coefficients: CoefficientsConfig::Sparse { .. },
                }) => format!("{primary} + sparse"),
                Some(Choice {
                    primary,
                    coefficients: CoefficientsConfig::Full,
                }) => format!("{primary} + full"),
            };
            row(
                f,
                [
                    layer.path.clone(),
                    format!("{:?}", layer.shape),
                    choice,
                    layer.dense_parameters().to_string(),
                    layer.parameters().to_string(),
                    format!("{error:.4}"),
                    layer.dense_multiply_adds().to_string(),
                    layer.multiply_adds().to_string(),
                ],
            )?;
        }
        let sum = |of: fn(&PlannedLayer) -> usize| self.layers.iter().map(of).sum::<usize>();
        let dense_adds = sum(PlannedLayer::dense_multiply_adds);
        let adds = sum(PlannedLayer::multiply_adds);
        row(
            f,
            [
                "total".into(),
                String::new(),
                String::new(),
                self.dense_parameters().to_string(),
                self.parameters().to_string(),
                format!("{:.4}", error_of_all(&errors)),
                dense_adds.to_string(),
                adds.to_string(),
            ],
        )
    }
}
