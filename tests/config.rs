//! Configurations: defaults of Burn's `Conv2dConfig`, errors that print the offending values.

mod common;

use burn::config::Config;
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::Tensor;
use linearconv::{
    Coefficients, CoefficientsConfig, Conv, ConvConfig, Error, Evaluation, LinearConv2d,
    LinearConv2dConfig,
};

use common::device;

fn config() -> LinearConv2dConfig {
    LinearConv2dConfig::new([4, 8], [3, 3])
}

#[track_caller]
fn error(config: LinearConv2dConfig) -> Error {
    config
        .try_init(&device())
        .expect_err("an invalid configuration")
}

fn with_coefficients(coefficients: CoefficientsConfig) -> LinearConv2dConfig {
    config().with_coefficients(coefficients)
}

#[test]
fn defaults_are_those_of_conv2d_and_the_paper() {
    let (config, dense) = (config(), Conv2dConfig::new([4, 8], [3, 3]));
    assert_eq!(config.stride, dense.stride);
    assert_eq!(config.dilation, dense.dilation);
    assert_eq!(config.groups, dense.groups);
    assert_eq!(config.padding, dense.padding);
    assert_eq!(config.bias, dense.bias);
    assert_eq!(config.primary_ratio, 0.5);
    assert_eq!(config.channel_ratio, 1.0);
    assert_eq!(config.coefficients, CoefficientsConfig::Full);
    assert_eq!(config.evaluation, Evaluation::Auto);

    let layer = config.init(&device());
    assert!(layer.channel_coefficients.is_none());
    assert!(layer.channel_order.is_none() && layer.order.is_none());
}

#[test]
fn zero_sizes_are_errors() {
    let zeros = [
        (LinearConv2dConfig::new([0, 8], [3, 3]), "channels", [0, 8]),
        (LinearConv2dConfig::new([4, 0], [3, 3]), "channels", [4, 0]),
        (
            LinearConv2dConfig::new([4, 8], [3, 0]),
            "kernel_size",
            [3, 0],
        ),
        (config().with_stride([0, 1]), "stride", [0, 1]),
        (config().with_dilation([1, 0]), "dilation", [1, 0]),
    ];
    for (config, name, value) in zeros {
        let error = error(config);
        assert_eq!(error, Error::ZeroSize { name, value });
        assert_eq!(
            error.to_string(),
            format!("{name} must be at least 1 in every dimension, got {value:?}")
        );
    }
}

#[test]
fn groups_that_do_not_divide_the_channels_are_errors() {
    for groups in [0, 3, 8] {
        let message = error(config().with_groups(groups)).to_string();
        let values = format!("groups={groups}, channels_in=4, channels_out=8");
        assert!(message.ends_with(&values), "{message}");
    }
}

#[test]
fn primary_ratios_without_filters_on_either_side_are_errors() {
    for ratio in [0.0, -0.5, 1.0, 1.5, f64::NAN, f64::INFINITY, 0.1] {
        let message = error(config().with_primary_ratio(ratio)).to_string();
        let values = format!("primary_ratio={ratio} with 8 filters");
        assert!(message.ends_with(&values), "{message}");
    }
    let single = error(LinearConv2dConfig::new([4, 1], [3, 3]));
    assert_eq!(
        single,
        Error::PrimaryRatio {
            ratio: 0.5,
            filters: 1
        }
    );
}

#[test]
fn primary_filters_are_the_floor_of_the_ratio() {
    for (ratio, filters, primary) in [(0.5, 7, 3), (0.125, 8, 1), (0.99, 8, 7), (0.3, 10, 3)] {
        let layer = LinearConv2dConfig::new([4, filters], [3, 3])
            .with_primary_ratio(ratio)
            .init(&device());
        assert_eq!(layer.primary.dims(), [primary, 4, 3, 3]);
        assert_eq!(
            layer.coefficients.matrix().dims(),
            [filters - primary, primary]
        );
    }
}

#[test]
fn primary_channels_are_the_floor_of_the_ratio() {
    for (ratio, channels, primary) in [(0.5, 7, 3), (0.125, 8, 1), (0.99, 8, 7), (1.0, 8, 8)] {
        let layer = LinearConv2dConfig::new([channels, 6], [3, 2])
            .with_channel_ratio(ratio)
            .init(&device());
        assert_eq!(layer.primary.dims(), [3, primary, 3, 2]);
        let coefficients = layer.channel_coefficients.as_ref();
        match coefficients.map(|coefficients| coefficients.dims()) {
            Some(dims) => assert_eq!(dims, [primary, channels - primary]),
            None => assert_eq!(primary, channels),
        }
        assert_eq!(layer.weight().dims(), [6, channels, 3, 2]);
    }
}

#[test]
fn channel_ratios_without_channels_are_errors() {
    for ratio in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY, 0.2] {
        let error = error(config().with_channel_ratio(ratio));
        assert!(matches!(error, Error::ChannelRatio { channels: 4, .. }));
        let values = format!("channel_ratio={ratio} with 4 channels");
        assert!(error.to_string().ends_with(&values), "{error}");
    }
}

#[test]
fn channels_of_groups_are_all_primary() {
    let grouped = config().with_groups(2);
    let error = error(grouped.clone().with_channel_ratio(0.5));
    assert_eq!(
        error,
        Error::ChannelGroups {
            groups: 2,
            ratio: 0.5
        }
    );
    let message = error.to_string();
    assert!(
        message.contains("channel_ratio=0.5 with groups=2"),
        "{message}"
    );
    assert!(grouped.init(&device()).channel_coefficients.is_none());
}

#[test]
fn ranks_without_meaning_are_errors() {
    for rank in [0, 5, usize::MAX] {
        let expected = Error::Rank {
            rank,
            secondary: 4,
            primary: 4,
        };
        assert_eq!(
            error(with_coefficients(CoefficientsConfig::LowRank { rank })),
            expected
        );
        let values = format!("rank={rank} for 4 secondary by 4 primary filters");
        assert!(expected.to_string().ends_with(&values), "{expected}");
    }
    // Six primary filters leave two secondary ones: the matrix has rank 2 at most.
    let narrow =
        with_coefficients(CoefficientsConfig::LowRank { rank: 3 }).with_primary_ratio(0.75);
    assert!(matches!(
        error(narrow),
        Error::Rank {
            rank: 3,
            secondary: 2,
            primary: 6
        }
    ));
}

#[test]
fn rank_ratios_outside_zero_to_one_are_errors() {
    for ratio in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
        let message = error(with_coefficients(CoefficientsConfig::RankRatio { ratio })).to_string();
        assert!(message.ends_with(&format!("ratio={ratio}")), "{message}");
    }
}

#[test]
fn a_rank_ratio_is_a_floor_of_at_least_one() {
    for (ratio, rank) in [(1e-9, 1), (0.1, 1), (0.5, 2), (0.74, 2), (1.0, 4)] {
        let layer = with_coefficients(CoefficientsConfig::RankRatio { ratio }).init(&device());
        let Coefficients::LowRank(low_rank) = &layer.coefficients else {
            panic!("a rank ratio is low rank");
        };
        assert_eq!(low_rank.column.dims(), [4, rank]);
        assert_eq!(low_rank.row.dims(), [rank, 4]);
    }
}

/// 0.75·m is above f/4 in every layer of many filters, and in every wider one.
#[test]
fn a_policy_of_a_rank_that_no_wide_layer_can_have_is_an_error() {
    let policy = LinearConv2dConfig::new([0, 0], [0, 0])
        .with_primary_ratio(0.75)
        .with_coefficients(CoefficientsConfig::RankRatio { ratio: 0.75 });
    for filters in [8, 64, 512] {
        let layer = Conv2dConfig::new([64, filters], [3, 3]);
        let layer = ConvConfig::Auto(policy.clone()).with_layer(layer);
        let error = layer.try_init(&device()).expect_err("too high a rank");
        assert!(matches!(error, Error::Rank { .. }), "{error}");
    }
    // As high as it can be is an error nowhere.
    for filters in 2..200 {
        let policy = policy
            .clone()
            .with_coefficients(CoefficientsConfig::RankRatio { ratio: 1.0 / 3.0 });
        let layer = ConvConfig::Auto(policy).with_layer(Conv2dConfig::new([64, filters], [3, 3]));
        layer.try_init(&device()).expect("a rank");
    }
}

#[test]
fn sparsities_outside_zero_to_one_are_errors() {
    for sparsity in [-0.1, 1.0, f64::NAN] {
        let message = error(with_coefficients(CoefficientsConfig::Sparse { sparsity })).to_string();
        assert!(
            message.ends_with(&format!("sparsity={sparsity}")),
            "{message}"
        );
    }
    let dense = with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.0 }).init(&device());
    assert_eq!(linearconv::pruning::sparsity(&dense), 0.0);
}

#[test]
fn factored_evaluation_of_groups_is_an_error() {
    let grouped = config()
        .with_groups(2)
        .with_evaluation(Evaluation::Factored);
    assert_eq!(error(grouped), Error::FactoredGroups { groups: 2 });
}

#[test]
#[should_panic = "Evaluation::Factored needs groups=1, got groups=2"]
fn a_grouped_layer_refuses_factored_evaluation() {
    let layer = config().with_groups(2).init(&device());
    layer.with_evaluation(Evaluation::Factored);
}

#[test]
#[should_panic = "Evaluation::Factored needs groups=1, got groups=2"]
fn groups_that_are_set_later_are_refused_too() {
    let mut layer = config()
        .with_evaluation(Evaluation::Factored)
        .init(&device());
    layer.groups = 2;
    layer.forward(Tensor::zeros([1, 8, 5, 5], &device()));
}

#[test]
#[should_panic = "groups must be at least 1 and divide both channel counts, got groups=3, channels_in=4, channels_out=8"]
fn init_panics_with_the_message_of_the_error() {
    config().with_groups(3).init(&device());
}

#[test]
fn a_policy_checks_dense_layers_too() {
    let layer = Conv2dConfig::new([4, 8], [3, 3]).with_groups(3);
    for policy in [
        ConvConfig::dense(),
        ConvConfig::linear(CoefficientsConfig::Full),
    ] {
        let error = policy
            .with_layer(layer.clone())
            .try_init(&device())
            .expect_err("groups");
        assert!(matches!(error, Error::Groups { groups: 3, .. }));
        let unadapted = policy.try_init(&device()).expect_err("no sizes");
        assert!(matches!(
            unadapted,
            Error::ZeroSize {
                name: "channels",
                ..
            }
        ));
    }
}

#[test]
fn a_policy_takes_geometry_from_the_layer_and_the_rest_from_itself() {
    let policy = ConvConfig::from(
        LinearConv2dConfig::new([0, 0], [0, 0])
            .with_primary_ratio(0.25)
            .with_evaluation(Evaluation::Materialized)
            .with_coefficients(CoefficientsConfig::LowRank { rank: 2 }),
    );
    let layer = Conv2dConfig::new([8, 16], [3, 5])
        .with_stride([2, 1])
        .with_dilation([1, 2])
        .with_groups(4)
        .with_padding(PaddingConfig2d::Explicit(1, 2, 3, 4))
        .with_bias(false);
    let ConvConfig::Linear(config) = policy.with_layer(layer.clone()) else {
        panic!("the policy is linear");
    };
    assert_eq!(
        (config.channels, config.kernel_size),
        (layer.channels, layer.kernel_size)
    );
    assert_eq!(
        (config.stride, config.dilation),
        (layer.stride, layer.dilation)
    );
    assert_eq!((config.groups, config.bias), (layer.groups, layer.bias));
    assert_eq!(config.padding, layer.padding);
    assert_eq!(config.primary_ratio, 0.25);
    assert_eq!(config.evaluation, Evaluation::Materialized);
    assert_eq!(config.coefficients, CoefficientsConfig::LowRank { rank: 2 });
}

#[test]
fn a_policy_keeps_all_channels_of_images_and_groups() {
    let policies = [
        LinearConv2dConfig::new([0, 0], [0, 0]).into(),
        ConvConfig::auto(CoefficientsConfig::Full),
    ];
    let ratio = |policy: &ConvConfig, layer: Conv2dConfig| match policy.with_layer(layer) {
        ConvConfig::Linear(config) | ConvConfig::Auto(config) => config.channel_ratio,
        dense => panic!("the policy is not dense: {dense}"),
    };
    for policy in policies {
        let policy = match policy {
            ConvConfig::Linear(config) => config.with_channel_ratio(0.5).into(),
            ConvConfig::Auto(config) => ConvConfig::Auto(config.with_channel_ratio(0.5)),
            dense => dense,
        };
        for (channels, groups, expected) in [
            (1, 1, 1.0),
            (3, 1, 1.0),
            (4, 1, 1.0),
            (5, 1, 0.5),
            (64, 1, 0.5),
            (64, 2, 1.0),
            (64, 64, 1.0),
        ] {
            let layer = Conv2dConfig::new([channels, 64], [3, 3]).with_groups(groups);
            assert_eq!(ratio(&policy, layer.clone()), expected, "{layer}");
            policy.with_layer(layer).init(&device());
        }
    }
}

#[test]
fn a_policy_leaves_layers_dense_that_are_too_narrow_for_its_channels() {
    let narrow = LinearConv2dConfig::new([0, 0], [0, 0]).with_channel_ratio(0.1);
    let auto = ConvConfig::Auto(narrow);
    let init = |channels| {
        let layer = Conv2dConfig::new([channels, 64], [3, 3]);
        auto.with_layer(layer).init(&device())
    };
    assert!(matches!(init(9), Conv::Dense(_)));
    assert!(matches!(init(10), Conv::Linear(_)));
}

#[test]
fn configurations_round_trip_through_json() {
    for coefficients in common::variants() {
        let config = with_coefficients(coefficients)
            .with_padding(PaddingConfig2d::Explicit(0, 1, 2, 3))
            .with_channel_ratio(0.75)
            .with_evaluation(Evaluation::Factored);
        let policy = ConvConfig::from(config.clone());
        let restored: ConvConfig = serde_json::from_str(&policy.to_string()).expect("JSON");
        assert_eq!(restored.to_string(), policy.to_string());
        let restored =
            LinearConv2dConfig::load_binary(config.to_string().as_bytes()).expect("JSON");
        assert_eq!(restored.coefficients, coefficients);
        assert_eq!(restored.channel_ratio, 0.75);
    }
}

/// Burn's configurations have no defaults for fields that a file does not have.
#[test]
fn a_configuration_without_a_channel_ratio_is_refused_by_name() {
    let mut json: serde_json::Value = serde_json::from_str(&config().to_string()).expect("JSON");
    let fields = json.as_object_mut().expect("fields");
    fields.remove("channel_ratio").expect("a channel ratio");
    let refused = LinearConv2dConfig::load_binary(json.to_string().as_bytes());
    let message = refused.expect_err("a field is missing").to_string();
    assert!(message.contains("channel_ratio"), "{message}");
}

#[test]
fn new_layers_draw_coefficients_and_bias_as_the_reference() {
    for (variant, channel_ratio) in common::variants_of_both_sides() {
        let config = with_coefficients(variant).with_channel_ratio(channel_ratio);
        let layer = config.init(&device());
        let (mut matrices, mut bias) = (0, 0);
        within_a_tenth(&layer, |name| match name {
            "bias" => bias += 1,
            _ => matrices += 1,
        });
        assert_eq!(bias, 1);
        let factors = if layer.cost().rank.is_some() { 2 } else { 1 };
        let channels = usize::from(channel_ratio < 1.0);
        assert_eq!(matrices, factors + channels);
    }
}

/// Checks that every parameter but the primary filters and the threshold lies in ±0.1 and varies.
fn within_a_tenth(layer: &LinearConv2d, mut found: impl FnMut(&str)) {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;

    struct Visitor<F>(String, F);
    impl<F: FnMut(&str)> ModuleVisitor for Visitor<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0 = name.into();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0 != "primary" && self.0 != "threshold" {
                let values = common::to_vec(param.val());
                assert!(values.iter().all(|value| value.abs() <= 0.1), "{}", self.0);
                assert!(values.iter().any(|value| *value != values[0]), "{}", self.0);
                (self.1)(&self.0);
            }
        }
    }
    layer.visit(&mut Visitor(String::new(), &mut found));
}
