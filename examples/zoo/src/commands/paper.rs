//! The costs and accuracies in the paper's table of classification results (arXiv 1907.11432), for RGB images and 10
//! classes. The paper trained the LinearConv rows with the correlation loss; its low rank is rank 10.

use crate::models::{NetworkName, Variant};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperCost {
    /// The network.
    pub network: NetworkName,
    /// The kind of its convolutions.
    pub variant: Variant,
    /// Parameters, counted on the networks of the reference implementation.
    pub parameters: usize,
    /// FLOPs in billions, as the paper prints them.
    pub printed_flops: f64,
    /// Test accuracy on CIFAR-10 in percent, as printed, after 250 epochs (AllConv: 350).
    pub cifar10: f64,
    /// The same on MNIST.
    pub mnist: f64,
}

/// The row of a network and a variant, if the paper has it.
pub fn paper_cost(network: NetworkName, variant: Variant) -> Option<PaperCost> {
    paper_costs().find(|row| (row.network, row.variant) == (network, variant))
}

/// All rows.
pub fn paper_costs() -> impl Iterator<Item = PaperCost> {
    TABLE.iter().map(
        |&(network, variant, parameters, printed_flops, cifar10, mnist)| PaperCost {
            network,
            variant,
            parameters,
            printed_flops,
            cifar10,
            mnist,
        },
    )
}

use NetworkName::{AllConv, Base, MobileNetV2, ResNeXt29_2x64d, ResNet18, Vgg11};
use Variant::{Dense, Full, LowRank};

const TABLE: &[(NetworkName, Variant, usize, f64, f64, f64)] = &[
    (Base, Dense, 399_626, 0.017, 87.2, 99.3),
    (Base, Full, 227_418, 0.06, 87.1, 99.2),
    (Base, LowRank, 210_458, 0.025, 86.6, 99.1),
    (Vgg11, Dense, 9_231_114, 0.171, 90.4, 99.3),
    (Vgg11, Full, 4_922_282, 2.398, 90.4, 99.4),
    (Vgg11, LowRank, 4_649_770, 0.35, 89.8, 99.4),
    (AllConv, Dense, 1_369_738, 0.315, 85.0, 99.0),
    (AllConv, Full, 739_450, 0.44, 84.1, 98.9),
    (AllConv, LowRank, 698_938, 0.344, 81.9, 98.8),
    (ResNet18, Dense, 11_173_962, 0.558, 91.9, 99.4),
    (ResNet18, Full, 6_029_546, 3.074, 91.1, 99.4),
    (ResNet18, LowRank, 5_642_346, 0.775, 90.0, 99.3),
    (ResNeXt29_2x64d, Dense, 9_128_778, 1.424, 92.9, 99.3),
    (ResNeXt29_2x64d, Full, 6_474_570, 5.089, 93.4, 99.3),
    (ResNeXt29_2x64d, LowRank, 4_707_658, 1.691, 93.7, 99.4),
    (MobileNetV2, Dense, 2_296_922, 0.098, 93.1, 99.5),
    (MobileNetV2, Full, 3_923_434, 16.398, 92.8, 99.4),
    (MobileNetV2, LowRank, 1_347_850, 0.931, 91.4, 99.4),
];
