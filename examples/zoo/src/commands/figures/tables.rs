//! Tables of the results, in Markdown.

use std::path::{Path, PathBuf};

use super::measured::CORRELATED;
use super::records::{NETWORKS, Results, Tested, VARIANTS};
use crate::Error;
use crate::commands::paper::{PaperCost, paper_cost};
use crate::commands::table::{Format, Table};
use crate::data::DatasetName;
use crate::models::Variant;

/// A data set, and the paper's accuracy on it.
type OnPaper = (DatasetName, fn(&PaperCost) -> f64);

const DATASETS: [OnPaper; 2] = [
    (DatasetName::Mnist, |paper| paper.mnist),
    (DatasetName::Cifar10, |paper| paper.cifar10),
];
const MARKDOWN: Format = Format {
    markdown: true,
    csv: false,
};

/// Writes `results.md`.
pub(super) fn write(results: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = folder.join("results.md");
    let text = format!(
        "# Results\n\n`cargo run --example figures` writes this page from `figs/results`.\n\n\
         ## Trained networks\n\nTest accuracy in percent: the mean over the seeds, and the standard deviation \
         where there are several seeds. A difference is taken between runs of the same seed. The paper's networks \
         are trained for 250 epochs.\n\n{}\n\
         ## Compressed networks\n\nTest accuracy in percent.\n\n{}\n\
         ## Correlation of filters\n\nThe mean of |ρ| off the diagonal.\n\n{}",
        trained(results),
        compressed(results),
        correlations(results)
    );
    crate::files::write(&path, text.as_bytes()).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    Ok(vec![path])
}

/// The mean of values, and their standard deviation where there are several.
fn spread(values: &[f64], signed: bool) -> String {
    if values.is_empty() {
        return String::new();
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let mean_text = match signed {
        true => format!("{mean:+.2}"),
        false => format!("{mean:.2}"),
    };
    if values.len() < 2 {
        return mean_text;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    format!("{mean_text} ± {:.2}", (squares / (count - 1.0)).sqrt())
}

/// Every network, data set and variant.
fn trained(results: &Results) -> Table {
    let header = [
        "network",
        "data set",
        "variant",
        "parameters",
        "epochs",
        "seeds",
        "accuracy",
        "difference to dense",
        "paper",
        "paper's difference",
    ];
    let mut table = Table::new(MARKDOWN, 3, &header);
    for network in NETWORKS {
        for (dataset, accuracy) in DATASETS {
            let dense = results.of(network, dataset, "dense");
            let paper = |variant| paper_cost(network, variant).map(|paper| accuracy(&paper));
            for (variant, label) in VARIANTS {
                let tested = results.of(network, dataset, variant);
                let Some(first) = tested.first() else {
                    continue;
                };
                let accuracies: Vec<f64> = tested.iter().map(|tested| tested.accuracy).collect();
                let published = match variant {
                    "dense" => paper(Variant::Dense),
                    "full" => paper(Variant::Full),
                    "low-rank" => paper(Variant::LowRank),
                    _ => None,
                };
                let published_difference = published.zip(paper(Variant::Dense));
                let number =
                    |value: Option<f64>| value.map_or("".into(), |value| format!("{value:.1}"));
                let difference = published_difference
                    .filter(|_| variant != "dense")
                    .map_or("".into(), |(one, dense)| format!("{:+.1}", one - dense));
                table.row(vec![
                    network.to_string(),
                    dataset.to_string(),
                    label.into(),
                    first.parameters.to_string(),
                    epochs(variant, first, &dense),
                    tested.len().to_string(),
                    spread(&accuracies, false),
                    match variant {
                        "dense" => "".into(),
                        _ => spread(&differences(&tested, &dense), true),
                    },
                    number(published),
                    difference,
                ]);
            }
        }
    }
    table
}

/// The epochs of a run. A network that goes through a dense one has as many in all as the dense network.
fn epochs(variant: &str, tested: &Tested<'_>, dense: &[Tested<'_>]) -> String {
    match (variant, dense.first()) {
        ("through-dense", Some(dense)) => {
            let (all, last) = (dense.epochs, tested.epochs);
            format!("{} + {last}", all.saturating_sub(last))
        }
        _ => tested.epochs.to_string(),
    }
}

/// The differences to the dense networks of the same seeds.
fn differences(tested: &[Tested<'_>], dense: &[Tested<'_>]) -> Vec<f64> {
    let twin = |tested: &Tested<'_>| dense.iter().find(|dense| dense.seed == tested.seed);
    let pairs = tested
        .iter()
        .filter_map(|tested| Some((tested, twin(tested)?)));
    pairs
        .map(|(tested, dense)| tested.accuracy - dense.accuracy)
        .collect()
}

/// Every budget, before and after fine-tuning.
fn compressed(results: &Results) -> Table {
    let header = [
        "network",
        "share of weights",
        "parameters",
        "dense",
        "compressed",
        "fine-tuned",
        "epochs of fine-tuning",
    ];
    let mut table = Table::new(MARKDOWN, 1, &header);
    for network in NETWORKS {
        for (share, record) in results.budgets(network).into_iter().rev() {
            let report = &record.report;
            let accuracy = |stage: &str| match report.accuracy(stage) {
                Some(accuracy) => format!("{accuracy:.2}"),
                None => "".into(),
            };
            let parameters = report.compressed().map_or(0, |stage| stage.parameters);
            table.row(vec![
                network.to_string(),
                share.to_string(),
                parameters.to_string(),
                accuracy("dense"),
                accuracy("compressed"),
                accuracy("fine-tuned"),
                report.fine_tuning.epochs.to_string(),
            ]);
        }
    }
    table
}

/// Every layer, of the dense network and of LinearConv without and with the loss.
fn correlations(results: &Results) -> Table {
    let of = |name: &str| {
        let all = results.measured.correlations.iter();
        all.filter(|one| one.name == name).collect::<Vec<_>>()
    };
    let header: Vec<&str> = std::iter::once("layer")
        .chain(CORRELATED.iter().map(|(_, label)| *label))
        .collect();
    let mut table = Table::new(MARKDOWN, 1, &header);
    let columns = CORRELATED.map(|(name, _)| of(name));
    for layer in 0..columns[0].len() {
        let cell = |column: &Vec<&super::measured::Correlation>| {
            let one = column.get(layer);
            one.map_or("".into(), |one| {
                format!("{:.3} ({} filters)", one.mean, one.filters)
            })
        };
        let mut row = vec![(layer + 1).to_string()];
        row.extend(columns.iter().map(cell));
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_mean_and_the_standard_deviation() {
        assert_eq!(spread(&[84.25], false), "84.25");
        assert_eq!(spread(&[1.0, 2.0, 3.0], true), "+2.00 ± 1.00");
    }

    #[test]
    fn differences_are_between_equal_seeds() {
        let tested = |seed, accuracy| Tested {
            name: "",
            seed,
            epochs: 30,
            parameters: 1,
            accuracy,
        };
        let dense = [tested(0, 80.0), tested(1, 90.0)];
        let small = [tested(1, 89.0), tested(2, 50.0)];
        assert_eq!(differences(&small, &dense), [-1.0]);
        assert_eq!(
            epochs(
                "through-dense",
                &Tested {
                    epochs: 10,
                    ..tested(0, 1.0)
                },
                &dense
            ),
            "20 + 10"
        );
    }
}
