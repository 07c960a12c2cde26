//! Quantized models compute what their quantized values say.

#![cfg(feature = "fit")]

mod common;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, Quantizer};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::quantization::{Calibration, QuantStore, QuantValue};
use burn::tensor::{DType, Tensor};
use linearconv::pruning::{AdaptiveThreshold, CubicRamp, sparsity};
use linearconv::{
    CoefficientsConfig, Compression, Conv, Evaluation, LinearConv, LinearConv2d,
    LinearConv2dConfig, coefficient_l1, correlation_loss,
};

use common::{assert_close, device, tensor, to_vec, variants_of_both_sides};

/// None where Burn stores four values in a word along the last dimension, which it refuses for
/// kernels of three columns: on wgpu and cuda.
fn quantizer() -> Option<Quantizer> {
    let scheme = device().settings().quantization.scheme;
    let scheme = scheme.with_value(QuantValue::Q8S);
    let in_words = matches!(scheme.store, QuantStore::PackedU32(_));
    (!in_words).then(|| Quantizer::new(Calibration::MinMax, scheme))
}

/// Explicit values in single precision, as quantization needs them.
fn with_values<M: Module>(module: M) -> M {
    struct Single;
    impl ModuleMapper for Single {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.cast(DType::F32))
        }
    }
    common::with_values(module, 5).map(&mut Single)
}

fn dequantized<M: Module>(module: M) -> M {
    struct Dequantize;
    impl ModuleMapper for Dequantize {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.dequantize())
        }
    }
    module.map(&mut Dequantize)
}

fn any_quantized<M: Module>(module: &M) -> bool {
    struct Find(bool);
    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= matches!(param.base().dtype(), DType::QFloat(_));
        }
    }
    let mut find = Find(false);
    module.visit(&mut find);
    find.0
}

fn input() -> Tensor<4> {
    tensor([2, 8, 6, 6], 9, &device()).cast(DType::F32)
}

#[test]
fn quantized_layers_run() {
    let Some(mut quantizer) = quantizer() else {
        return;
    };
    for (variant, channel_ratio) in variants_of_both_sides() {
        let config = LinearConv2dConfig::new([8, 16], [3, 3])
            .with_padding(PaddingConfig2d::Same)
            .with_channel_ratio(channel_ratio)
            .with_coefficients(variant);
        let layer = with_values(config.init(&device()));
        // All of it, and coefficients alone, those of channels among them.
        for group in ["", "coefficients"] {
            let group = ParamGroup::from_predicate(group);
            let layer = layer.clone().quantize_weights_group(&mut quantizer, group);
            assert!(any_quantized(&layer));
            for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
                let layer = layer.clone().with_evaluation(evaluation);
                let expected = to_vec(dequantized(layer.clone()).forward(input()));
                let output = to_vec(layer.forward(input()));
                assert_close(&output, &expected, 1e-5, &format!("{layer}"));
            }
        }
    }
}

#[test]
fn quantized_reparameterized_convolutions_run() {
    let Some(mut quantizer) = quantizer() else {
        return;
    };
    let dense = with_values(Conv2dConfig::new([8, 16], [3, 3]).init(&device()));
    for (variant, channel_ratio) in variants_of_both_sides() {
        let linear = LinearConv::new(variant).with_channel_ratio(channel_ratio);
        let conv = dense.clone().apply_reparameterization(linear);
        let conv = conv.quantize_weights(&mut quantizer);
        assert!(any_quantized(&conv));
        let expected = to_vec(dequantized(conv.clone()).forward(input()));
        assert_close(&to_vec(conv.forward(input())), &expected, 1e-5, "quantized");
    }
}

/// Pruning sees the values that codes stand for.
#[test]
fn quantized_layers_are_pruned_as_their_values_are() {
    let Some(mut quantizer) = quantizer() else {
        return;
    };
    let config = LinearConv2dConfig::new([8, 16], [3, 3])
        .with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let layer = with_values(config.init(&device())).quantize_weights(&mut quantizer);
    assert!(any_quantized(&layer));
    let floats = dequantized(layer.clone());
    let ramp = CubicRamp::new(0.5, 0, 1).expect("valid");
    let adaptive = AdaptiveThreshold::new(0.5, 0.1).expect("valid");
    let adapt = |mut layer: LinearConv2d| {
        for _ in 0..30 {
            layer = adaptive.prune(layer);
        }
        layer
    };
    for prune in [
        &|layer| ramp.prune(layer, 1) as _,
        &adapt as &dyn Fn(_) -> LinearConv2d,
    ] {
        let (pruned, expected) = (prune(layer.clone()), prune(floats.clone()));
        assert!(
            (0.2..0.8).contains(&sparsity(&pruned)),
            "{}",
            sparsity(&pruned)
        );
        assert_close(
            &to_vec(pruned.coefficients.matrix()),
            &to_vec(expected.coefficients.matrix()),
            1e-6,
            "a coefficient",
        );
    }
    let loss = |layer| to_vec(correlation_loss(layer) + coefficient_l1(layer));
    assert_close(&loss(&layer), &loss(&floats), 1e-4, "losses");
}

/// A fit reads the values that codes stand for, and stores floats.
#[test]
fn a_quantized_convolution_is_compressed_as_its_values_are() {
    let Some(mut quantizer) = quantizer() else {
        return;
    };
    let dense = with_values(Conv2dConfig::new([8, 16], [3, 3]).init(&device()));
    let quantized = Conv::from(dense).quantize_weights(&mut quantizer);
    assert!(any_quantized(&quantized));
    let compress = |model: Conv| {
        let plan = Compression::to_parameters(0.5)
            .plan(&model)
            .expect("a plan");
        plan.apply(model).expect("compressed")
    };
    let expected = compress(dequantized(quantized.clone()));
    let whole = quantized.num_params();
    let compressed = compress(quantized);
    assert!(2 * compressed.num_params() <= whole + 16, "{compressed}");
    let [found, expected] = [compressed, expected].map(|conv| to_vec(conv.forward(input())));
    assert_close(&found, &expected, 1e-6, "a quantized layer");
}
