//! The reference's adaptive threshold to the recorded digits, the exact ramp, and what pruning
//! leaves alone.

mod common;

use burn::module::{Module, Param};
use burn::nn::BatchNormConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use linearconv::pruning::{AdaptiveThreshold, CubicRamp, sparsity};
use linearconv::{
    Coefficients, CoefficientsConfig, Error, Evaluation, LinearConv2d, LinearConv2dConfig,
    SparseCoefficients,
};
use serde::Deserialize;

use common::{assert_close, device, float, tensor, to_vec, tolerances};

#[derive(Deserialize)]
struct Trace {
    target: f64,
    step: f64,
    coefficients: Vec<Vec<f64>>,
    trace: Vec<Cycle>,
}

#[derive(Deserialize)]
struct Cycle {
    zero_fraction: f64,
    threshold_after: f64,
    kept: usize,
}

/// A layer with the given coefficients in f64, on an autodiff device.
fn layer(coefficients: &[Vec<f64>]) -> LinearConv2d {
    let (secondary, primary) = (coefficients.len(), coefficients[0].len());
    let filters = secondary + primary;
    let mut layer = LinearConv2dConfig::new([2, filters], [3, 3])
        .with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.5 })
        .with_primary_ratio((primary as f64 + 0.5) / filters as f64)
        .init(&device().autodiff());
    layer = common::with_values(layer, 5);
    let data = TensorData::new(coefficients.concat(), [secondary, primary]);
    let weight = Tensor::from_data(data, (&device().autodiff(), float()));
    let zero = Tensor::zeros([1], (&device().autodiff(), float()));
    let Coefficients::Sparse(sparse) = &mut layer.coefficients else {
        panic!("sparse");
    };
    sparse.weight = Param::from_tensor(weight);
    sparse.threshold = sparse.threshold.clone().map(|_| zero);
    layer
}

fn sparse(layer: &LinearConv2d) -> &SparseCoefficients {
    match &layer.coefficients {
        Coefficients::Sparse(sparse) => sparse,
        _ => panic!("sparse"),
    }
}

fn kept(layer: &LinearConv2d) -> usize {
    sparse(layer).mask.val().int().sum().into_scalar::<i64>() as usize
}

#[test]
fn adaptive_threshold_reproduces_the_recorded_traces() {
    let json = include_str!("fixtures/pruning_traces.json");
    let traces: Vec<Trace> = serde_json::from_str(json).expect("traces");
    assert_eq!(traces.len(), 3);
    for trace in traces {
        let pruning = AdaptiveThreshold::new(trace.target, trace.step).expect("valid");
        let mut layer = layer(&trace.coefficients);
        for cycle in trace.trace {
            layer = pruning.prune(layer);
            let threshold = to_vec(sparse(&layer).threshold.val());
            assert_close(
                &threshold,
                &[cycle.threshold_after],
                tolerances().sums,
                "threshold",
            );
            assert_close(&[sparsity(&layer)], &[cycle.zero_fraction], 1e-9, "zeros");
            assert_eq!(kept(&layer), cycle.kept);
        }
    }
}

#[test]
fn adaptive_threshold_moves_by_less_than_its_step_towards_the_target() {
    let pruning = AdaptiveThreshold::new(0.5, 0.01).expect("valid");
    let change = |zeros| pruning.next_threshold(1.0, zeros) - 1.0;
    assert_eq!(change(0.5), 0.0);
    assert!(change(0.0) > 0.0099 && change(0.0) < 0.01);
    assert!(change(1.0) < -0.0099 && change(1.0) > -0.01);
}

#[test]
fn ramp_is_cubic_between_its_ends() {
    let ramp = CubicRamp::new(0.8, 100, 300).expect("valid");
    assert_eq!(ramp.sparsity_at(0), 0.0);
    assert_eq!(ramp.sparsity_at(100), 0.0);
    assert_close(
        &[ramp.sparsity_at(200)],
        &[0.8 * (1.0 - 0.125)],
        1e-12,
        "half way",
    );
    assert_eq!(ramp.sparsity_at(300), 0.8);
    assert_eq!(ramp.sparsity_at(usize::MAX), 0.8);
}

#[test]
fn ramp_masks_exactly_the_smallest_coefficients() {
    // 20 distinct magnitudes in mixed order, so that every share of twentieths is exact.
    let coefficients: Vec<Vec<f64>> = (0..5)
        .map(|row| {
            let sign = if row % 2 == 0 { 1.0 } else { -1.0 };
            (0..4)
                .map(|column| sign * ((7 * (4 * row + column)) % 20 + 1) as f64)
                .collect()
        })
        .collect();
    for zeros in [0, 1, 10, 19] {
        let ramp = CubicRamp::new(zeros as f64 / 20.0, 0, 1).expect("valid");
        let layer = ramp.prune(layer(&coefficients), 1);
        let expected: Vec<f64> = coefficients
            .concat()
            .into_iter()
            .map(|value| {
                if value.abs() > zeros as f64 {
                    value
                } else {
                    0.0
                }
            })
            .collect();
        assert_eq!(to_vec(layer.coefficients.matrix()), expected);
        assert_eq!(to_vec(sparse(&layer).threshold.val()), [zeros as f64]);
        assert_eq!(sparsity(&layer), zeros as f64 / 20.0);
    }
}

#[test]
fn ramp_splits_ties_to_meet_its_sparsity() {
    let layer = layer(&vec![vec![0.5; 4]; 4]);
    let layer = CubicRamp::new(0.5, 0, 1).expect("valid").prune(layer, 1);
    assert_eq!(kept(&layer), 8);
}

#[test]
fn masked_coefficients_keep_their_values_and_may_come_back() {
    let values: Vec<Vec<f64>> = (1..=4).map(|row| vec![row as f64; 4]).collect();
    let pruned = CubicRamp::new(0.5, 0, 1)
        .expect("valid")
        .prune(layer(&values), 1);
    assert_eq!(to_vec(sparse(&pruned).weight.val()), values.concat());
    let restored = CubicRamp::new(0.0, 0, 1).expect("valid").prune(pruned, 1);
    assert_eq!(to_vec(restored.coefficients.matrix()), values.concat());
}

#[test]
fn masked_coefficients_do_not_act_and_do_not_learn() {
    let values: Vec<Vec<f64>> = (1..=4).map(|row| vec![0.1 * row as f64; 4]).collect();
    let layer = CubicRamp::new(0.5, 0, 1)
        .expect("valid")
        .prune(layer(&values), 1);
    let input = tensor([1, 2, 5, 5], 3, &device().autodiff());
    let gradients = layer.forward(input).square().sum().backward();
    let gradient = to_vec(
        sparse(&layer)
            .weight
            .val()
            .grad(&gradients)
            .expect("gradient"),
    );
    assert!(gradient[..8].iter().all(|value| *value == 0.0));
    assert!(gradient[8..].iter().all(|value| *value != 0.0));

    let before = to_vec(sparse(&layer).weight.val());
    let mut sgd = SgdConfig::new().init();
    let gradients = GradientsParams::from_grads(gradients, &layer);
    let trained = sgd.step(0.01, layer, gradients);
    let weight = to_vec(sparse(&trained).weight.val());
    assert_eq!(weight[..8], before[..8]);
    assert!(weight[8..].iter().zip(&before[8..]).all(|(a, b)| a != b));
}

#[test]
fn a_pruned_layer_goes_on_training() {
    let values: Vec<Vec<f64>> = (1..=4).map(|row| vec![0.1 * row as f64; 4]).collect();
    let before = layer(&values);
    let ids = (
        before.primary.id,
        sparse(&before).weight.id,
        sparse(&before).mask.id,
    );
    let layer = AdaptiveThreshold::new(0.5, 0.1)
        .expect("valid")
        .prune(before);
    assert_eq!(
        ids,
        (
            layer.primary.id,
            sparse(&layer).weight.id,
            sparse(&layer).mask.id
        )
    );
    assert!(layer.primary.val().is_require_grad());
    assert!(sparse(&layer).weight.val().is_require_grad());
    assert!(!sparse(&layer).threshold.val().is_require_grad());
}

#[test]
fn pruning_leaves_everything_else_alone() {
    #[derive(Module, Debug)]
    struct Model {
        full: LinearConv2d,
        norm: burn::nn::BatchNorm,
    }
    let model = Model {
        full: common::layer(&LinearConv2dConfig::new([2, 8], [3, 3]), &device()),
        norm: BatchNormConfig::new(8).init(&device()),
    };
    let before = model
        .clone()
        .into_record()
        .into_bytes()
        .expect("record")
        .to_vec();
    let pruned = CubicRamp::new(0.5, 0, 1).expect("valid").prune(model, 1);
    let pruned = AdaptiveThreshold::new(0.5, 0.1)
        .expect("valid")
        .prune(pruned);
    assert_eq!(sparsity(&pruned), 0.0);
    let after = pruned.into_record().into_bytes().expect("record").to_vec();
    assert_eq!(before, after);
}

#[test]
fn coefficients_of_channels_are_not_pruned() {
    let config = LinearConv2dConfig::new([8, 8], [3, 3])
        .with_channel_ratio(0.5)
        .with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let layer = common::with_values(config.init(&device()), 5);
    let channels =
        |layer: &LinearConv2d| to_vec(layer.channel_coefficients.as_ref().expect("half").val());
    let pruned = CubicRamp::new(0.5, 0, 1)
        .expect("valid")
        .prune(layer.clone(), 1);
    // Half of the 4·4 of the filters.
    assert_eq!((kept(&pruned), sparsity(&pruned)), (8, 0.5));
    assert_eq!(channels(&pruned), channels(&layer));
}

/// Steps that half precision rounds away.
#[test]
fn a_threshold_of_half_precision_moves_by_small_steps() {
    for dtype in [DType::F16, DType::BF16] {
        if !device().supports_dtype(dtype) {
            println!("{dtype:?} is not there");
            continue;
        }
        let coefficients: Vec<f64> = (1..=100).map(|index| f64::from(index) * 1e-2).collect();
        let coefficients: Vec<Vec<f64>> = coefficients.chunks(10).map(<[f64]>::to_vec).collect();
        let mut layer = common::cast(layer(&coefficients).valid(), dtype);
        let schedule = AdaptiveThreshold::new(0.5, 1e-3).expect("valid");
        let mut expected = 0.0;
        for _ in 0..1500 {
            let zeros = sparsity(&schedule.prune(layer.clone()));
            layer = schedule.prune(layer);
            expected = schedule.next_threshold(expected, zeros);
        }
        let threshold = sparse(&layer).threshold.val();
        assert_eq!(threshold.dtype(), DType::F32);
        assert_close(&to_vec(threshold), &[expected], 1e-4, "the threshold");
        let reached = sparsity(&layer);
        assert!((reached - 0.5).abs() <= 0.02, "{dtype:?}: {reached}");
    }
}

/// A training that has diverged is to show.
#[test]
fn a_coefficient_that_is_no_number_is_kept() {
    let layer = layer(&[vec![f64::NAN, 0.1], vec![0.2, 0.3], vec![0.4, f64::NAN]]);
    let schedule = AdaptiveThreshold::new(0.9, 1.0).expect("valid");
    let mut adaptive = layer.clone();
    for _ in 0..3 {
        adaptive = schedule.prune(adaptive);
    }
    let ramp = CubicRamp::new(0.66, 0, 1).expect("valid").prune(layer, 1);
    for layer in [adaptive, ramp] {
        let mask = sparse(&layer).mask.val().into_data();
        let mask: Vec<bool> = mask.iter::<bool>().collect();
        assert_eq!(mask, [true, false, false, false, false, true]);
        let output = layer.forward(tensor([1, 2, 4, 4], 3, &device().autodiff()));
        assert!(to_vec(output).iter().any(|value| value.is_nan()));
    }
}

#[test]
fn invalid_schedules_are_errors() {
    for sparsity in [-0.1, 1.0, f64::NAN] {
        for error in [
            AdaptiveThreshold::new(sparsity, 1e-5).expect_err("sparsity"),
            CubicRamp::new(sparsity, 0, 1).expect_err("sparsity"),
        ] {
            assert!(
                error.to_string().ends_with(&format!("sparsity={sparsity}")),
                "{error}"
            );
        }
    }
    for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = AdaptiveThreshold::new(0.5, step).expect_err("step");
        assert!(
            error.to_string().ends_with(&format!("step={step}")),
            "{error}"
        );
    }
    let error = CubicRamp::new(0.5, 7, 7).expect_err("ramp");
    assert_eq!(error, Error::Ramp { begin: 7, end: 7 });
    assert!(error.to_string().ends_with("begin=7, end=7"), "{error}");
}

/// Zero times infinity is no number, as everywhere; a filter that leaves the map out does not see it.
#[test]
fn a_masked_coefficient_of_an_infinite_map_is_no_number_in_factored_evaluation_alone() {
    let device = Device::flex();
    let of = |values: [f64; 2]| TensorData::new(values.to_vec(), [2, 1, 1, 1]);
    let config = LinearConv2dConfig::new([1, 4], [1, 1])
        .with_bias(false)
        .with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let mut layer = config.init(&device);
    let primary = Tensor::from_data(of([1e200, 1.0]), (&device, DType::F64));
    layer.primary = Param::from_tensor(primary);
    let Coefficients::Sparse(sparse) = &mut layer.coefficients else {
        unreachable!("sparse")
    };
    let ones = Tensor::ones([2, 2], (&device, DType::F64));
    sparse.weight = Param::from_tensor(ones);
    let mask = Tensor::from_data([[false, true], [false, true]], &device);
    sparse.mask = sparse.mask.clone().map(|_| mask);
    let image = Tensor::full([1, 1, 1, 1], 1e200, (&device, DType::F64));
    let [factored, materialized] = [Evaluation::Factored, Evaluation::Materialized]
        .map(|evaluation| layer.clone().with_evaluation(evaluation))
        .map(|layer| to_vec(layer.forward(image.clone())));
    assert!(factored[2].is_nan() && factored[3].is_nan(), "{factored:?}");
    assert_eq!(materialized, [f64::INFINITY, 1e200, 1e200, 1e200]);
}
