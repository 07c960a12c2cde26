//! The golden cases of the reference implementation, in every evaluation that is valid.

mod common;

use std::fs;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use linearconv::{
    Coefficients, CoefficientsConfig, Evaluation, LinearConv2d, LinearConv2dConfig, coefficient_l1,
    correlation_loss,
};
use safetensors::SafeTensors;
use serde::Deserialize;

use common::{assert_close, float, to_vec, tolerances};

#[derive(Deserialize)]
struct Case {
    name: String,
    variant: String,
    channels: [usize; 2],
    kernel_size: [usize; 2],
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    bias: bool,
    rank: Option<usize>,
}

impl Case {
    fn config(&self) -> LinearConv2dConfig {
        let coefficients = match (self.variant.as_str(), self.rank) {
            ("full", None) => CoefficientsConfig::Full,
            ("low_rank", Some(rank)) => CoefficientsConfig::LowRank { rank },
            ("sparse", None) => CoefficientsConfig::Sparse { sparsity: 0.25 },
            (variant, rank) => panic!("unknown case {variant} of rank {rank:?}"),
        };
        let padding = self.padding;
        LinearConv2dConfig::new(self.channels, self.kernel_size)
            .with_stride([self.stride; 2])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_bias(self.bias)
            .with_coefficients(coefficients)
    }

    fn evaluations(&self) -> Vec<Evaluation> {
        match self.groups {
            1 => vec![
                Evaluation::Auto,
                Evaluation::Materialized,
                Evaluation::Factored,
            ],
            _ => vec![Evaluation::Auto, Evaluation::Materialized],
        }
    }
}

struct Golden<'a> {
    tensors: SafeTensors<'a>,
    device: Device,
}

impl Golden<'_> {
    fn values(&self, name: &str) -> Vec<f64> {
        let bytes = self.tensors.tensor(name).expect(name).data();
        bytes
            .chunks_exact(8)
            .map(|value| f64::from_le_bytes(value.try_into().expect("8 bytes")))
            .collect()
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let shape = self.tensors.tensor(name).expect(name).shape().to_vec();
        let data = TensorData::new(self.values(name), shape);
        Tensor::from_data(data, (&self.device, float()))
    }

    fn param<const D: usize>(&self, name: &str) -> Param<Tensor<D>> {
        Param::from_tensor(self.tensor(name))
    }

    fn mask(&self) -> Tensor<2, Bool> {
        self.tensor::<2>("mask").greater_scalar(0.5)
    }

    fn layer(&self, case: &Case) -> LinearConv2d {
        let mut layer = case.config().init(&self.device);
        layer.primary = self.param("primary");
        layer.bias = layer.bias.map(|_| self.param("bias"));
        match &mut layer.coefficients {
            Coefficients::Full(full) => full.weight = self.param("coefficients"),
            Coefficients::LowRank(low_rank) => {
                low_rank.column = self.param("column");
                low_rank.row = self.param("row");
            }
            Coefficients::Sparse(sparse) => {
                sparse.weight = self.param("coefficients");
                sparse.mask = sparse.mask.clone().map(|_| self.mask());
            }
        }
        layer
    }

    fn check(&self, name: &str, actual: Vec<f64>) {
        assert_close(&actual, &self.values(name), tolerances().sums, name);
    }

    fn check_gradients(&self, layer: &LinearConv2d) {
        let input = self.tensor::<4>("input").require_grad();
        let output = layer.forward(input.clone());
        self.check("output", to_vec(output.clone()));

        let upstream = self.tensor::<4>("upstream").inner();
        let gradients = (output * upstream).sum().backward();
        self.check("grad.input", to_vec(input.grad(&gradients).expect("input")));
        let primary = layer.primary.val().grad(&gradients);
        self.check("grad.primary", to_vec(primary.expect("primary")));
        if let Some(bias) = &layer.bias {
            let bias = bias.val().grad(&gradients);
            self.check("grad.bias", to_vec(bias.expect("bias")));
        }
        let coefficients = match &layer.coefficients {
            Coefficients::Full(full) => vec![("grad.coefficients", &full.weight)],
            Coefficients::Sparse(sparse) => vec![("grad.coefficients", &sparse.weight)],
            Coefficients::LowRank(low_rank) => vec![
                ("grad.column", &low_rank.column),
                ("grad.row", &low_rank.row),
            ],
        };
        for (name, param) in coefficients {
            self.check(name, to_vec(param.val().grad(&gradients).expect(name)));
        }
    }

    fn check_losses(&self, layer: &LinearConv2d) {
        self.check("kernel", to_vec(layer.weight()));
        let loss = correlation_loss(layer);
        self.check("correlation_loss", to_vec(loss.clone()));
        let primary = layer.primary.val().grad(&loss.backward()).expect("primary");
        self.check("grad.correlation_loss.primary", to_vec(primary));
        if self.tensors.names().contains(&"l1_loss") {
            self.check("l1_loss", to_vec(coefficient_l1(layer)));
        }
    }
}

/// Runs `check` on every golden case of a variant and returns how many there were.
fn for_each_case(variant: &str, check: impl Fn(&Case, &Golden)) -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/layer");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("fixtures") {
        let bytes = fs::read(entry.expect("entry").path()).expect("readable fixture");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("metadata");
        let json = &metadata.metadata().as_ref().expect("metadata")["case"];
        let case: Case = serde_json::from_str(json).expect("a case");
        if case.variant == variant {
            println!("{}", case.name);
            let golden = Golden {
                tensors: SafeTensors::deserialize(&bytes).expect("tensors"),
                device: common::device().autodiff(),
            };
            check(&case, &golden);
            count += 1;
        }
    }
    count
}

fn outputs_and_gradients(variant: &str) -> usize {
    for_each_case(variant, |case, golden| {
        for evaluation in case.evaluations() {
            golden.check_gradients(&golden.layer(case).with_evaluation(evaluation));
        }
    })
}

#[test]
fn full_outputs_and_gradients_equal_the_reference() {
    assert_eq!(outputs_and_gradients("full"), 7);
}

#[test]
fn low_rank_outputs_and_gradients_equal_the_reference() {
    assert_eq!(outputs_and_gradients("low_rank"), 3);
}

#[test]
fn sparse_outputs_and_gradients_equal_the_reference() {
    assert_eq!(outputs_and_gradients("sparse"), 2);
}

#[test]
fn kernels_and_losses_equal_the_reference() {
    let check = |case: &Case, golden: &Golden| golden.check_losses(&golden.layer(case));
    for variant in ["full", "low_rank", "sparse"] {
        assert!(for_each_case(variant, check) > 0);
    }
}
