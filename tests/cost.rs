//! The integer formulas against the modules themselves, and what `Auto` makes of them.

mod common;

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use linearconv::{
    CoefficientsConfig, Conv, ConvConfig, Evaluation, LayerCost, LinearConv2dConfig, Pixels,
};

use common::{device, variants};

#[test]
fn parameters_are_those_of_the_module() {
    for variant in variants() {
        for config in [
            LinearConv2dConfig::new([3, 9], [3, 5]),
            LinearConv2dConfig::new([4, 8], [1, 1]).with_bias(false),
            LinearConv2dConfig::new([8, 16], [3, 3]).with_groups(4),
            LinearConv2dConfig::new([8, 24], [3, 3]).with_primary_ratio(0.25),
            LinearConv2dConfig::new([8, 24], [3, 3]).with_channel_ratio(0.4),
            LinearConv2dConfig::new([7, 8], [1, 1])
                .with_channel_ratio(0.5)
                .with_bias(false),
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
        primary_channels: 4,
        secondary_channels: 0,
        groups: 1,
        rank: None,
        bias: true,
    };
    let low_rank = LayerCost {
        rank: Some(2),
        ..layer
    };
    for pixels in [1, 10, 1000] {
        let count = pixels as u64;
        let dense = count * 11 * 36;
        for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
            assert_eq!(layer.dense().multiply_adds(evaluation, pixels), dense);
        }
        let factored = |cost: LayerCost| cost.multiply_adds(Evaluation::Factored, pixels);
        assert_eq!(factored(layer), count * (5 * 36 + 30));
        assert_eq!(factored(low_rank), count * (5 * 36 + 2 * 11));
        let materialized = |cost: LayerCost| cost.multiply_adds(Evaluation::Materialized, pixels);
        assert_eq!(materialized(layer), dense + 30 * 36);
        assert_eq!(materialized(low_rank), dense + 2 * 11 * 36);
    }
}

/// `m·s·k + n·m + s·(c − s) + f`, and the multiply-adds of each factor.
#[test]
fn a_layer_of_both_sides_costs_what_its_factors_do() {
    let config = LinearConv2dConfig::new([10, 12], [3, 2])
        .with_primary_ratio(0.34)
        .with_channel_ratio(0.3);
    let [m, n, s, rest, taps] = [4, 8, 3, 7, 6];
    let layer = config.init(&device());
    let cost = layer.cost();
    assert_eq!(config.cost().expect("valid"), cost);
    assert_eq!([cost.primary, cost.secondary], [m, n]);
    assert_eq!([cost.primary_channels, cost.secondary_channels], [s, rest]);
    assert_eq!(cost.filter_size, s * taps);
    let weights = m * s * taps + n * m + s * rest;
    assert_eq!(cost.parameters(), weights + 12);
    assert_eq!(layer.num_params(), weights + 12);
    assert_eq!(cost.dense().parameters(), 12 * 10 * taps + 12);

    let low_rank = LayerCost {
        rank: Some(2),
        ..cost
    };
    for (input, output) in [(1, 1), (400, 100), (9, 16)] {
        let pixels = Pixels { input, output };
        let of = |cost: LayerCost, evaluation| cost.multiply_adds(evaluation, pixels);
        let factored = |coefficients| output * (m * s * taps + coefficients) + input * s * rest;
        let materialized =
            |coefficients| output * 12 * 10 * taps + coefficients * s * taps + 12 * taps * s * rest;
        for (cost, coefficients) in [(cost, n * m), (low_rank, 2 * (n + m))] {
            assert_eq!(
                of(cost, Evaluation::Factored),
                factored(coefficients) as u64
            );
            assert_eq!(
                of(cost, Evaluation::Materialized),
                materialized(coefficients) as u64
            );
        }
    }
    // One number is a layer that computes as many pixels as it reads.
    let same = Pixels {
        input: 5,
        output: 5,
    };
    assert_eq!(Pixels::from(5), same);
    assert_eq!(
        cost.multiply_adds(Evaluation::Factored, 5),
        cost.multiply_adds(Evaluation::Factored, same)
    );
}

#[test]
fn auto_counts_the_pixels_that_a_stride_reads_and_does_not_compute() {
    let pixels = |input| Pixels { input, output: 64 };
    let square = LinearConv2dConfig::new([64, 64], [3, 3])
        .with_channel_ratio(0.5)
        .cost()
        .expect("valid");
    assert_eq!(square.cheaper(pixels(64)), Evaluation::Factored);
    // Combining the channels of 64 times as many pixels costs more than the whole kernel.
    assert_eq!(square.cheaper(pixels(64 * 64)), Evaluation::Materialized);
}

#[test]
fn both_sides_save_and_pay_where_their_coefficients_are_few() {
    let cost = |channels, kernel: [usize; 2], ratio| {
        let config = LinearConv2dConfig::new(channels, kernel).with_channel_ratio(ratio);
        config.cost().expect("valid")
    };
    for (channels, kernel, ratio, saves, pays) in [
        ([64, 64], [3, 3], 0.5, true, true),
        ([64, 64], [1, 1], 0.5, true, true),
        // 32·224 coefficients of channels for 256·8 weights.
        ([256, 8], [1, 1], 0.125, false, false),
        // 50·50 and 32·32 coefficients beside 32·50 weights of 6400: too many multiply-adds.
        ([100, 64], [1, 1], 0.5, true, false),
    ] {
        let cost = cost(channels, kernel, ratio);
        assert_eq!((cost.saves(), cost.pays()), (saves, pays), "{cost:?}");
        assert_eq!(saves, cost.parameters() < cost.dense().parameters());
    }
}

/// What a 32-bit target counts of [2, 64, 224, 224], and sizes that no target could count.
#[test]
fn counts_are_of_64_bits_and_end_at_the_largest_number() {
    let config = LinearConv2dConfig::new([64, 128], [3, 3]);
    let cost = config.cost().expect("valid");
    let pixels = 2 * 224 * 224;
    let expected = 100_352 * (64 * 576 + 64 * 64);
    assert!(2 * expected > u64::from(u32::MAX), "twice that is compared");
    assert_eq!(cost.multiply_adds(Evaluation::Factored, pixels), expected);
    assert_eq!(cost.cheaper(pixels), Evaluation::Factored);

    let sizes = [0, 1, 2, usize::MAX / 2, usize::MAX];
    for primary in sizes {
        for filter_size in sizes {
            for rank in [None, Some(0), Some(usize::MAX)] {
                let cost = LayerCost {
                    primary,
                    secondary: usize::MAX,
                    filter_size,
                    primary_channels: 1,
                    secondary_channels: usize::MAX,
                    groups: 1,
                    rank,
                    bias: true,
                };
                assert!(cost.parameters() >= primary.max(filter_size.min(primary)));
                let _ = (cost.saves(), cost.pays(), cost.dense());
                for pixels in sizes {
                    let count = cost.multiply_adds(Evaluation::Auto, pixels);
                    let other = cost.multiply_adds(Evaluation::Factored, pixels);
                    assert!(count <= other || cost.cheaper(pixels) == Evaluation::Materialized);
                }
            }
        }
    }
    let largest = LayerCost {
        primary: usize::MAX,
        secondary: 1,
        filter_size: 2,
        primary_channels: 1,
        secondary_channels: 0,
        groups: 1,
        rank: None,
        bias: false,
    };
    assert_eq!(largest.parameters(), usize::MAX);
    assert_eq!(largest.multiply_adds(Evaluation::Factored, 1), u64::MAX);
    assert_eq!(largest.multiply_adds(Evaluation::Factored, 0), 0);
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

    let layer = LinearConv2dConfig::new([6, 8], [1, 1])
        .with_channel_ratio(0.34)
        .init(&device());
    assert_eq!(
        layer.to_string(),
        "LinearConv2d {ch_in: 6, ch_out: 8, primary: 4, coefficients: Full, \
         primary_channels: 2, evaluation: Auto, stride: [1, 1], kernel_size: [1, 1], \
         dilation: [1, 1], groups: 1, padding: Valid, params: 40}"
    );
}
