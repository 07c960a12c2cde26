//! The costs of every network and variant, beside the paper's figures.

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use linearconv::Evaluation;

use super::paper::paper_cost;
use super::table::{Format, Table};
use crate::Error;
use crate::cli::ConvArgs;
use crate::models::{Costs, Layers, NetworkConfig, NetworkName, Variant, trainable_parameters};

/// Print the parameters and the multiply-adds (in millions, for one image) of every network, for RGB
/// images and 10 classes, beside the paper's parameters and FLOPs.
#[derive(Parser, Clone, Debug)]
pub struct SummaryArgs {
    /// Print only these networks.
    #[arg(long, value_enum, value_name = "NETWORK", num_args = 1..)]
    pub network: Vec<NetworkName>,

    /// Which convolutions become LinearConv layers.
    #[arg(long, value_enum, default_value = "all")]
    pub layers: Layers,

    /// The format of the table.
    #[command(flatten)]
    pub format: Format,
}

const HEADER: [&str; 9] = [
    "network",
    "variant",
    "parameters",
    "paper",
    "dense twin",
    "materialized",
    "factored",
    "auto",
    "paper FLOPs",
];

/// The table of costs.
///
/// # Errors
/// [`Error::LinearConv`] if a network cannot be built.
pub fn summary(args: &SummaryArgs) -> Result<Table, Error> {
    let mut table = Table::new(args.format, 2, &HEADER);
    let networks = match args.network.as_slice() {
        [] => NetworkName::value_variants(),
        networks => networks,
    };
    for network in networks {
        // Sparse is left out: a sparse layer costs as much as a full layer, because nothing skips its zeros.
        for variant in [Variant::Dense, Variant::Full, Variant::LowRank] {
            let conv = ConvArgs {
                layers: args.layers,
                ..ConvArgs::new(variant)
            };
            table.row(row(*network, &conv)?);
        }
    }
    Ok(table)
}

fn row(network: NetworkName, conv: &ConvArgs) -> Result<Vec<String>, Error> {
    let config = NetworkConfig {
        conv: conv.policy(network).map_err(Error::Flags)?,
        channels: 3,
        classes: 10,
    };
    let device = Device::flex();
    let model = network.try_init(&config, &device)?;
    let parameters = trainable_parameters(&model);
    let costs = Costs::of(&model, 3);

    let millions = |count: u64| format!("{:.1}", count as f64 / 1e6);
    let multiply_adds = |evaluation| millions(costs.multiply_adds(evaluation));
    let paper = paper_cost(network, conv.variant);
    Ok(vec![
        network.to_string(),
        conv.slug(),
        parameters.to_string(),
        paper.map_or(String::new(), |paper| paper.parameters.to_string()),
        millions(costs.dense_multiply_adds()),
        multiply_adds(Evaluation::Materialized),
        multiply_adds(Evaluation::Factored),
        multiply_adds(Evaluation::Auto),
        paper.map_or(String::new(), |paper| {
            millions((paper.printed_flops * 1e9) as u64)
        }),
    ])
}
