//! The costs in the paper's table of classification results (arXiv 1907.11432), for RGB images of
//! 10 classes. Its LinearConv rows are trained with the correlation loss; low rank is rank 10.

use crate::cli::Variant;
use crate::models::NetworkName;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperCost {
    /// The network.
    pub network: NetworkName,
    /// Its convolutions.
    pub variant: Variant,
    /// Parameters, counted on the reference implementation's own networks.
    pub parameters: usize,
    /// Parameters in millions, as printed.
    pub printed_parameters: f64,
    /// FLOPs in billions, as printed. They are those of the materialized evaluation.
    pub printed_flops: f64,
}

/// The row of a network and a variant, if the paper has it.
pub fn paper_cost(network: NetworkName, variant: Variant) -> Option<PaperCost> {
    paper_costs().find(|row| (row.network, row.variant) == (network, variant))
}

/// All rows.
pub fn paper_costs() -> impl Iterator<Item = PaperCost> {
    TABLE.iter().map(
        |&(network, variant, parameters, printed_parameters, printed_flops)| PaperCost {
            network,
            variant,
            parameters,
            printed_parameters,
            printed_flops,
        },
    )
}

use NetworkName::{AllConv, Base, MobileNetV2, ResNeXt29_2x64d, ResNet18, Vgg11};
use Variant::{Dense, Full, LowRank};

const TABLE: &[(NetworkName, Variant, usize, f64, f64)] = &[
    (Base, Dense, 399_626, 0.4, 0.017),
    (Base, Full, 227_418, 0.23, 0.06),
    (Base, LowRank, 210_458, 0.21, 0.025),
    (Vgg11, Dense, 9_231_114, 9.23, 0.171),
    (Vgg11, Full, 4_922_282, 4.92, 2.398),
    (Vgg11, LowRank, 4_649_770, 4.65, 0.35),
    (AllConv, Dense, 1_369_738, 1.37, 0.315),
    (AllConv, Full, 739_450, 0.74, 0.44),
    (AllConv, LowRank, 698_938, 0.7, 0.344),
    (ResNet18, Dense, 11_173_962, 11.17, 0.558),
    (ResNet18, Full, 6_029_546, 6.03, 3.074),
    (ResNet18, LowRank, 5_642_346, 5.64, 0.775),
    (ResNeXt29_2x64d, Dense, 9_128_778, 9.13, 1.424),
    (ResNeXt29_2x64d, Full, 6_474_570, 6.48, 5.089),
    (ResNeXt29_2x64d, LowRank, 4_707_658, 4.71, 1.691),
    (MobileNetV2, Dense, 2_296_922, 2.3, 0.098),
    (MobileNetV2, Full, 3_923_434, 3.92, 16.398),
    (MobileNetV2, LowRank, 1_347_850, 1.35, 0.931),
];
