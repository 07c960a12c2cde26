//! Analytic against central-difference gradients: every parameter of every variant, in both
//! evaluations, and the losses. The differences are taken on flex in f64, whatever the device under
//! test is.

mod common;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::nn::PaddingConfig2d;
use burn::optim::GradientsParams;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use linearconv::{
    CoefficientsConfig, Evaluation, LinearConv2d, LinearConv2dConfig, coefficient_l1,
    correlation_loss,
};

use common::{
    device, layer, tensor, to_vec, tolerances, variants, variants_of_both_sides, weighted_sum,
};

const STEP: f64 = 1e-5;
/// Of the differences; a device may add what its float type costs.
const TOLERANCE: f64 = 1e-6;

/// Trainable parameters of a module with their values.
#[derive(Default)]
struct Parameters(Vec<(ParamId, Vec<f64>, Vec<f64>)>, Option<GradientsParams>);

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradients = self.1.as_ref().expect("gradients");
        if let Some(gradient) = gradients.get::<D>(param.id) {
            self.0
                .push((param.id, to_vec(param.val()), to_vec(gradient)));
        }
    }
}

/// Sets one parameter to explicit values.
struct Set<'a>(ParamId, &'a [f64]);

impl ModuleMapper for Set<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.id != self.0 {
            return param;
        }
        param.map(|old| {
            let data = TensorData::new(self.1.to_vec(), old.shape());
            Tensor::from_data(data, (&old.device(), DType::F64))
        })
    }
}

/// The same values in f64 on flex.
struct OnFlex;

impl ModuleMapper for OnFlex {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let data = TensorData::new(to_vec(value.clone()), value.shape());
            Tensor::from_data(data, (&Device::flex(), DType::F64))
        })
    }

    // A mask that another backend has stored its way.
    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.map(|mask| {
            let kept: Vec<bool> = mask.to_data().iter::<bool>().collect();
            Tensor::from_data(TensorData::new(kept, mask.shape()), &Device::flex())
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|order| {
            let places: Vec<i64> = order.to_data().iter::<i64>().collect();
            Tensor::from_data(TensorData::new(places, order.shape()), &Device::flex())
        })
    }
}

/// Images on the device of a layer, in its float type.
fn images(shape: [usize; 4], layer: &LinearConv2d) -> Tensor<4> {
    let primary = layer.primary.val();
    tensor(shape, 3, &primary.device()).cast(primary.dtype())
}

/// The number of parameters with a gradient; panics where analytic and numeric ones differ.
fn check_gradients(layer: &LinearConv2d, function: impl Fn(&LinearConv2d) -> Tensor<1>) -> usize {
    let gradients = GradientsParams::from_grads(function(layer).backward(), layer);
    let mut parameters = Parameters(Vec::new(), Some(gradients));
    layer.visit(&mut parameters);
    let plain = layer.valid().map(&mut OnFlex);
    let tolerance = TOLERANCE.max(tolerances().sums);
    for (id, values, analytic) in &parameters.0 {
        for (index, analytic) in analytic.iter().enumerate() {
            let at = |offset: f64| {
                let mut values = values.clone();
                values[index] += offset;
                to_vec(function(&plain.clone().map(&mut Set(*id, &values))))[0]
            };
            let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (numeric - analytic).abs() / (1.0 + numeric.abs());
            assert!(
                error < tolerance,
                "{layer}: parameter of {} values, at {index}: {analytic}, numerically {numeric}",
                values.len()
            );
        }
    }
    parameters.0.len()
}

fn config(variant: CoefficientsConfig) -> LinearConv2dConfig {
    LinearConv2dConfig::new([3, 9], [3, 2])
        .with_stride([1, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 0, 1))
        .with_coefficients(variant)
}

#[test]
fn outputs_have_the_gradients_of_finite_differences() {
    for variant in variants() {
        for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
            let layer = layer(
                &config(variant).with_evaluation(evaluation),
                &device().autodiff(),
            );
            let checked = check_gradients(&layer, |layer| {
                let input = images([2, 3, 5, 6], layer);
                weighted_sum(layer.forward(input).square())
            });
            let factors = if layer.cost().rank.is_some() { 2 } else { 1 };
            assert_eq!(checked, 2 + factors, "primary, bias and every factor");
        }
    }
}

#[test]
fn outputs_of_both_sides_have_the_gradients_of_finite_differences() {
    for variant in variants() {
        for evaluation in [Evaluation::Factored, Evaluation::Materialized] {
            let config = LinearConv2dConfig {
                channels: [5, 9],
                ..config(variant)
            };
            let config = config.with_channel_ratio(0.5).with_evaluation(evaluation);
            let mut layer = layer(&config, &device().autodiff());
            // The primary channels are the last two.
            let order = Tensor::from_ints([2, 3, 4, 0, 1], &device().autodiff());
            layer.channel_order = Some(Param::initialized(ParamId::new(), order));
            let checked = check_gradients(&layer, |layer| {
                let input = images([2, 5, 5, 6], layer);
                weighted_sum(layer.forward(input).square())
            });
            let factors = if layer.cost().rank.is_some() { 2 } else { 1 };
            assert_eq!(checked, 3 + factors, "those of both sides and bias");
        }
    }
}

#[test]
fn grouped_outputs_have_the_gradients_of_finite_differences() {
    for variant in variants() {
        let config = LinearConv2dConfig::new([4, 8], [3, 3])
            .with_groups(2)
            .with_coefficients(variant);
        check_gradients(&layer(&config, &device().autodiff()), |layer| {
            let input = images([1, 4, 4, 4], layer);
            weighted_sum(layer.forward(input).square())
        });
    }
}

#[test]
fn losses_have_the_gradients_of_finite_differences() {
    for (variant, channel_ratio) in variants_of_both_sides() {
        let config = config(variant).with_channel_ratio(channel_ratio);
        let layer = layer(&config, &device().autodiff());
        assert_eq!(check_gradients(&layer, correlation_loss), 1);
        let factors = if layer.cost().rank.is_some() { 2 } else { 1 };
        assert_eq!(check_gradients(&layer, coefficient_l1), factors);
    }
}
