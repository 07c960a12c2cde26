//! The integer formulas against the modules themselves, and what `Auto` makes of them.

mod common;

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use linearconv::{CoefficientsConfig, Conv, ConvConfig, Evaluation, LayerCost, LinearConv2dConfig};

use common::{device, variants};

#[test]
fn parameters_are_those_of_the_module() {
    for variant in variants() {
        for config in [
            LinearConv2dConfig::new([3, 9], [3, 5]),
            LinearConv2dConfig::new([4, 8], [1, 1]).with_bias(false),
            LinearConv2dConfig::new([8, 16], [3, 3]).with_groups(4),
            LinearConv2dConfig::new([8, 24], [3, 3]).with_primary_ratio(0.25),
        ] {
            let layer = config.with_coefficients(variant).init(&device());
            // The threshold of sparse coefficients is state that Burn counts as a parameter.
            let threshold = usize::from(matches!(variant, CoefficientsConfig::Sparse { .. }));
            assert_eq!(
                layer.cost().parameters(),
                layer.num_params() - threshold,
                "{layer}"
            );
            assert_eq!(
                layer.cost().dense().parameters(),
                layer.to_conv2d().num_params()
            );
        }
    }
}

#[test]
fn a_dense_layer_costs_what_the_dense_twin_of_a_linear_one_does() {
    let layer = Conv2dConfig::new([8, 16], [3, 3])
        .with_groups(2)
        .with_bias(false);
    let [dense, linear] = [
        ConvConfig::dense(),
        ConvConfig::linear(CoefficientsConfig::Full),
    ]
    .map(|policy| policy.with_layer(layer.clone()).init(&device()));
    assert_eq!(linear.cost().dense(), dense.cost());
    assert_eq!(dense.cost().dense(), dense.cost());
    assert_eq!(dense.cost().parameters(), dense.num_params());
    assert!(matches!((dense, linear), (Conv::Dense(_), Conv::Linear(_))));
}

#[test]
fn multiply_adds_are_those_of_the_formulas() {
    let layer = LayerCost {
        primary: 5,
        secondary: 6,
        filter_size: 36,
        groups: 1,
        rank: None,
        bias: true,
    };
    let low_rank = LayerCost {
        rank: Some(2),
        ..layer
    };
    for pixels in [1, 10, 1000] {
        let dense = pixels * 11 * 36;
        for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
            assert_eq!(layer.dense().multiply_adds(evaluation, pixels), dense);
        }
        let factored = |cost: LayerCost| cost.multiply_adds(Evaluation::Factored, pixels);
        assert_eq!(factored(layer), pixels * (5 * 36 + 30));
        assert_eq!(factored(low_rank), pixels * (5 * 36 + 2 * 11));
        let materialized = |cost: LayerCost| cost.multiply_adds(Evaluation::Materialized, pixels);
        assert_eq!(materialized(layer), dense + 30 * 36);
        assert_eq!(materialized(low_rank), dense + 2 * 11 * 36);
    }
}

#[test]
fn auto_takes_fewer_multiply_adds_and_counts_half_of_the_kernels_again() {
    use Evaluation::{Auto, Factored, Materialized};

    for (channels, filters, kernel, pixels, expected) in [
        (3, 64, 3, 1024, Materialized),
        (3, 64, 3, 1, Factored),
        (24, 144, 1, 1024, Materialized),
        // As many multiply-adds per pixel either way, but no kernel to build.
        (64, 128, 1, 1 << 20, Factored),
        (64, 64, 3, 1024, Factored),
        (512, 512, 3, 4, Factored),
        // Materialized needs fewer, but the kernel is to be copied.
        (160, 960, 1, 256, Factored),
        (160, 960, 1, 1024, Materialized),
    ] {
        let config = LinearConv2dConfig::new([channels, filters], [kernel, kernel]);
        let cost = config.cost().expect("valid");
        let of = |evaluation| cost.multiply_adds(evaluation, pixels);
        let build = cost.multiply_adds(Materialized, 0) as f64;
        let saves = of(Factored) as f64 <= of(Materialized) as f64 + build / 2.0;
        assert_eq!(saves, expected == Factored, "{cost:?}");
        assert_eq!(cost.cheaper(pixels), expected, "{cost:?}");
        assert_eq!(of(Auto), of(expected));
    }
}

#[test]
fn a_configuration_knows_the_cost_of_its_layer() {
    for variant in variants() {
        let config = LinearConv2dConfig::new([8, 24], [3, 5])
            .with_groups(4)
            .with_primary_ratio(0.25)
            .with_coefficients(variant);
        let layer = config.init(&device());
        assert_eq!(config.cost().expect("valid"), layer.cost());
    }
}

/// The policy `Auto`: layers by whether LinearConv pays, and errors as ever.
#[test]
fn the_auto_policy_replaces_layers_that_get_smaller() {
    let policy = |coefficients| ConvConfig::auto(coefficients);
    let full = policy(CoefficientsConfig::Full);
    let rank_10 = policy(CoefficientsConfig::LowRank { rank: 10 });
    let square = |channels, filters| Conv2dConfig::new([channels, filters], [3, 3]);
    let pointwise = |channels, filters| Conv2dConfig::new([channels, filters], [1, 1]);
    for (policy, layer, expected) in [
        (&full, square(64, 64), true),
        (&full, pointwise(144, 24), true),
        (&full, pointwise(256, 256), true),
        // The stem, widening and depthwise layers.
        (&full, square(3, 64), false),
        (&full, pointwise(24, 144), false),
        (&full, pointwise(64, 128), false),
        (&full, square(64, 64).with_groups(64), false),
        (&full, square(64, 64).with_groups(2), false),
        // One filter leaves none to combine; 16 are too few for rank 10.
        (&full, square(64, 1), false),
        (&rank_10, square(64, 16), false),
        (&rank_10, square(64, 20), true),
    ] {
        let conv = policy.with_layer(layer.clone()).init(&device());
        assert_eq!(matches!(conv, Conv::Linear(_)), expected, "{layer}");
        let dense = ConvConfig::from(layer).init(&device());
        assert_eq!(conv.cost().dense(), dense.cost());
        assert!(conv.cost().parameters() <= dense.cost().parameters());
        if expected {
            assert!(conv.cost().parameters() < dense.cost().parameters());
        }
    }

    for invalid in [
        policy(CoefficientsConfig::LowRank { rank: 0 }),
        policy(CoefficientsConfig::RankRatio { ratio: 2.0 }),
    ] {
        assert!(
            invalid
                .with_layer(square(64, 64))
                .try_init(&device())
                .is_err()
        );
    }
}

#[test]
fn auto_materializes_groups() {
    let layer = LinearConv2dConfig::new([64, 64], [3, 3])
        .with_groups(2)
        .init(&device());
    assert_eq!(layer.cost().cheaper(1024), Evaluation::Materialized);
    let single = LinearConv2dConfig::new([64, 64], [3, 3]).init(&device());
    assert_eq!(single.cost().cheaper(1024), Evaluation::Factored);
}

#[test]
fn display_shows_channels_variant_rank_and_evaluation() {
    let layer = LinearConv2dConfig::new([6, 8], [3, 3])
        .with_groups(2)
        .with_coefficients(CoefficientsConfig::RankRatio { ratio: 0.75 })
        .init(&device());
    assert_eq!(
        layer.to_string(),
        "LinearConv2d {ch_in: 6, ch_out: 8, primary: 4, coefficients: LowRank(3), \
         evaluation: Auto, stride: [1, 1], kernel_size: [3, 3], dilation: [1, 1], groups: 2, \
         padding: Valid, params: 140}"
    );
    assert!(!layer.primary.is_initialized(), "display draws no weights");
}
