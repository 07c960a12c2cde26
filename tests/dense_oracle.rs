//! Every variant and evaluation equals a dense `Conv2d` that holds the layer's kernel: outputs and
//! all gradients, over kernels, strides, dilations, groups, paddings and the ratios of both sides.

mod common;

use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d::{self, Explicit, Same, Valid};
use burn::nn::conv::Conv2dConfig;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
#[cfg(feature = "fit")]
use linearconv::Choice;
use linearconv::{CoefficientsConfig, Evaluation, LinearConv2d, LinearConv2dConfig};

use common::{
    assert_close, cast, channels_in, device, layer, tensor, to_vec, tolerances, variants,
    variants_of_both_sides, weighted_sum,
};

/// Geometries over which the laws are held: every field away from its default at least once.
fn geometries() -> Vec<LinearConv2dConfig> {
    let config = |channels, kernel_size, padding: PaddingConfig2d| {
        LinearConv2dConfig::new(channels, kernel_size).with_padding(padding)
    };
    vec![
        config([3, 8], [3, 3], Explicit(1, 1, 1, 1)),
        config([3, 9], [3, 3], Same).with_stride([2, 1]),
        config([4, 8], [1, 1], Valid).with_bias(false),
        config([2, 10], [2, 4], Same),
        config([4, 8], [3, 2], Explicit(0, 2, 1, 3)).with_dilation([1, 2]),
        config([5, 11], [3, 3], Valid)
            .with_stride([2, 3])
            .with_dilation([2, 1]),
        config([3, 12], [3, 3], Same).with_primary_ratio(0.3),
        config([3, 12], [3, 3], Same)
            .with_primary_ratio(0.75)
            .with_coefficients(CoefficientsConfig::LowRank { rank: 3 }),
        config([4, 8], [3, 3], Same).with_groups(2),
        config([8, 8], [3, 3], Explicit(1, 0, 0, 1)).with_groups(8),
        config([6, 8], [3, 3], Same).with_channel_ratio(0.5),
        config([7, 9], [3, 2], Explicit(1, 0, 0, 1))
            .with_stride([2, 1])
            .with_dilation([1, 2])
            .with_channel_ratio(0.34),
        config([8, 8], [1, 1], Valid)
            .with_stride([2, 3])
            .with_bias(false)
            .with_channel_ratio(0.5),
        config([2, 12], [3, 3], Valid)
            .with_primary_ratio(0.3)
            .with_channel_ratio(0.5),
    ]
}

/// Every geometry as every variant that fits it.
fn layers() -> Vec<LinearConv2d> {
    let device = device().autodiff();
    let configs = geometries().into_iter().flat_map(|geometry| {
        let variants = variants().into_iter().filter(|variant| {
            // More than half primary filters leave no room for a rank of 3/4 of them.
            geometry.primary_ratio <= 0.5
                || !matches!(variant, CoefficientsConfig::RankRatio { .. })
        });
        let configs: Vec<_> = variants
            .map(|variant| geometry.clone().with_coefficients(variant))
            .collect();
        configs
    });
    configs.map(|config| layer(&config, &device)).collect()
}

/// The output, then the gradients of the input and of every parameter in visiting order.
fn output_and_gradients(layer: &LinearConv2d) -> Vec<Vec<f64>> {
    let device = device().autodiff();
    let input = tensor([2, channels_in(layer), 9, 8], 3, &device).require_grad();
    let output = layer.forward(input.clone());
    let gradients = weighted_sum(output.clone()).backward();
    let mut result = vec![
        to_vec(output),
        to_vec(input.grad(&gradients).expect("gradient of the input")),
    ];
    let gradients = GradientsParams::from_grads(gradients, layer);
    visit_floats(layer, |id, dims| {
        let gradient = match dims {
            1 => gradients.get::<1>(id).map(to_vec),
            2 => gradients.get::<2>(id).map(to_vec),
            _ => gradients.get::<4>(id).map(to_vec),
        };
        result.extend(gradient);
    });
    result
}

fn visit_floats<M: Module>(module: &M, visit: impl FnMut(burn::module::ParamId, usize)) {
    struct Visitor<F>(F);
    impl<F: FnMut(burn::module::ParamId, usize)> burn::module::ModuleVisitor for Visitor<F> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            (self.0)(param.id, D);
        }
    }
    module.visit(&mut Visitor(visit));
}

#[test]
fn factored_equals_materialized() {
    let mut compared = 0;
    for layer in layers().into_iter().filter(|layer| layer.groups == 1) {
        let display = format!("{layer}");
        let [factored, materialized] = [Evaluation::Factored, Evaluation::Materialized]
            .map(|evaluation| output_and_gradients(&layer.clone().with_evaluation(evaluation)));
        let parameters = 2 + usize::from(layer.channel_coefficients.is_some());
        assert!(
            factored.len() >= 2 + parameters,
            "{display}: gradients are missing"
        );
        assert_eq!(factored.len(), materialized.len());
        for (a, b) in factored.iter().zip(&materialized) {
            assert_close(a, b, tolerances().sums, &display);
        }
        compared += 1;
    }
    assert!(compared > 40);
}

#[test]
fn every_evaluation_equals_a_dense_convolution_with_the_same_kernel() {
    for layer in layers() {
        let channels = channels_in(&layer);
        let input = tensor([2, channels, 9, 8], 3, &device().autodiff()).require_grad();
        let filters = layer.cost().dense().primary;
        let mut dense = Conv2dConfig::new([channels, filters], layer.kernel_size)
            .with_stride(layer.stride)
            .with_dilation(layer.dilation)
            .with_groups(layer.groups)
            .with_padding(layer.padding.clone())
            .with_bias(layer.bias.is_some())
            .init(&device().autodiff());
        dense.weight = Param::from_tensor(layer.weight().detach());
        dense.bias = layer.bias.clone();

        let expected = dense.forward(input.clone());
        let expected_gradients = weighted_sum(expected.clone()).backward();
        let output = layer.forward(input.clone());
        let gradients = weighted_sum(output.clone()).backward();
        let display = format!("{layer}");
        assert_close(
            &to_vec(output),
            &to_vec(expected.clone()),
            tolerances().sums,
            &display,
        );
        assert_close(
            &to_vec(input.grad(&gradients).expect("gradient")),
            &to_vec(input.grad(&expected_gradients).expect("gradient")),
            tolerances().sums,
            &display,
        );
        assert_close(
            &to_vec(layer.to_conv2d().forward(input)),
            &to_vec(expected),
            tolerances().sums,
            &display,
        );
    }
}

#[cfg(feature = "fit")]
#[test]
fn fitted_layers_equal_the_dense_convolution_in_its_order_of_outputs() {
    let halves = layers().into_iter().flat_map(|fitted| {
        let all = Choice::new(fitted.primary.dims()[0], CoefficientsConfig::Full);
        let half = channels_in(&fitted) / 2;
        let one_side = (fitted.clone(), all);
        let two_sides = (fitted.groups == 1).then(|| (fitted, all.with_primary_channels(half)));
        [Some(one_side), two_sides].into_iter().flatten()
    });
    for (fitted, choice) in halves.filter(|(_, choice)| choice.primary_channels != Some(0)) {
        let dense = fitted.to_conv2d();
        let (layer, _) = LinearConv2d::from_conv2d(&dense, choice, None).expect("valid");
        let order = to_vec(layer.order.as_ref().expect("an order").val().float());
        assert_eq!(
            layer.channel_order.is_some(),
            choice.primary_channels.is_some()
        );
        let channels = channels_in(&layer);
        let input = tensor([2, channels, 9, 8], 3, &device().autodiff());
        // The kernel approximates, the bias is the dense one's, in its order.
        let mut expected = dense.clone();
        expected.weight = Param::from_tensor(layer.weight().detach());
        let expected = to_vec(expected.forward(input.clone()));
        let display = format!("{layer}, order {order:?}");
        let evaluations: &[_] = if layer.groups == 1 {
            &[Evaluation::Factored, Evaluation::Materialized]
        } else {
            &[Evaluation::Materialized]
        };
        for evaluation in evaluations {
            let layer = layer.clone().with_evaluation(*evaluation);
            let output = to_vec(layer.forward(input.clone()));
            assert_close(&output, &expected, tolerances().sums, &display);
        }
        let back = to_vec(layer.to_conv2d().forward(input));
        assert_close(&back, &expected, tolerances().sums, &display);
    }
}

#[test]
fn to_conv2d_trains_a_kernel_of_its_own() {
    let layer = layer(
        &LinearConv2dConfig::new([3, 8], [3, 3]),
        &device().autodiff(),
    );
    let dense = layer.to_conv2d();
    let input = tensor([1, 3, 5, 5], 3, &device().autodiff());
    let gradients = dense.forward(input).sum().backward();
    assert!(dense.weight.val().grad(&gradients).is_some());
    assert!(layer.primary.val().grad(&gradients).is_none());
    assert_eq!(dense.num_params(), layer.cost().dense().parameters());
}

#[test]
fn to_conv2d_of_a_validation_layer_trains_again() {
    let layer = layer(
        &LinearConv2dConfig::new([3, 8], [3, 3]),
        &device().autodiff(),
    );
    let dense = layer.valid().to_conv2d();
    assert!(!dense.weight.val().is_autodiff());
    assert!(dense.train().weight.val().is_require_grad());
}

#[test]
fn single_precision_evaluations_agree() {
    for (variant, channel_ratio) in variants_of_both_sides() {
        let config = LinearConv2dConfig::new([16, 32], [3, 3])
            .with_channel_ratio(channel_ratio)
            .with_coefficients(variant);
        let layer = layer(&config, &device());
        let layer = cast(layer, DType::F32);
        let input = tensor([2, 16, 8, 8], 5, &device()).cast(DType::F32);
        let [factored, materialized] =
            [Evaluation::Factored, Evaluation::Materialized].map(|evaluation| {
                layer
                    .clone()
                    .with_evaluation(evaluation)
                    .forward(input.clone())
            });
        assert_eq!(factored.dtype(), DType::F32);
        // Sums of 144 products of either sign: an absolute error of some f32 epsilons.
        assert_close(&to_vec(factored), &to_vec(materialized), 2e-5, "f32");
    }
}

#[test]
fn half_precision_works_wherever_burns_convolution_does() {
    for dtype in [DType::F16, DType::BF16] {
        if !device().supports_dtype(dtype) {
            println!("{dtype:?} is not there");
            continue;
        }
        for (variant, channel_ratio) in variants_of_both_sides() {
            let config = LinearConv2dConfig::new([4, 8], [3, 3])
                .with_channel_ratio(channel_ratio)
                .with_coefficients(variant);
            let layer = layer(&config, &device());
            let expected = layer.forward(tensor([1, 4, 6, 6], 5, &device()));
            let layer = cast(layer, dtype);
            let input = tensor([1, 4, 6, 6], 5, &device()).cast(dtype);
            for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
                let output = layer
                    .clone()
                    .with_evaluation(evaluation)
                    .forward(input.clone());
                assert_eq!(output.dtype(), dtype);
                // bf16 keeps 8 bits of each operand.
                assert_close(&to_vec(output), &to_vec(expected.clone()), 0.1, "half");
            }
            let loss = linearconv::correlation_loss(&layer);
            assert_eq!(loss.dtype(), DType::F32);
            assert!(to_vec(loss)[0].is_finite());
        }
    }
}
