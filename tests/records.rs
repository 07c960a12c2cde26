//! Records, devices and the transitions between training and validation.

mod common;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Tensor;
use linearconv::pruning::CubicRamp;
use linearconv::{
    Coefficients, CoefficientsConfig, Conv, Evaluation, LinearConv2d, LinearConv2dConfig,
};

use common::{device, tensor, to_vec, variants_of_both_sides, weighted_sum};

fn config(variant: CoefficientsConfig) -> LinearConv2dConfig {
    LinearConv2dConfig::new([3, 10], [3, 3]).with_coefficients(variant)
}

/// Every variant, with channels of all kinds.
fn configs() -> impl Iterator<Item = LinearConv2dConfig> {
    variants_of_both_sides().map(|(variant, ratio)| config(variant).with_channel_ratio(ratio))
}

/// A layer that has trained a step and, where it is sparse, was pruned.
fn trained(config: &LinearConv2dConfig) -> LinearConv2d {
    let layer = common::with_values(config.init(&device().autodiff()), 7);
    let gradients = weighted_sum(output(&layer)).backward();
    let gradients = GradientsParams::from_grads(gradients, &layer);
    let layer = AdamConfig::new().init().step(0.01, layer, gradients);
    CubicRamp::new(0.4, 0, 1).expect("valid").prune(layer, 1)
}

fn output(layer: &LinearConv2d) -> Tensor<4> {
    let device = layer.primary.val().device();
    layer.forward(tensor([2, 3, 6, 5], 3, &device))
}

#[test]
fn records_round_trip_with_mask_and_threshold() {
    for config in configs() {
        let layer = trained(&config);
        let record = layer.clone().into_record();
        let restored = config.init(&device()).load_record(record);
        assert_eq!(to_vec(output(&restored)), to_vec(output(&layer)));
        if let (Coefficients::Sparse(restored), Coefficients::Sparse(sparse)) =
            (&restored.coefficients, &layer.coefficients)
        {
            restored
                .mask
                .val()
                .into_data()
                .assert_eq(&sparse.mask.val().into_data(), true);
            let threshold = to_vec(sparse.threshold.val());
            assert!(threshold[0] > 0.0);
            assert_eq!(to_vec(restored.threshold.val()), threshold);
            assert!(!restored.threshold.is_require_grad());
        }
    }
}

#[test]
fn files_round_trip() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for config in configs() {
        let layer = trained(&config);
        let name = format!("{:?} {}", config.coefficients, config.channel_ratio);
        let burnpack = folder.path().join(format!("{name}.bpk"));
        layer.clone().save_file(&burnpack).expect("saved");
        let restored = config.init(&device()).load_file(&burnpack);
        assert_eq!(to_vec(output(&restored)), to_vec(output(&layer)));

        let safetensors = folder.path().join(format!("{name}.safetensors"));
        let mut store = SafetensorsStore::from_file(&safetensors);
        layer.save_into(&mut store).expect("saved");
        let mut restored = config.init(&device());
        let result = restored.load_from(&mut store).expect("loaded");
        assert!(result.missing.is_empty() && result.unused.is_empty());
        assert_eq!(to_vec(output(&restored)), to_vec(output(&layer)));
    }
}

#[test]
fn a_model_that_changes_to_conv_loads_the_checkpoint_of_its_conv2ds() {
    #[derive(Module, Debug)]
    struct Before {
        stem: Conv2d,
        blocks: Vec<Conv2d>,
    }
    #[derive(Module, Debug)]
    struct After {
        stem: Conv,
        blocks: Vec<Conv>,
    }
    let device = device();
    let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
    let before = Before {
        stem: conv([3, 8]),
        blocks: vec![conv([8, 12]), conv([12, 12])],
    };
    let before = common::with_values(before, 5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("before.safetensors");
    before
        .save_into(&mut SafetensorsStore::from_file(&file))
        .expect("saved");

    let mut after = After {
        stem: conv([3, 8]).into(),
        blocks: vec![conv([8, 12]).into(), conv([12, 12]).into()],
    };
    let mut store = SafetensorsStore::from_file(&file).skip_enum_variants(true);
    let result = after.load_from(&mut store).expect("loaded");
    assert!(result.missing.is_empty() && result.unused.is_empty());

    let input: Tensor<4> = tensor([2, 3, 9, 9], 3, &device);
    let expected = before
        .blocks
        .iter()
        .fold(before.stem.forward(input.clone()), |maps, conv| {
            conv.forward(maps)
        });
    let output = after
        .blocks
        .iter()
        .fold(after.stem.forward(input), |maps, conv| conv.forward(maps));
    // A `Conv` runs by this crate's kernel, whose sums have another order.
    common::assert_close(
        &to_vec(output),
        &to_vec(expected),
        common::tolerances().sums,
        "of a Conv",
    );
}

#[test]
fn a_record_of_another_variant_is_refused() {
    let record = trained(&config(CoefficientsConfig::Full)).into_record();
    let low_rank = config(CoefficientsConfig::LowRank { rank: 2 }).init(&device());
    let error = low_rank
        .try_load_record(record)
        .expect_err("another variant")
        .to_string();
    assert!(error.contains("LowRank"), "{error}");
}

/// What a layer was before it knew of channels.
#[derive(Module, Debug)]
struct Paper {
    primary: Param<Tensor<4>>,
    coefficients: Coefficients,
    bias: Option<Param<Tensor<1>>>,
}

#[test]
fn records_without_coefficients_of_channels_load_where_all_channels_are_primary() {
    let config = config(CoefficientsConfig::Full);
    let layer = trained(&config);
    let paper = Paper {
        primary: layer.primary.clone(),
        coefficients: layer.coefficients.clone(),
        bias: layer.bias.clone(),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("paper.bpk");
    paper.clone().save_file(&file).expect("saved");
    let loaded = config.init(&device()).load_file(&file);
    assert_eq!(to_vec(output(&loaded)), to_vec(output(&layer)));
    let loaded = config.init(&device()).load_record(paper.into_record());
    assert_eq!(to_vec(output(&loaded)), to_vec(output(&layer)));
}

#[test]
fn records_of_other_channels_are_refused() {
    let all = config(CoefficientsConfig::Full);
    let half = all.clone().with_channel_ratio(0.5);
    for (saved, loaded) in [(&all, &half), (&half, &all)] {
        let record = trained(saved).into_record();
        let refused = loaded.init(&device()).try_load_record(record);
        let message = refused.expect_err("other channels").to_string();
        assert!(message.contains("primary"), "{message}");
    }
}

#[test]
fn validation_training_and_forking_keep_the_function() {
    for config in configs() {
        let layer = trained(&config).with_evaluation(Evaluation::Factored);
        let expected = to_vec(output(&layer));

        let valid = layer.valid();
        assert!(!valid.primary.val().is_autodiff());
        assert_eq!(to_vec(output(&valid)), expected);
        assert_eq!(valid.evaluation(), Evaluation::Factored);

        let again = valid.train();
        assert!(again.primary.val().is_require_grad());
        assert_eq!(to_vec(output(&again)), expected);
        if let Coefficients::Sparse(sparse) = &again.coefficients {
            assert!(sparse.weight.val().is_require_grad());
            assert!(!sparse.threshold.val().is_require_grad());
        }

        let forked = layer.fork(&device().autodiff());
        assert_eq!(to_vec(output(&forked)), expected);
        let gradients = output(&forked).sum().backward();
        assert!(forked.primary.val().grad(&gradients).is_some());
    }
}

#[test]
fn an_optimizer_step_changes_primary_filters_coefficients_and_bias() {
    for config in configs() {
        let before = common::with_values(config.init(&device().autodiff()), 7);
        let gradients = weighted_sum(output(&before)).backward();
        let gradients = GradientsParams::from_grads(gradients, &before);
        let after = AdamConfig::new()
            .init()
            .step(0.01, before.clone(), gradients);
        assert_ne!(to_vec(after.primary.val()), to_vec(before.primary.val()));
        assert_ne!(
            to_vec(after.coefficients.matrix()),
            to_vec(before.coefficients.matrix())
        );
        let bias = |layer: &LinearConv2d| to_vec(layer.bias.as_ref().expect("bias").val());
        assert_ne!(bias(&after), bias(&before));
        let channels = |layer: &LinearConv2d| {
            let coefficients = layer.channel_coefficients.as_ref();
            coefficients.map(|coefficients| to_vec(coefficients.val()))
        };
        assert_eq!(channels(&before).is_some(), config.channel_ratio < 1.0);
        if channels(&before).is_some() {
            assert_ne!(channels(&after), channels(&before));
        }
    }
}
