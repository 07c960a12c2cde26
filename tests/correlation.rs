//! Closed forms of the correlation, and its behaviour where the textbook's divides by zero.

mod common;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};
use linearconv::{
    CoefficientsConfig, Conv, ConvConfig, LinearConv2d, LinearConv2dConfig, coefficient_l1,
    correlation_loss, correlation_matrix,
};

use common::{assert_close, device, float, layer, tensor, to_vec, tolerances, with_values};

fn with_primary(mut layer: LinearConv2d, primary: Tensor<4>) -> LinearConv2d {
    layer.primary = Param::from_tensor(primary);
    layer
}

#[test]
fn correlation_equals_its_definition() {
    let (m, length) = (6, 11);
    let rows = tensor([m, length], 1, &device());
    let values = to_vec(rows.clone());
    let mut expected = Vec::new();
    for i in 0..m {
        for j in 0..m {
            let [a, b] = [i, j].map(|row| &values[row * length..(row + 1) * length]);
            let mean = |row: &[f64]| row.iter().sum::<f64>() / length as f64;
            let (mean_a, mean_b) = (mean(a), mean(b));
            let covariance = |a: &[f64], mean_a: f64, b: &[f64], mean_b: f64| -> f64 {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| (a - mean_a) * (b - mean_b))
                    .sum()
            };
            let variances = covariance(a, mean_a, a, mean_a) * covariance(b, mean_b, b, mean_b);
            expected.push(covariance(a, mean_a, b, mean_b) / variances.sqrt());
        }
    }
    assert_close(
        &to_vec(correlation_matrix(rows)),
        &expected,
        tolerances().rounding,
        "correlation",
    );
}

#[test]
fn correlation_ignores_scale_and_offset_of_a_row() {
    let rows = tensor([5, 7], 1, &device());
    let moved = rows.clone() * -3.0 + 2.0;
    let expected = to_vec(correlation_matrix(rows));
    assert_close(
        &to_vec(correlation_matrix(moved)),
        &expected,
        tolerances().rounding,
        "moved",
    );
}

#[test]
fn duplicate_and_opposite_filters_correlate_fully() {
    let filter = tensor([1, 2, 3, 3], 1, &device());
    let primary = Tensor::cat(vec![filter.clone(), filter.clone(), -filter], 0);
    let config = LinearConv2dConfig::new([2, 6], [3, 3]);
    let layer = with_primary(config.init(&device()), primary);
    assert_close(
        &to_vec(correlation_loss(&layer)),
        &[6.0],
        tolerances().rounding,
        "3·3 - 3",
    );
}

#[test]
fn degenerate_filters_give_finite_losses_and_gradients() {
    let ramp = tensor::<4>([1, 1, 3, 3], 1, &device());
    let constant = |value: f64| ramp.full_like(value);
    let cases = [
        ("zero", vec![constant(0.0), constant(0.0)]),
        ("constant", vec![constant(0.1), constant(-7.3)]),
        ("constant and varied", vec![constant(0.1), ramp.clone()]),
        ("duplicates", vec![ramp.clone(), ramp.clone()]),
        (
            "tiny",
            vec![ramp.clone() * 1e-25, ramp.clone().square() * 1e-25],
        ),
        (
            "huge",
            vec![ramp.clone() * 1e30, ramp.clone().square() * 1e30],
        ),
    ];
    for dtype in [DType::F32, float()] {
        for (name, filters) in &cases {
            let primary = Tensor::cat(filters.clone(), 0).cast(dtype).autodiff();
            let config = LinearConv2dConfig::new([1, 4], [3, 3]);
            let layer = with_primary(config.init(&device().autodiff()), primary);
            let loss = correlation_loss(&layer);
            assert!(
                to_vec(loss.clone())[0].is_finite(),
                "{name} {dtype:?}: {loss}"
            );
            let gradient = layer
                .primary
                .val()
                .grad(&loss.backward())
                .expect("gradient");
            let gradient = to_vec(gradient);
            assert!(
                gradient.iter().all(|value| value.is_finite()),
                "{name} {dtype:?}: {gradient:?}"
            );
        }
    }
}

#[test]
fn filters_without_variance_have_no_loss() {
    // Pointwise kernels of one channel: rows of one number, which cannot vary.
    let config = LinearConv2dConfig::new([1, 8], [1, 1]);
    let layer = layer(&config, &device().autodiff());
    let loss = correlation_loss(&layer);
    assert_eq!(to_vec(loss.clone()), [0.0]);
    let gradient = layer
        .primary
        .val()
        .grad(&loss.backward())
        .expect("gradient");
    assert_eq!(to_vec(gradient), [0.0; 4]);
}

#[test]
fn rounding_of_a_constant_is_not_variance() {
    let rows = Tensor::<2>::full([2, 4608], 0.1, &device());
    assert_eq!(rows.dtype(), DType::F32);
    let expected = [1.0, 0.0, 0.0, 1.0];
    assert_close(
        &to_vec(correlation_matrix(rows)),
        &expected,
        0.0,
        "constants",
    );
}

#[test]
fn orthogonal_filters_are_orthonormal_and_nearly_uncorrelated() {
    let config = LinearConv2dConfig::new([8, 32], [3, 3])
        .with_initializer(Initializer::Orthogonal { gain: 1.0 });
    // Drawn on a CPU: Burn's fusion on GPUs makes other filters of it (docs/backends.md).
    let drawn = config.init(&Device::flex()).primary.val();
    let primary = Tensor::from_data(drawn.into_data(), &device());
    let layer = with_primary(config.init(&device()), primary);
    let filters: Tensor<2> = layer.primary.val().flatten(1, 3);
    let gram = to_vec(filters.clone().matmul(filters.transpose()));
    let identity: Vec<f64> = (0..256)
        .map(|index| if index % 17 == 0 { 1.0 } else { 0.0 })
        .collect();
    assert_close(&gram, &identity, 1e-5, "gram");
    // Means other than zero leave correlations of about 1 / filter_size.
    let loss = to_vec(correlation_loss(&layer))[0];
    assert!((0.0..16.0 * 15.0 * 3.0 / 72.0).contains(&loss), "{loss}");
}

/// Two LinearConv layers, reached through an enum and a vector, among others.
#[derive(Module, Debug)]
struct Mixed {
    stem: Conv,
    blocks: Vec<LinearConv2d>,
    dense: Conv2d,
    norm: BatchNorm,
    head: Linear,
}

fn mixed() -> Mixed {
    let device = device().autodiff();
    let policy = ConvConfig::linear(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let block = LinearConv2dConfig::new([8, 8], [3, 3])
        .with_coefficients(CoefficientsConfig::LowRank { rank: 2 });
    let model = Mixed {
        stem: policy
            .with_layer(Conv2dConfig::new([3, 8], [3, 3]))
            .init(&device),
        blocks: vec![block.init(&device)],
        dense: Conv2dConfig::new([8, 8], [3, 3]).init(&device),
        norm: BatchNormConfig::new(8).init(&device),
        head: LinearConfig::new(8, 2).init(&device),
    };
    with_values(model, 11)
}

#[test]
fn losses_sum_over_the_linear_convolutions_of_a_module_alone() {
    let model = mixed();
    let Conv::Linear(stem) = &model.stem else {
        panic!("the policy is linear");
    };
    let scalar = |loss: Tensor<1>| to_vec(loss)[0];
    let correlation = scalar(correlation_loss(stem)) + scalar(correlation_loss(&model.blocks[0]));
    let l1 = scalar(coefficient_l1(stem)) + scalar(coefficient_l1(&model.blocks[0]));
    assert!(correlation > 0.1 && l1 > 0.1);
    assert_close(
        &to_vec(correlation_loss(&model)),
        &[correlation],
        tolerances().rounding,
        "sum",
    );
    assert_close(
        &to_vec(coefficient_l1(&model)),
        &[l1],
        tolerances().rounding,
        "sum",
    );

    let gradients = correlation_loss(&model).backward();
    assert!(stem.primary.val().grad(&gradients).is_some());
    assert!(model.blocks[0].primary.val().grad(&gradients).is_some());
    assert!(model.dense.weight.val().grad(&gradients).is_none());
    assert!(model.head.weight.val().grad(&gradients).is_none());
}

/// Sums that half precision cannot hold: 2048² / 4 coefficients of each layer, and as many
/// correlations.
#[test]
fn losses_of_many_filters_are_finite_in_half_precision() {
    for dtype in [DType::F16, DType::BF16] {
        if !device().supports_dtype(dtype) {
            println!("{dtype:?} is not there");
            continue;
        }
        let config = LinearConv2dConfig::new([2, 2048], [1, 1]);
        let single: Vec<LinearConv2d> = (0..2)
            .map(|seed| common::with_values(config.init(&device()), seed))
            .collect();
        let single = common::cast(single, DType::F32);
        let half = common::cast(single.clone(), dtype);
        for loss in [coefficient_l1, correlation_loss] {
            let [expected, found] = [loss(&single), loss(&half)];
            assert_eq!(found.dtype(), DType::F32);
            assert!(to_vec(expected.clone())[0] > 65_504.0, "beyond f16");
            assert_close(&to_vec(found / expected), &[1.0], 0.02, "a loss in half");
        }
        let dense = BatchNormConfig::new(2).init(&device());
        let none = coefficient_l1(&common::cast(dense, dtype));
        assert_eq!(none.dtype(), DType::F32);
    }
}

#[test]
fn coefficient_l1_is_the_norm_of_what_is_stored() {
    let model = mixed();
    let stored = to_vec(coefficient_l1(&model.blocks[0]))[0];
    let linearconv::Coefficients::LowRank(low_rank) = &model.blocks[0].coefficients else {
        panic!("low rank");
    };
    let norm = |param: &Param<Tensor<2>>| -> f64 {
        to_vec(param.val()).iter().map(|value| value.abs()).sum()
    };
    let expected = norm(&low_rank.column) + norm(&low_rank.row);
    assert_close(
        &[stored],
        &[expected],
        tolerances().rounding,
        "both factors",
    );
}

#[test]
fn losses_see_primary_filters_and_their_coefficients_alone() {
    let config = LinearConv2dConfig::new([6, 8], [3, 3]).with_channel_ratio(0.5);
    let two_sides = layer(&config, &device().autodiff());
    let mut one_side = layer(
        &LinearConv2dConfig::new([3, 8], [3, 3]),
        &device().autodiff(),
    );
    one_side.primary = two_sides.primary.clone();
    one_side.coefficients = two_sides.coefficients.clone();
    for loss in [correlation_loss, coefficient_l1] {
        let expected = to_vec(loss(&one_side));
        assert!(expected[0] > 0.1);
        assert_eq!(to_vec(loss(&two_sides)), expected);
        let gradients = loss(&two_sides).backward();
        let channels = two_sides.channel_coefficients.as_ref().expect("half");
        assert!(channels.val().grad(&gradients).is_none());
    }
}

#[test]
fn a_module_without_linear_convolutions_has_no_loss() {
    let linear = LinearConfig::new(4, 2).init(&device().autodiff());
    assert_eq!(to_vec(correlation_loss(&linear)), [0.0]);
    assert_eq!(to_vec(coefficient_l1(&linear)), [0.0]);

    // In the type of the module, so that it can be added to its loss.
    let linear = with_values(linear, 3);
    assert_eq!(correlation_loss(&linear).dtype(), float());
    assert_eq!(coefficient_l1(&linear).dtype(), float());
}

#[test]
fn layers_of_several_types_have_one_loss() {
    let mut model = mixed();
    let expected = to_vec(correlation_loss(&model));
    let primary = model.blocks[0].primary.clone();
    model.blocks[0].primary = primary.map(|value| value.detach().cast(DType::F32));
    let loss = correlation_loss(&model);
    assert_eq!(loss.dtype(), float());
    assert_close(&to_vec(loss), &expected, 1e-5, "sum");
}
