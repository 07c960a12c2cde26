//! Compressing dense layers and models: errors are what they are said to be, nothing else changes,
//! and the way back is exact.

#![cfg(feature = "fit")]

mod common;

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamGroup, Reparameterization, Reparameterizer};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor};
use linearconv::pruning::{CubicRamp, sparsity};
use linearconv::{
    Choice, Coefficients, CoefficientsConfig, CombinedFilters, Compression, Conv, Error,
    Evaluation, LinearConv, LinearConv2d, coefficient_l1, conv2d_weights, correlation_loss,
};

use common::{
    assert_close, channels_in, dense, device, float, relative_error, tensor, to_vec, tolerances,
    variants_of_both_sides, weighted_sum, with_values,
};

const FULL: CoefficientsConfig = CoefficientsConfig::Full;

/// A model that knows nothing of LinearConv.
#[derive(Module, Debug)]
struct Model {
    stem: Conv2d,
    norm: BatchNorm,
    body: Conv2d,
    depthwise: Conv2d,
    up: ConvTranspose2d,
    head: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        let same = PaddingConfig2d::Same;
        let conv = |channels, seed| {
            let conv = Conv2dConfig::new(channels, [3, 3]).with_padding(same.clone());
            with_values(conv.init(device), seed)
        };
        let depthwise = Conv2dConfig::new([24, 24], [3, 3]).with_groups(24);
        let norm = BatchNormConfig::new(16).init(device);
        Self {
            stem: conv([8, 16], 1),
            norm: in_float(norm),
            body: conv([16, 24], 2),
            depthwise: with_values(depthwise.with_padding(same.clone()).init(device), 3),
            up: with_values(ConvTranspose2dConfig::new([24, 20], [3, 3]).init(device), 4),
            head: with_values(LinearConfig::new(20, 5).init(device), 5),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.norm.forward(self.stem.forward(images));
        let x = self.depthwise.forward(self.body.forward(x));
        let x = self.up.forward(x).flatten::<3>(2, 3).mean_dim(2);
        self.head.forward(x.flatten(1, 2))
    }
}

fn in_float<M: Module>(module: M) -> M {
    struct Cast;
    impl burn::module::ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| {
                let trained = value.is_require_grad();
                let cast = value.detach().cast(float());
                let cast = cast.inner().autodiff();
                if trained {
                    cast.require_grad()
                } else {
                    cast.inner()
                }
            })
        }
    }
    module.map(&mut Cast)
}

fn images(device: &Device) -> Tensor<4> {
    tensor([2, 8, 6, 6], 9, device)
}

/// A convolution whose 12 filters combine a few.
fn dependent(independent: usize, device: &Device) -> Conv2d {
    let mut conv = with_values(Conv2dConfig::new([4, 12], [3, 3]).init(device), 1);
    let basis: Tensor<2> = tensor([independent, 36], 2, device);
    let combined = tensor::<2>([12, independent], 3, device).matmul(basis);
    conv.weight = Param::from_tensor(combined.reshape([12, 4, 3, 3]).detach());
    conv
}

fn choices() -> Vec<Choice> {
    let low_rank = |rank| CoefficientsConfig::LowRank { rank };
    [
        (1, FULL),
        (6, FULL),
        (6, low_rank(1)),
        (6, low_rank(3)),
        (4, CoefficientsConfig::RankRatio { ratio: 0.5 }),
        (9, low_rank(2)),
        (11, FULL),
        (7, CoefficientsConfig::Sparse { sparsity: 0.5 }),
    ]
    .into_iter()
    .flat_map(|(primary, coefficients)| {
        let choice = Choice::new(primary, coefficients);
        [choice, choice.with_primary_channels(3)]
    })
    .collect()
}

#[test]
fn the_error_is_that_of_the_filters() {
    let device = device();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    for choice in choices() {
        let (layer, error) = LinearConv2d::from_conv2d(&dense, choice, None).expect("valid");
        let (ours, theirs) = (to_vec(layer.weight()), to_vec(dense.weight.val()));
        let measured = relative_error(&ours, &theirs);
        assert!(
            (error - measured).abs() < tolerances().sums,
            "{choice:?}: {error}, {measured}"
        );
        assert!(error > 1e-3, "random filters are independent");

        // The primary filters are filters of the layer, in their places, and their channels are.
        let places = |order: &Param<Tensor<1, Int>>| to_vec(order.val().float());
        let order = places(layer.order.as_ref().expect("an order"));
        let channels = layer.channel_order.as_ref().map(places);
        let channels = channels.unwrap_or_else(|| vec![0.0, 1.0, 2.0, 3.0]);
        let primary = to_vec(layer.primary.val());
        let of_primary = primary.len() / choice.primary / 9;
        let mut kept = 0;
        for (filter, place) in order.iter().enumerate() {
            for (channel, of_filter) in channels.iter().enumerate() {
                let (place, of_filter) = (*place as usize, *of_filter as usize);
                if place < choice.primary && of_filter < of_primary {
                    let taps = |values: &[f64], at: usize| values[at * 9..at * 9 + 9].to_vec();
                    assert_eq!(
                        taps(&ours, filter * 4 + channel),
                        taps(&primary, place * of_primary + of_filter),
                        "{choice:?}"
                    );
                    kept += 1;
                }
            }
        }
        assert_eq!(kept, choice.primary * of_primary, "{choice:?}");
    }
}

#[test]
fn the_error_with_a_calibration_batch_is_that_of_the_outputs_and_smaller() {
    let device = device();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    // Inputs of some directions more than others, or outputs would tell nothing new.
    let scale = Tensor::<1>::from_floats([10.0, 1.0, 0.1, 3.0], &device).cast(float());
    let input = tensor([3, 4, 9, 9], 2, &device) * scale.reshape([1, 4, 1, 1]);
    let bias = dense
        .bias
        .as_ref()
        .expect("a bias")
        .val()
        .reshape([1, 12, 1, 1]);
    let expected = to_vec(dense.forward(input.clone()) - bias.clone());
    for choice in choices() {
        let of = |calibration| {
            let layer = LinearConv2d::from_conv2d(&dense, choice, calibration).expect("valid");
            let output = layer.0.forward(input.clone()) - bias.clone();
            (layer.1, relative_error(&to_vec(output), &expected))
        };
        let (error, measured) = of(Some(input.clone()));
        assert!(
            (error - measured).abs() < tolerances().sums,
            "{choice:?}: {error}, {measured}"
        );
        if choice.primary >= 4 || choice.coefficients == FULL {
            assert!(measured < of(None).1, "{choice:?}");
        }
    }
}

#[test]
fn least_squares_leave_nothing_in_reach_of_the_primary_filters() {
    let device = device();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    let choice = Choice::new(5, FULL);
    let (layer, _) = LinearConv2d::from_conv2d(&dense, choice, None).expect("valid");
    let rows = |weight: Tensor<4>| -> Tensor<2> { weight.flatten(1, 3) };
    let rest = rows(dense.weight.val()) - rows(layer.weight());
    let reached = rest.matmul(rows(layer.primary.val()).transpose());
    assert_close(
        &to_vec(reached),
        &[0.0; 60],
        tolerances().rounding,
        "residual · primary",
    );
}

#[test]
fn dependent_filters_are_combined_exactly() {
    let device = device().autodiff();
    let dense = dependent(6, &device);
    let input = tensor([2, 4, 7, 7], 4, &device);
    let expected = to_vec(dense.forward(input.clone()));
    for (primary, coefficients) in [
        (6, FULL),
        // More than are independent.
        (8, FULL),
        (11, FULL),
        (6, CoefficientsConfig::LowRank { rank: 6 }),
    ] {
        let choice = Choice::new(primary, coefficients);
        let (layer, error) = LinearConv2d::from_conv2d(&dense, choice, None).expect("valid");
        assert!(error < tolerances().rounding, "{choice:?}: {error}");
        assert_close(
            &to_vec(layer.forward(input.clone())),
            &expected,
            tolerances().sums,
            "layer",
        );
        let back = layer.to_conv2d().forward(input.clone());
        assert_close(&to_vec(back), &expected, tolerances().sums, "back");
    }

    // By the one line: an approximate model could not equal the dense one.
    let half = LinearConv::new(FULL).with_all_layers();
    let model = dense.clone().apply_reparameterization(half);
    assert_eq!(model.weight.base().dims(), [6, 4, 3, 3]);
    assert_close(
        &to_vec(model.forward(input.clone())),
        &expected,
        tolerances().sums,
        "one line",
    );
    let materialized = model.materialize();
    assert_eq!(materialized.weight.base().dims(), [12, 4, 3, 3]);
    assert_close(
        &to_vec(materialized.forward(input)),
        &expected,
        tolerances().sums,
        "materialized",
    );
}

#[test]
fn nothing_else_changes() {
    let device = device().autodiff();
    let model = Model::new(&device);
    let original = model.clone();
    let group = conv2d_weights(&model).expect("dense");
    let model = model.apply_reparameterization(LinearConv::new(FULL).within(group));
    let reparameterized =
        |param: &Param<Tensor<4>>| param.reparameterization::<CombinedFilters>().is_some();
    assert!(reparameterized(&model.stem.weight) && reparameterized(&model.body.weight));
    // Depthwise ones would grow.
    assert!(!reparameterized(&model.depthwise.weight) && !reparameterized(&model.up.weight));
    for (ours, theirs) in [
        (
            to_vec(model.up.weight.val()),
            to_vec(original.up.weight.val()),
        ),
        (
            to_vec(model.depthwise.weight.val()),
            to_vec(original.depthwise.weight.val()),
        ),
    ] {
        assert_eq!(ours, theirs);
    }
    assert_eq!(
        to_vec(model.head.weight.val()),
        to_vec(original.head.weight.val())
    );
    assert_eq!(
        to_vec(model.norm.gamma.val()),
        to_vec(original.norm.gamma.val())
    );
    let variance = |model: &Model| to_vec(model.norm.running_var.value_sync());
    assert_eq!(variance(&model), variance(&original));
    let bias = |model: &Model| to_vec(model.stem.bias.as_ref().expect("a bias").val());
    assert_eq!(bias(&model), bias(&original));
}

#[test]
fn a_group_limits_what_is_compressed() {
    let device = device().autodiff();
    let only_body = || ParamGroup::from_predicate("body");
    let linear = LinearConv::new(FULL).within(only_body());
    let model = Model::new(&device).apply_reparameterization(linear);
    assert_eq!(model.stem.weight.base().dims()[0], 16);
    assert_eq!(model.body.weight.base().dims()[0], 12);

    let compression = Compression::to_parameters(0.5).within(only_body());
    let plan = compression.plan(&Model::new(&device)).expect("valid");
    assert_eq!(plan.layers().len(), 1);
    assert_eq!(plan.layers()[0].path(), "body.weight");
}

#[test]
fn a_minimum_size_limits_what_is_compressed() {
    let device = device().autodiff();
    let filters = |min_size| {
        let linear =
            LinearConv::new(FULL).within(ParamGroup::from_any_predicates(vec!["stem", "body"]));
        let model = Model::new(&device).apply_reparameterization(linear.with_min_size(min_size));
        [&model.stem, &model.body].map(|conv| conv.weight.base().dims()[0])
    };
    let size = 16 * 8 * 9;
    assert_eq!(filters(size), [8, 12]);
    assert_eq!(filters(size + 1), [16, 12]);
    assert_eq!(filters(24 * 16 * 9 + 1), [16, 24]);
}

#[test]
#[should_panic(expected = "up.bias has 20 values beside a weight of 24 filters")]
fn the_one_line_refuses_what_a_bias_shows_to_be_no_convolution() {
    Model::new(&device()).apply_reparameterization(LinearConv::new(FULL));
}

#[test]
fn values_that_are_not_finite_are_errors() {
    let device = device();
    let model = || {
        let mut model = Model::new(&device);
        model.body.weight = model.body.weight.map(|weight| {
            let position = [3..4, 0..1, 0..1, 0..1];
            weight.slice_fill(position, f64::INFINITY)
        });
        model
    };
    let expected = |path: &str| Error::NotFinite {
        path: path.into(),
        filter: 3,
    };
    let plan = Compression::to_parameters(0.5).plan(&model());
    assert_eq!(plan.expect_err("infinite"), expected("body.weight"));
    let half = Choice::new(12, FULL);
    let layer = LinearConv2d::from_conv2d(&model().body, half, None);
    assert_eq!(layer.expect_err("infinite"), expected("weight"));
}

#[test]
fn a_reparameterized_convolution_becomes_the_fast_layer_exactly() {
    let device = device().autodiff();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    assert!(LinearConv2d::from_reparameterized(&dense).is_none());
    let input: Tensor<4> = tensor([2, 4, 7, 7], 4, &device);
    for (coefficients, channel_ratio) in variants_of_both_sides() {
        let linear = LinearConv::new(coefficients)
            .with_channel_ratio(channel_ratio)
            .with_all_layers();
        let conv = dense.clone().apply_reparameterization(linear);
        let layer = LinearConv2d::from_reparameterized(&conv).expect("reparameterized");
        assert_eq!(layer.channel_coefficients.is_some(), channel_ratio < 1.0);
        assert_eq!(channels_in(&layer), 4);
        let layer = layer.with_evaluation(Evaluation::Factored);
        // Combined channels are sums of one more product each.
        let tolerance = if channel_ratio < 1.0 {
            tolerances().sums
        } else {
            tolerances().rounding
        };
        assert_close(
            &to_vec(layer.forward(input.clone())),
            &to_vec(conv.forward(input.clone())),
            tolerance,
            "output",
        );

        // The same parameters, with the same gradients.
        let seed: Tensor<4> = tensor([2, 12, 5, 5], 5, &device);
        let of_conv = (conv.forward(input.clone()) * seed.clone())
            .sum()
            .backward();
        let of_layer = (layer.forward(input.clone()) * seed).sum().backward();
        let gradients = [
            conv.weight.base().grad(&of_conv),
            layer.primary.val().grad(&of_layer),
        ];
        let [ours, theirs] = gradients.map(|gradient| to_vec(gradient.expect("trained")));
        assert_close(&ours, &theirs, tolerances().sums, "gradient");
        let combined = conv.weight.reparameterization::<CombinedFilters>();
        let combined = combined.expect("reparameterized");
        if let (Some(ours), Some(theirs)) =
            (&combined.channel_coefficients, &layer.channel_coefficients)
        {
            let gradients = [ours.val().grad(&of_conv), theirs.val().grad(&of_layer)];
            let [ours, theirs] = gradients.map(|gradient| to_vec(gradient.expect("trained")));
            assert_close(&ours, &theirs, tolerances().sums, "gradient of channels");
        }
        assert_eq!(layer.primary.id, conv.weight.id);
        assert_eq!(Conv::Dense(conv.clone()).cost(), layer.cost());

        // Where a model is free to choose its layers it runs as that layer, and trains as itself.
        let input: Tensor<4> = tensor([2, 4, 40, 40], 6, &device);
        let gradients = |output: Tensor<4>| {
            let gradients = weighted_sum(output).backward();
            let bias = conv.bias.as_ref().expect("a bias").val();
            [
                to_vec(conv.weight.base().grad(&gradients).expect("trained")),
                to_vec(bias.grad(&gradients).expect("trained")),
            ]
        };
        let expected = conv.forward(input.clone());
        let output = Conv::Dense(conv.clone()).forward(input.clone());
        let bits = to_vec(output.clone());
        assert_eq!(bits, to_vec(layer.forward(input.clone())));
        assert_ne!(bits, to_vec(expected.clone()), "rounding tells them apart");
        assert_close(&bits, &to_vec(expected.clone()), tolerance, "Conv");
        let [ours, theirs] = [output, expected].map(gradients);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_close(ours, theirs, tolerances().long_sums, "gradient by Conv");
        }

        let choice = Choice::new(6, coefficients).with_primary_channels(3);
        let frozen = LinearConv2d::from_conv2d(&dense.clone().no_grad(), choice, None);
        let (frozen, _) = frozen.expect("valid");
        assert!(!frozen.primary.is_require_grad());
        match &frozen.coefficients {
            Coefficients::Full(full) => assert!(!full.weight.is_require_grad()),
            Coefficients::LowRank(factors) => assert!(!factors.row.is_require_grad()),
            Coefficients::Sparse(sparse) => assert!(!sparse.weight.is_require_grad()),
        }
        let channels = frozen.channel_coefficients.expect("three of four");
        assert!(!channels.is_require_grad());

        let frozen = LinearConv2d::from_reparameterized(&conv.no_grad()).expect("the same");
        assert!(!frozen.primary.is_require_grad());
        assert!(frozen.bias.is_some_and(|bias| !bias.is_require_grad()));
    }
}

#[test]
fn a_step_trains_filters_and_coefficients_and_records_round_trip() {
    let device = device().autodiff();
    let rank = CoefficientsConfig::LowRank { rank: 3 };
    let compressed = || {
        let model = Model::new(&device);
        let group = conv2d_weights(&model).expect("dense");
        let linear = LinearConv::new(rank).with_channel_ratio(0.5);
        model.apply_reparameterization(linear.within(group))
    };
    let model = compressed();
    let loss = model.forward(images(&device)).square().mean() + correlation_loss(&model) * 0.01;
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let values = |model: &Model| {
        let filters = model.body.weight.reparameterization::<CombinedFilters>();
        let filters = filters.expect("compressed");
        let channels = filters.channel_coefficients.as_ref().expect("half");
        [
            to_vec(model.body.weight.base()),
            to_vec(filters.coefficients.matrix()),
            to_vec(channels.val()),
        ]
    };
    let before = values(&model);
    let trained = AdamConfig::new().init().step(1e-2, model, gradients);
    let after = values(&trained);
    for (before, after) in before.iter().zip(&after) {
        assert!(before.iter().zip(after).all(|(a, b)| a != b));
    }

    let expected = to_vec(trained.valid().forward(images(&device).inner()));
    let bytes = trained.valid().into_record().into_bytes().expect("bytes");
    let record = burn::store::ModuleRecord::from_bytes(bytes).expect("record");
    let loaded = compressed().valid().load_record(record);
    assert_eq!(to_vec(loaded.forward(images(&device).inner())), expected);
}

#[test]
fn what_was_compressed_without_autodiff_is_trained_later() {
    let rank = CoefficientsConfig::LowRank { rank: 3 };
    let trained = |model: Model| {
        let plan = Compression::uniform(0.5, rank).plan(&model).expect("valid");
        let model = plan.apply(model).expect("valid").valid().train();
        let combined = model.body.weight.reparameterization::<CombinedFilters>();
        let coefficients = combined.expect("compressed").coefficients.clone();
        let Coefficients::LowRank(factors) = coefficients else {
            panic!("low rank, not {coefficients:?}")
        };
        [
            model.body.weight.is_require_grad(),
            factors.column.is_require_grad(),
            factors.row.is_require_grad(),
        ]
    };
    assert_eq!(trained(Model::new(&device())), [true; 3]);
    let with_autodiff = Model::new(&device().autodiff());
    assert_eq!(trained(with_autodiff.clone()), [true; 3]);
    assert_eq!(trained(with_autodiff.no_grad()), [false; 3]);
}

#[test]
fn losses_see_reparameterized_weights_as_they_see_layers() {
    let device = device().autodiff();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    for coefficients in [FULL, CoefficientsConfig::LowRank { rank: 2 }] {
        let choice = Choice::new(6, coefficients);
        let (layer, _) = LinearConv2d::from_conv2d(&dense, choice, None).expect("valid");
        let linear = LinearConv::new(coefficients).with_all_layers();
        let model = dense.clone().apply_reparameterization(linear);
        for loss in [
            correlation_loss::<LinearConv2d>(&layer),
            coefficient_l1(&layer),
        ] {
            assert!(to_vec(loss)[0] > 0.0);
        }
        let correlation = [
            to_vec(correlation_loss(&layer)),
            to_vec(correlation_loss(&model)),
        ];
        assert_close(
            &correlation[0],
            &correlation[1],
            tolerances().rounding,
            "correlation",
        );
        let l1 = [
            to_vec(coefficient_l1(&layer)),
            to_vec(coefficient_l1(&model)),
        ];
        assert_close(&l1[0], &l1[1], tolerances().rounding, "L1");
        let gradients = correlation_loss(&model).backward();
        assert!(model.weight.base().grad(&gradients).is_some());
    }
    assert_eq!(to_vec(correlation_loss(&dense)), [0.0]);
}

#[test]
fn reparameterized_weights_are_pruned_as_layers_are() {
    let device = device().autodiff();
    let dense = dense(&Conv2dConfig::new([4, 12], [3, 3]), &device);
    let sparse = || LinearConv::new(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let compressed = || {
        dense
            .clone()
            .apply_reparameterization(sparse().with_all_layers())
    };
    let layer = LinearConv2d::from_reparameterized(&compressed()).expect("reparameterized");

    let ramp = CubicRamp::new(0.5, 0, 1).expect("a ramp");
    let (model, layer) = (ramp.prune(compressed(), 1), ramp.prune(layer, 1));
    assert_eq!(sparsity(&model), 0.5);
    let pruned = to_vec(model.weight.val());
    assert_eq!(pruned, to_vec(layer.weight()));
    assert_ne!(pruned, to_vec(compressed().weight.val()));

    // The mask is part of the record, and of what comes back as dense weights.
    let bytes = model.clone().into_record().into_bytes().expect("bytes");
    let record = burn::store::ModuleRecord::from_bytes(bytes).expect("record");
    let loaded = compressed().load_record(record);
    assert_eq!(to_vec(loaded.weight.val()), pruned);
    assert_eq!(to_vec(loaded.materialize().weight.base()), pruned);
}

/// A reparameterization of others, which divides by a number.
#[derive(Module, Debug)]
struct Scaled {
    divisor: Param<Tensor<1>>,
}

impl Reparameterization for Scaled {
    const NAME: &'static str = "scaled";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base / self.divisor.val().reshape([1; D])
    }
}

struct Scale;

impl Reparameterizer for Scale {
    type Reparam = Scaled;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Scaled>) {
        let divisor = Param::from_tensor(Tensor::full([1], 2.0, &param.lazy_device()));
        (param, (D == 4).then_some(Scaled { divisor }))
    }
}

#[test]
fn plans_refuse_weights_that_are_reparameterized_otherwise() {
    let model = Model::new(&device()).apply_reparameterization(Scale);
    let refused = Compression::to_parameters(0.5).plan(&model);
    let expected = Error::Reparameterized {
        path: "stem.weight".into(),
        name: "scaled".into(),
    };
    assert!(matches!(refused, Err(error) if error == expected));
}

#[test]
#[should_panic(expected = "weight is reparameterized already, by scaled")]
fn the_one_line_refuses_weights_that_are_reparameterized_otherwise() {
    let conv = dependent(6, &device()).apply_reparameterization(Scale);
    conv.apply_reparameterization(LinearConv::new(FULL).with_all_layers());
}

#[test]
fn the_name_of_a_field_is_no_reparameterization() {
    #[derive(Module, Debug)]
    struct Named {
        linear_conv: Conv2d,
    }
    let device = device();
    let linear_conv = dependent(6, &device);
    let linear = LinearConv::new(FULL).with_all_layers();
    let model = Named { linear_conv }.apply_reparameterization(linear);
    assert_eq!(model.linear_conv.weight.base().dims()[0], 6);
}

#[test]
fn what_gets_smaller_is_compressed_but_no_depthwise_convolution() {
    let device = device();
    let filters = |channels, groups, linear: LinearConv| {
        let config = Conv2dConfig::new(channels, [3, 3]).with_groups(groups);
        let conv = config.init(&device).apply_reparameterization(linear);
        conv.weight.base().dims()[0]
    };
    let model = Conv2dConfig::new([256, 256], [3, 3])
        .with_groups(256)
        .init(&device);
    let plan = Compression::to_error(0.9).plan(&model).expect("valid");
    assert!(plan.choices().is_empty());
    let mostly = LinearConv::new(FULL).with_primary_ratio(0.9);
    assert_eq!(filters([64, 64], 1, mostly), 57);
    // Smaller, but a rank for channels that have nothing in common.
    let rank_1 = || LinearConv::new(CoefficientsConfig::LowRank { rank: 1 });
    let depthwise = [256, 256];
    assert_eq!(filters(depthwise, 256, rank_1()), 256);
    assert_eq!(filters(depthwise, 256, rank_1().with_all_layers()), 128);
}

#[test]
#[should_panic(expected = "weight is reparameterized already, by linear_conv")]
fn a_second_application_panics() {
    let linear = || LinearConv::new(FULL).with_all_layers();
    let once = dependent(6, &device()).apply_reparameterization(linear());
    once.apply_reparameterization(linear());
}

#[test]
fn plans_refuse_what_is_compressed_already_and_other_models() {
    let device = device().autodiff();
    let model = Model::new(&device);
    let plan = Compression::to_parameters(0.5).plan(&model).expect("valid");
    let compressed = plan.apply(model).expect("valid");
    let again = Compression::to_parameters(0.5).plan(&compressed);
    assert!(matches!(again, Err(Error::Reparameterized { path, .. }) if path.ends_with("weight")));
    assert!(matches!(
        plan.apply(compressed),
        Err(Error::Reparameterized { .. })
    ));
    let other = plan.apply(Model::new(&device));
    assert!(matches!(other, Err(Error::OtherModel { path }) if path == "stem.weight"));
}

#[test]
fn plans_refuse_weights_that_have_changed() {
    let device = device();
    let mut model = Model::new(&device);
    let plan = Compression::to_parameters(0.5).plan(&model).expect("valid");
    model.body.weight = model.body.weight.map(|weight| weight * 1.001);
    let stale = plan.apply(model);
    assert!(matches!(stale, Err(Error::OtherModel { path }) if path == "body.weight"));
}

#[test]
fn layers_of_one_identity_are_planned_each() {
    let device = device();
    let conv: Conv2d = with_values(Conv2dConfig::new([16, 16], [3, 3]).init(&device), 1);
    let mut model = vec![conv.clone(), conv];
    model[1].weight = model[1].weight.clone().map(|weight| weight.flip([0, 1]));
    assert_eq!(model[0].weight.id, model[1].weight.id);
    let mut plan = Compression::uniform(0.5, FULL).plan(&model).expect("valid");
    plan.choose("1.weight", Some(Choice::new(15, FULL)))
        .expect("valid");
    let errors = plan.layers().iter().map(|layer| layer.error());
    let expected: Vec<f64> = errors.map(|error| error.expect("fitted")).collect();
    let compressed = plan.apply(model.clone()).expect("valid");
    for (index, expected) in expected.into_iter().enumerate() {
        let weight = |model: &[Conv2d]| to_vec(model[index].weight.val());
        let measured = relative_error(&weight(&compressed), &weight(&model));
        assert!(
            (measured - expected).abs() < tolerances().sums,
            "{index}: {measured}"
        );
    }
    assert_eq!(compressed[1].weight.base().dims()[0], 15);
}

#[test]
fn a_planned_model_is_loaded_by_its_choices() {
    let device = device();
    let model = Model::new(&device);
    let plan = Compression::to_parameters(0.5).plan(&model).expect("valid");
    let model = plan.apply(model).expect("valid");
    let json = serde_json::to_string(&plan.choices()).expect("JSON");
    let choices: BTreeMap<String, Choice> = serde_json::from_str(&json).expect("choices");
    assert_eq!(choices, plan.choices());

    // A new model has other parameters, of other identities.
    let mut other = Model::new(&device);
    other.body = with_values(other.body, 17);
    let same = Compression::per_layer(choices.clone());
    let same = same.plan(&other).expect("the same layers");
    assert_eq!(same.parameters(), plan.parameters());
    let loaded = same.apply(other).expect("valid");
    let loaded = loaded.load_record(model.clone().into_record());
    assert_eq!(
        to_vec(loaded.forward(images(&device))),
        to_vec(model.forward(images(&device)))
    );

    let missing = Compression::per_layer(choices).plan(&dependent(6, &device));
    assert!(matches!(missing, Err(Error::OtherModel { path }) if path == "body.weight"));
}

#[test]
fn impossible_budgets_are_errors() {
    let model = Model::new(&device());
    for share in [0.0, -1.0, 1.5, f64::NAN] {
        let plan = Compression::to_parameters(share).plan(&model);
        assert!(matches!(plan, Err(Error::Share { .. })), "{share}");
    }
    let plan = Compression::to_parameters(1e-3).plan(&model);
    let Err(Error::Budget { smallest, .. }) = plan else {
        panic!("a thousandth is too little: {plan:?}")
    };
    assert!(smallest > 0);
    let head = Model::new(&device()).head;
    for compression in [Compression::to_error(1.0), Compression::to_parameters(0.5)] {
        let nothing = compression.plan(&head).expect("nothing to compress");
        assert!(nothing.layers().is_empty());
    }
    let invalid = CoefficientsConfig::LowRank { rank: 0 };
    assert!(Compression::uniform(0.5, invalid).plan(&model).is_err());
    assert!(Compression::uniform(2.0, FULL).plan(&model).is_err());
    let invalid = CoefficientsConfig::RankRatio { ratio: 0.75 };
    let plan = Compression::uniform(0.75, invalid).plan(&model);
    assert!(matches!(plan, Err(Error::Rank { .. })), "{plan:?}");
}
