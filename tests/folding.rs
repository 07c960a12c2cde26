//! A folded convolution computes what the convolution and the batch normalization behind it do.

mod common;

use burn::module::{Module, Param, ParamId, Quantizer, RunningState};
use burn::nn::PaddingConfig2d::Explicit;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::quantization::{Calibration, QuantStore, QuantValue};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use linearconv::{
    Coefficients, CoefficientsConfig, Conv, Evaluation, LayerCost, LinearConv2d, LinearConv2dConfig,
};

use common::{
    assert_close, device, float, relative_error, tensor, to_vec, tolerances, values, variants,
    weighted_sum,
};

const CHANNELS: usize = 6;
/// Four of them primary, so that no vector fits in the place of another.
const FILTERS: usize = 10;

/// Of every filter once. It is no inverse of itself, and mixes primary and secondary filters.
const ORDER: [i64; FILTERS] = [1, 4, 7, 0, 3, 6, 9, 2, 5, 8];

fn vector(values: &[f64], device: &Device) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, (device, float()))
}

/// A normalization that multiplies by factors of both signs, of sizes between 0.3 and 5, with an epsilon
/// that counts.
fn norm() -> BatchNorm {
    norm_on(&device())
}

fn norm_on(device: &Device) -> BatchNorm {
    let gamma = values(FILTERS, 11).into_iter().enumerate();
    let gamma = gamma.map(|(index, value)| (value + 1.5) * [1.0, -1.0, 1.0][index % 3]);
    norm_of(&gamma.collect::<Vec<f64>>(), device)
}

fn norm_of(gamma: &[f64], device: &Device) -> BatchNorm {
    let features = gamma.len();
    let config = BatchNormConfig::new(features).with_epsilon(0.02);
    let variance = values(features, 12).into_iter().map(|value| value + 1.3);
    BatchNorm {
        gamma: Param::from_tensor(vector(gamma, device)),
        beta: Param::from_tensor(vector(&values(features, 13), device)),
        running_mean: RunningState::new(vector(&values(features, 14), device)),
        running_var: RunningState::new(vector(&variance.collect::<Vec<f64>>(), device)),
        ..config.init(device)
    }
}

/// A normalization that multiplies by exactly these factors.
fn norm_by(scale: &[f64]) -> BatchNorm {
    let mut norm = norm_of(scale, &device());
    let ones = vec![1.0 - norm.epsilon; scale.len()];
    norm.running_var = RunningState::new(vector(&ones, &device()));
    norm
}

fn config(variant: CoefficientsConfig) -> LinearConv2dConfig {
    LinearConv2dConfig::new([CHANNELS, FILTERS], [3, 2])
        .with_stride([2, 1])
        .with_padding(Explicit(2, 0, 1, 1))
        .with_primary_ratio(0.4)
        .with_coefficients(variant)
}

fn layer(config: &LinearConv2dConfig) -> LinearConv2d {
    common::layer(config, &device())
}

fn ordered(mut layer: LinearConv2d, order: &[i64]) -> LinearConv2d {
    layer.order = Some(indices(order));
    layer
}

fn indices(indices: &[i64]) -> Param<Tensor<1, Int>> {
    let data = TensorData::new(indices.to_vec(), [indices.len()]);
    Param::initialized(ParamId::new(), Tensor::from_data(data, &device()))
}

/// Every variant with and without bias, orders of outputs, other channels and their order, and groups.
fn layers() -> Vec<LinearConv2d> {
    let mut layers = Vec::new();
    for variant in variants() {
        for bias in [false, true] {
            let config = config(variant).with_bias(bias);
            let half = layer(&config.clone().with_channel_ratio(0.5));
            let mut of_ordered_channels = half.clone();
            of_ordered_channels.channel_order = Some(indices(&[3, 0, 4, 1, 5, 2]));
            let grouped = layer(&config.clone().with_groups(2));
            for layer in [layer(&config), half, of_ordered_channels, grouped] {
                layers.push(ordered(layer.clone(), &ORDER));
                layers.push(layer);
            }
        }
    }
    layers
}

fn evaluations(layer: &LinearConv2d) -> &'static [Evaluation] {
    match layer.groups {
        1 => &[Evaluation::Factored, Evaluation::Materialized],
        _ => &[Evaluation::Materialized],
    }
}

fn images() -> Tensor<4> {
    tensor([2, CHANNELS, 7, 6], 3, &device())
}

/// What a normalization makes of the outputs of a convolution.
fn unfolded(conv: &Conv, norm: &BatchNorm) -> Vec<f64> {
    to_vec(norm.forward(conv.forward(images())))
}

#[track_caller]
fn fold(conv: impl Into<Conv>, norm: &BatchNorm) -> Conv {
    conv.into().folded(norm).expect("folded")
}

#[track_caller]
fn fold_layer(layer: &LinearConv2d, norm: &BatchNorm) -> LinearConv2d {
    match fold(layer.clone(), norm) {
        Conv::Linear(layer) => layer,
        _ => panic!("a LinearConv layer stays one"),
    }
}

fn folds(layer: &LinearConv2d, norm: &BatchNorm) -> bool {
    Conv::from(layer.clone()).folded(norm).is_some()
}

#[track_caller]
fn assert_law(conv: &Conv, norm: &BatchNorm) {
    let folded = to_vec(fold(conv.clone(), norm).forward(images()));
    let expected = unfolded(conv, norm);
    assert_close(&folded, &expected, tolerances().sums, &format!("{conv}"));
}

/// Filter by filter, however little of it is left.
#[track_caller]
fn assert_weight(layer: &LinearConv2d, norm: &BatchNorm, scale: &[f64]) {
    let weight = to_vec(fold_layer(layer, norm).weight());
    let filters = weight.chunks(weight.len() / scale.len()).zip(scale);
    let unscaled =
        filters.flat_map(|(filter, scale)| filter.iter().map(move |value| value / scale));
    assert_close(
        &unscaled.collect::<Vec<f64>>(),
        &to_vec(layer.weight()),
        tolerances().sums,
        &format!("{layer}"),
    );
}

#[test]
fn folded_layers_compute_what_both_do() {
    for layer in layers() {
        for evaluation in evaluations(&layer) {
            let layer = layer.clone().with_evaluation(*evaluation);
            assert_eq!(fold_layer(&layer, &norm()).evaluation(), *evaluation);
            assert_law(&layer.into(), &norm());
        }
    }
}

#[test]
fn folded_dense_convolutions_compute_what_both_do() {
    for groups in [1, 2] {
        for bias in [false, true] {
            let config = Conv2dConfig::new([CHANNELS, FILTERS], [3, 2])
                .with_stride([2, 1])
                .with_padding(Explicit(2, 0, 1, 1))
                .with_groups(groups)
                .with_bias(bias);
            let conv = Conv::from(common::dense(&config, &device()));
            assert!(matches!(fold(conv.clone(), &norm()), Conv::Dense(_)));
            assert_law(&conv, &norm());
        }
    }
}

#[test]
fn folded_layers_compute_what_both_do_in_single_precision() {
    let single = |conv: Conv| common::cast(conv, DType::F32);
    let norm = common::cast(norm(), DType::F32);
    let images = images().cast(DType::F32);
    let forward = |conv: &Conv| conv.forward(images.clone());
    for layer in layers() {
        for evaluation in evaluations(&layer) {
            let conv = single(layer.clone().with_evaluation(*evaluation).into());
            let folded = forward(&fold(conv.clone(), &norm));
            assert_eq!(folded.dtype(), DType::F32);
            let error = relative_error(&to_vec(folded), &to_vec(norm.forward(forward(&conv))));
            assert!(error < 1e-5, "{conv}: {error}");
        }
    }
}

/// It costs what it did, but for a bias.
#[test]
fn a_folded_layer_has_the_shapes_of_the_layer() {
    for layer in layers() {
        let folded = fold_layer(&layer, &norm());
        let cost = LayerCost {
            bias: true,
            ..layer.cost()
        };
        assert_eq!(folded.cost(), cost);
        let biases = if layer.bias.is_none() { FILTERS } else { 0 };
        assert_eq!(folded.num_params(), layer.num_params() + biases);
    }
}

#[test]
fn masks_thresholds_orders_and_coefficients_of_channels_stay() {
    let variant = CoefficientsConfig::Sparse { sparsity: 0.5 };
    let mut layer = ordered(layer(&config(variant).with_channel_ratio(0.5)), &ORDER);
    layer.channel_order = Some(indices(&[3, 0, 4, 1, 5, 2]));
    let folded = fold_layer(&layer, &norm());
    let (Coefficients::Sparse(before), Coefficients::Sparse(after)) =
        (&layer.coefficients, &folded.coefficients)
    else {
        panic!("sparse coefficients stay so");
    };
    assert_eq!(after.mask.val().into_data(), before.mask.val().into_data());
    assert_eq!(
        to_vec(after.threshold.val()),
        to_vec(before.threshold.val())
    );
    let order =
        |order: &Option<Param<Tensor<1, Int>>>| order.as_ref().map(|it| it.val().into_data());
    assert_eq!(order(&folded.order), order(&layer.order));
    assert_eq!(order(&folded.channel_order), order(&layer.channel_order));
    let channels = |layer: &LinearConv2d| {
        layer
            .channel_coefficients
            .as_ref()
            .map(|it| to_vec(it.val()))
    };
    assert_eq!(channels(&folded), channels(&layer));

    // A coefficient that is masked out comes back as what it would have been.
    let unmasked = |layer: &LinearConv2d| {
        let mut layer = layer.clone();
        if let Coefficients::Sparse(sparse) = &mut layer.coefficients {
            sparse.mask = sparse.mask.clone().map(|mask| mask.ones_like());
        }
        Conv::from(layer)
    };
    let expected = unfolded(&unmasked(&layer), &norm());
    let output = to_vec(unmasked(&folded).forward(images()));
    assert_close(&output, &expected, tolerances().sums, "unmasked");
}

/// Exactly: the output is the shift.
#[test]
fn a_secondary_filter_that_is_multiplied_by_zero_does_no_harm() {
    for layer in layers() {
        let output = match &layer.order {
            Some(_) => ORDER.iter().position(|filter| *filter == 8),
            None => Some(8),
        };
        let output = output.expect("the filter is shown");
        let mut gamma = to_vec(norm().gamma.val());
        gamma[output] = 0.0;
        let norm = norm_of(&gamma, &device());
        let shift = to_vec(norm.beta.val())[output];
        for evaluation in evaluations(&layer) {
            let conv = Conv::from(layer.clone().with_evaluation(*evaluation));
            assert_law(&conv, &norm);
            let folded = fold(conv, &norm).forward(images());
            let pixels = to_vec(folded.narrow(1, output, 1));
            assert!(pixels.iter().all(|pixel| *pixel == shift), "{pixels:?}");
        }
    }
}

#[test]
fn a_dense_convolution_is_multiplied_by_anything() {
    let config = Conv2dConfig::new([CHANNELS, FILTERS], [3, 3]);
    let conv = Conv::from(common::dense(&config, &device()));
    let mut scale = [1.0; FILTERS];
    scale[2] = 0.0;
    scale[3] = 1e-9;
    assert_law(&conv, &norm_by(&scale));
    assert_law(&conv, &norm_by(&[0.0; FILTERS]));
}

/// The third primary filter, among factors of which the largest one is -2.
#[test]
fn primary_filters_that_vanish_beside_others_are_not_folded() {
    let scale = |share: f64| {
        let mut scale = [0.5; FILTERS];
        scale[0] = -2.0;
        scale[2] = 2.0 * share;
        // Secondary filters do not count, whatever they are multiplied by.
        scale[8] = 1e9;
        scale[9] = 1e-9;
        scale
    };
    for variant in variants() {
        let layer = layer(&config(variant));
        for (share, folded) in [
            (0.0, false),
            (0.9e-4, false),
            (-0.9e-4, false),
            (1.1e-4, true),
            (-1.1e-4, true),
        ] {
            let scale = scale(share);
            assert_eq!(folds(&layer, &norm_by(&scale)), folded, "{share}");
            // The same filters elsewhere.
            let of_outputs = ORDER.map(|filter| scale[filter as usize]);
            let ordered = ordered(layer.clone(), &ORDER);
            assert_eq!(folds(&ordered, &norm_by(&of_outputs)), folded, "{share}");
        }
        assert!(!folds(&layer, &norm_by(&[0.0; FILTERS])));
        // All of them, alike, are small beside none.
        let mut small = [1e-9; FILTERS];
        small[8] = 1.0;
        assert_weight(&layer, &norm_by(&small), &small);
        // What else can be folded is the dense convolution.
        let dense = Conv::from(Conv::from(layer).to_conv2d());
        assert_law(&dense, &norm_by(&scale(0.0)));
    }
}

/// The primary filter 3 and the secondary filter 5 twice, the filters 0 and 9 not at all.
#[test]
fn a_filter_that_is_shown_twice_is_folded_if_it_is_multiplied_by_the_same() {
    let order = [3, 1, 5, 2, 3, 4, 5, 6, 7, 8];
    for variant in variants() {
        let layer = ordered(layer(&config(variant)), &order);
        // So small that a 1 in the place of those that are not shown would not let them be.
        let by_filter: Vec<f64> = values(FILTERS, 15)
            .iter()
            .map(|value| (value + 1.5) * 1e-6)
            .collect();
        let mut scale = order.map(|filter| by_filter[filter as usize]);
        let norm = norm_by(&scale);
        for evaluation in evaluations(&layer) {
            let layer = layer.clone().with_evaluation(*evaluation);
            assert_law(&layer.clone().into(), &norm);
        }
        assert_weight(&layer, &norm, &scale);
        for twice in [0, 2] {
            let other = scale[twice];
            scale[twice] *= 1.5;
            assert!(!folds(&layer, &norm_by(&scale)));
            scale[twice] = other;
        }
        assert!(folds(&layer, &norm_by(&scale)));
    }
}

#[test]
fn what_is_not_finite_is_not_folded() {
    let convs = [
        Conv::from(layer(&config(CoefficientsConfig::Full))),
        Conv::from(common::dense(
            &Conv2dConfig::new([CHANNELS, FILTERS], [3, 3]),
            &device(),
        )),
    ];
    let with = |value: f64, set: fn(&mut BatchNorm, Tensor<1>)| {
        let mut norm = norm();
        let mut values = [1.0; FILTERS];
        values[7] = value;
        set(&mut norm, vector(&values, &device()));
        norm
    };
    let gamma = |norm: &mut BatchNorm, to: Tensor<1>| norm.gamma = Param::from_tensor(to);
    let beta = |norm: &mut BatchNorm, to: Tensor<1>| norm.beta = Param::from_tensor(to);
    let mean = |norm: &mut BatchNorm, to: Tensor<1>| norm.running_mean = RunningState::new(to);
    let variance = |norm: &mut BatchNorm, to: Tensor<1>| norm.running_var = RunningState::new(to);
    for conv in &convs {
        for set in [gamma, beta, mean, variance] as [fn(&mut BatchNorm, Tensor<1>); 4] {
            assert!(conv.folded(&with(1.0, set)).is_some());
            assert!(conv.folded(&with(f64::NAN, set)).is_none());
        }
        for set in [gamma, beta, mean] as [fn(&mut BatchNorm, Tensor<1>); 3] {
            assert!(conv.folded(&with(f64::INFINITY, set)).is_none());
        }
        // Less than the epsilon makes up for.
        assert!(conv.folded(&with(-1.0, variance)).is_none());
    }
}

#[test]
#[should_panic(expected = "the normalization has 9 features, the convolution 10 outputs")]
fn a_normalization_of_other_features_panics() {
    let conv = Conv::from(layer(&config(CoefficientsConfig::Full)));
    conv.folded(&norm_of(&[1.0; 9], &device()));
}

#[test]
#[should_panic(expected = "the normalization has 1 features, the convolution 10 outputs")]
fn a_normalization_of_one_feature_panics() {
    let config = Conv2dConfig::new([CHANNELS, FILTERS], [3, 3]);
    Conv::from(common::dense(&config, &device())).folded(&norm_of(&[1.0], &device()));
}

/// A layer and statistics that have trained, on a device of gradients and of gradient checkpointing.
#[test]
fn what_has_trained_is_folded_with_all_that_it_has_seen() {
    for device in [
        device().autodiff(),
        device().autodiff().gradient_checkpointing(),
    ] {
        for variant in variants() {
            let config = config(variant).with_channel_ratio(0.5);
            let layer = common::layer(&config, &device);
            let norm = norm_on(&device);
            let images = || tensor([2, CHANNELS, 7, 6], 3, &device);
            // The second update is still to come to the value that the first one has changed.
            for _ in 0..2 {
                norm.forward(layer.forward(images()));
            }
            let folded = fold_layer(&layer, &norm);
            let evaluated = (layer.clone().valid(), norm.valid());
            let expected = unfolded(&evaluated.0.into(), &evaluated.1);
            let output = folded.forward(images());
            assert_close(
                &to_vec(output.clone()),
                &expected,
                tolerances().sums,
                "trained",
            );

            let gradients = weighted_sum(output).backward();
            assert!(folded.primary.val().grad(&gradients).is_some());
            let bias = folded.bias.expect("a bias");
            assert!(bias.val().grad(&gradients).is_some());
            let reached = match &folded.coefficients {
                Coefficients::Full(full) => full.weight.val().grad(&gradients).is_some(),
                Coefficients::Sparse(sparse) => sparse.weight.val().grad(&gradients).is_some(),
                Coefficients::LowRank(low_rank) => [&low_rank.column, &low_rank.row]
                    .iter()
                    .all(|factor| factor.val().grad(&gradients).is_some()),
            };
            assert!(reached);
            // It has parameters of its own.
            assert!(layer.primary.val().grad(&gradients).is_none());
        }
    }
}

/// None where Burn stores four values in a word along the last dimension, which it refuses for kernels
/// of three columns: on wgpu and cuda.
fn quantizer() -> Option<Quantizer> {
    let scheme = device().settings().quantization.scheme;
    let scheme = scheme.with_value(QuantValue::Q8S);
    let in_words = matches!(scheme.store, QuantStore::PackedU32(_));
    (!in_words).then(|| Quantizer::new(Calibration::MinMax, scheme))
}

#[test]
fn quantized_layers_are_folded_as_their_values_are() {
    let Some(mut quantizer) = quantizer() else {
        return;
    };
    let norm = common::cast(norm(), DType::F32);
    let images = images().cast(DType::F32);
    let dense = Conv2dConfig::new([CHANNELS, FILTERS], [3, 2]);
    let dense = Conv::from(common::dense(&dense, &device()));
    let layers = layers().into_iter().map(Conv::from);
    for conv in layers.chain([dense]) {
        let conv = common::cast(conv, DType::F32).quantize_weights(&mut quantizer);
        let folded = fold(conv.clone(), &norm).forward(images.clone());
        let expected = norm.forward(conv.forward(images.clone()));
        let error = relative_error(&to_vec(folded), &to_vec(expected));
        assert!(error < 1e-5, "{conv}: {error}");
    }
}

#[test]
fn the_dense_convolution_of_a_conv_computes_the_same() {
    for layer in layers() {
        let conv = Conv::from(layer);
        let dense = Conv::from(conv.to_conv2d());
        let [output, expected] = [&dense, &conv].map(|conv| to_vec(conv.forward(images())));
        assert_close(&output, &expected, tolerances().sums, &format!("{conv}"));
    }
    let config = Conv2dConfig::new([CHANNELS, FILTERS], [3, 2]);
    let dense = common::dense(&config, &device());
    let same = Conv::from(dense.clone()).to_conv2d();
    assert_eq!(same.weight.id, dense.weight.id);
    assert_eq!(to_vec(same.weight.val()), to_vec(dense.weight.val()));
}

#[cfg(feature = "fit")]
mod reparameterized {
    use burn::nn::conv::Conv2d;
    use linearconv::{CombinedFilters, Compression, LinearConv};

    use super::*;

    /// Every variant with all channels and with half of them, and what a budget gives.
    fn convs() -> Vec<Conv2d> {
        let dense = |bias| {
            let config = Conv2dConfig::new([CHANNELS, FILTERS], [3, 2]).with_bias(bias);
            common::dense(&config, &device())
        };
        let mut convs = Vec::new();
        for bias in [false, true] {
            for (variant, channel_ratio) in common::variants_of_both_sides() {
                let linear = LinearConv::new(variant)
                    .with_primary_ratio(0.4)
                    .with_channel_ratio(channel_ratio)
                    .with_all_layers();
                convs.push(dense(bias).apply_reparameterization(linear));
            }
            let compression = Compression::to_parameters(0.6);
            let dense = dense(bias);
            let plan = compression.plan(&dense).expect("a plan");
            convs.push(plan.apply(dense).expect("compressed"));
        }
        convs
    }

    fn is_split(conv: &Conv2d) -> bool {
        let combined = conv.weight.reparameterization::<CombinedFilters>();
        combined.is_some()
    }

    #[test]
    fn reparameterized_convolutions_become_the_layers_that_they_run_as() {
        for conv in convs() {
            assert!(is_split(&conv));
            let norm = norm();
            let Conv::Linear(folded) = fold(conv.clone(), &norm) else {
                panic!("a LinearConv layer");
            };
            // Burn's own convolution, of the kernel that the filters combine to.
            let expected = to_vec(norm.forward(conv.forward(images())));
            for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
                let folded = folded.clone().with_evaluation(evaluation);
                let output = to_vec(folded.forward(images()));
                assert_close(&output, &expected, tolerances().sums, &format!("{folded}"));
            }
            let cost = LayerCost {
                bias: true,
                ..Conv::from(conv).cost()
            };
            assert_eq!(folded.cost(), cost);
        }
    }

    #[test]
    fn the_dense_convolution_of_a_reparameterized_one_has_its_kernel() {
        for conv in convs() {
            let dense = Conv::from(conv.clone()).to_conv2d();
            assert!(!is_split(&dense));
            assert_eq!(to_vec(dense.weight.val()), to_vec(conv.weight.val()));
            let [output, expected] = [&dense, &conv].map(|conv| to_vec(conv.forward(images())));
            assert_close(&output, &expected, tolerances().sums, "dense");
        }
    }
}
