//! Batch normalization behind a convolution: what it multiplies its channels by is what a fit weights
//! them by.

#![cfg(feature = "fit")]

mod common;

use burn::module::{Module, RunningState};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use linearconv::{Calibration, Choice, CoefficientsConfig, Compression, Conv, Plan};

use common::spectrum::{Vectors, centred, rows_of_outputs, tail};
use common::{
    assert_close, device, float, norm, relative_error, tensor, to_vec, tolerances, values,
};

const FILTERS: usize = 10;
const PRIMARY: usize = 4;
/// Fewer pixels than a calibration keeps, so that it keeps all of them.
const IMAGES: [usize; 4] = [2, 3, 8, 8];

#[derive(Module, Debug)]
struct Block {
    conv: Conv,
    norm: BatchNorm,
    activated: bool,
}

impl Block {
    /// With running statistics as the images have them.
    fn new(bias: bool, activated: bool) -> Self {
        let device = device();
        let config = Conv2dConfig::new([3, FILTERS], [3, 3]).with_bias(bias);
        let conv = Conv::from(common::dense(&config, &device));
        let mut block = Self {
            conv,
            norm: common::cast(BatchNormConfig::new(FILTERS).init(&device), float()),
            activated,
        };
        let rows = rows_of_outputs(block.normalized());
        let of_rows = |of: fn(&[f64]) -> f64| {
            let values: Vec<f64> = rows.iter().map(|row| of(row)).collect();
            leaf(values, &device)
        };
        block.norm.running_mean = RunningState::new(of_rows(mean));
        block.norm.running_var = RunningState::new(of_rows(variance));
        // Of a wide range.
        let gamma = values(FILTERS, 11)
            .iter()
            .map(|value| (3.0 * value).exp())
            .collect();
        block.norm.gamma = block.norm.gamma.map(|_| leaf(gamma, &device));
        block
    }

    /// What the normalization normalizes.
    fn normalized(&self) -> Tensor<4> {
        let maps = self.conv.forward(images());
        if self.activated { relu(maps) } else { maps }
    }

    fn forward(&self) -> Tensor<4> {
        self.norm.forward(self.normalized())
    }

    fn plan(&self) -> Plan {
        let mut calibration = Calibration::new();
        calibration.observe(|| self.forward());
        let choice = Choice::new(PRIMARY, CoefficientsConfig::Full);
        let choices = [("conv.Dense.weight".into(), choice)].into();
        let compression = Compression::per_layer(choices).with_calibration(calibration);
        compression.plan(self).expect("a plan")
    }

    fn compressed(&self) -> Self {
        self.plan().apply(self.clone()).expect("compressed")
    }
}

fn images() -> Tensor<4> {
    tensor(IMAGES, 3, &device())
}

fn leaf(values: Vec<f64>, device: &Device) -> Tensor<1> {
    let length = [values.len()];
    Tensor::from_data(TensorData::new(values, length), (device, float()))
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

fn variance(row: &[f64]) -> f64 {
    let mean = mean(row);
    row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / row.len() as f64
}

fn difference(a: &Vectors, b: &Vectors) -> Vec<f64> {
    let (a, b) = (a.concat(), b.concat());
    a.iter().zip(&b).map(|(a, b)| a - b).collect()
}

#[test]
fn normalized_outputs_lose_the_tail_of_their_singular_values() {
    for bias in [false, true] {
        let block = Block::new(bias, false);
        let compressed = block.compressed();
        let [before, after] = [&block, &compressed].map(|block| rows_of_outputs(block.forward()));
        // A bias makes up for the mean; without one the outputs are what is decomposed as they are.
        let mut decomposed = block.clone();
        let zeros = |value: Tensor<1>| value.zeros_like();
        decomposed.norm.running_mean = RunningState::new(zeros(block.norm.running_mean.value()));
        let rows = rows_of_outputs(decomposed.forward());
        let rows = if bias { centred(&rows) } else { rows };
        let expected = tail(&rows, PRIMARY, &before);
        let lost = norm(&difference(&before, &after)) / norm(&before.concat());
        assert_close(&[lost], &[expected], tolerances().sums, "lost");
    }
}

#[test]
fn a_normalization_behind_an_activation_is_left_alone() {
    for bias in [false, true] {
        let block = Block::new(bias, true);
        let mut without = block.clone();
        let one = |value: &Tensor<1>| value.ones_like();
        without.norm.gamma = without.norm.gamma.map(|gamma| one(&gamma));
        assert_eq!(block.plan().error(), without.plan().error());
    }
}

#[test]
fn channels_that_a_normalization_multiplies_by_zero_do_no_harm() {
    let mut block = Block::new(false, false);
    block.norm.gamma = block.norm.gamma.map(|gamma| {
        let mut values = to_vec(gamma.clone());
        values[..FILTERS - PRIMARY].fill(0.0);
        leaf(values, &gamma.device())
    });
    // Those that are seen are as many as are kept; the others count a thousandth.
    let compressed = block.compressed();
    let [before, after] = [&block, &compressed].map(|block| to_vec(block.forward()));
    let error = relative_error(&after, &before);
    assert!(error < 1e-3, "{error}");
}
