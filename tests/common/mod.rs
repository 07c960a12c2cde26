//! What the integration tests share: tensors of explicit data, layers that hold them, gradients.

// Every test binary compiles this module and uses a part of it.
#![allow(dead_code)]

pub mod spectrum;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use linearconv::{CoefficientsConfig, LinearConv2d, LinearConv2dConfig};

/// What the tests run on.
struct Platform {
    /// The name that Burn's variable `BURN_DEVICE` has for the backend.
    backend: &'static str,
    /// The widest float type that the backend computes in.
    float: DType,
    tolerances: Tolerances,
}

/// The largest differences that rounding explains, relative above 1 and absolute below.
#[derive(Clone, Copy)]
pub struct Tolerances {
    /// Between two ways to a number that take a few operations each.
    pub rounding: f64,
    /// Between two ways that sum some hundred products: outputs, gradients, fits.
    pub sums: f64,
    /// Between two ways that sum some thousand products of either sign: gradients over all pixels.
    pub long_sums: f64,
}

const IN_F64: Tolerances = Tolerances {
    rounding: 1e-12,
    sums: 1e-9,
    long_sums: 1e-9,
};

/// An f32 has 24 bits: a relative error of 6e-8 for each operation, 1e-6 for sums of some hundred.
const IN_F32: Tolerances = Tolerances {
    rounding: 2e-6,
    sums: 5e-5,
    long_sums: 5e-4,
};

/// WGSL has no f64, and not every CUDA kernel of Burn has one.
const PLATFORMS: [Platform; 4] = [
    Platform {
        backend: "flex",
        float: DType::F64,
        tolerances: IN_F64,
    },
    Platform {
        backend: "ndarray",
        float: DType::F64,
        tolerances: IN_F64,
    },
    Platform {
        backend: "wgpu",
        float: DType::F32,
        tolerances: IN_F32,
    },
    Platform {
        backend: "cuda",
        float: DType::F32,
        tolerances: IN_F32,
    },
];

fn platform() -> &'static Platform {
    let name = std::env::var("BURN_DEVICE").unwrap_or_else(|_| "flex".into());
    let named = PLATFORMS.iter().find(|platform| platform.backend == name);
    named.unwrap_or_else(|| panic!("BURN_DEVICE={name}: no such row in PLATFORMS"))
}

/// The device under test: the default one of the backend that `BURN_DEVICE` names, flex without it.
pub fn device() -> Device {
    match platform().backend {
        "flex" => Device::flex(),
        // Burn reads the same variable.
        _ => Device::default(),
    }
}

/// The float type in which the device under test is held to the laws.
pub fn float() -> DType {
    platform().float
}

pub fn tolerances() -> Tolerances {
    platform().tolerances
}

/// The four variants, at ranks that suit at least four filters on each side.
pub fn variants() -> [CoefficientsConfig; 4] {
    [
        CoefficientsConfig::Full,
        CoefficientsConfig::LowRank { rank: 2 },
        CoefficientsConfig::RankRatio { ratio: 0.75 },
        CoefficientsConfig::Sparse { sparsity: 0.5 },
    ]
}

/// Every variant with all channels primary, and with half of them.
pub fn variants_of_both_sides() -> impl Iterator<Item = (CoefficientsConfig, f64)> {
    let both = |variant| [(variant, 1.0), (variant, 0.5)];
    variants().into_iter().flat_map(both)
}

/// Numbers in (-1, 1) that depend on the seed alone (a linear congruential generator).
pub fn values(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

pub fn tensor<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let data = TensorData::new(values(shape.iter().product(), seed), shape);
    Tensor::from_data(data, (device, float()))
}

pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_to_vec_as::<f64>().expect("a readable tensor")
}

/// Replaces every float parameter by explicit values; keeps what is trainable.
pub fn with_values<M: Module>(module: M, seed: u64) -> M {
    struct Fill(u64);

    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            param.map(|old| {
                let new = tensor(old.dims(), self.0, &old.device());
                new.set_require_grad(old.is_require_grad())
            })
        }
    }

    module.map(&mut Fill(seed))
}

/// Casts every float parameter; keeps what is trainable.
pub fn cast<M: Module>(module: M, dtype: DType) -> M {
    struct Cast(DType);

    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| {
                let data = TensorData::new(to_vec(old.clone()), old.shape());
                let new = Tensor::from_data(data, (&old.device(), self.0));
                new.set_require_grad(old.is_require_grad())
            })
        }
    }

    module.map(&mut Cast(dtype))
}

/// A dense convolution of explicit values.
pub fn dense(config: &Conv2dConfig, device: &Device) -> Conv2d {
    with_values(config.init(device), 1)
}

/// A layer of explicit values; a sparse one with every third coefficient masked out.
pub fn layer(config: &LinearConv2dConfig, device: &Device) -> LinearConv2d {
    use linearconv::Coefficients::Sparse;

    let mut layer = with_values(config.init(device), 7);
    if let Sparse(sparse) = &mut layer.coefficients {
        sparse.mask = sparse.mask.clone().map(|mask| {
            let kept = (0..mask.shape().num_elements()).map(|index| index % 3 != 0);
            let data = TensorData::new(kept.collect::<Vec<bool>>(), mask.shape());
            Tensor::from_data(data, &mask.device())
        });
    }
    layer
}

/// The channels of a layer's input.
pub fn channels_in(layer: &LinearConv2d) -> usize {
    let cost = layer.cost();
    (cost.primary_channels + cost.secondary_channels) * cost.groups
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The norm of the difference over the norm.
pub fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let difference: Vec<f64> = actual.iter().zip(expected).map(|(a, e)| a - e).collect();
    norm(&difference) / norm(expected)
}

/// `Σ output ⊙ weights` with fixed weights: a scalar whose gradient differs at every output.
pub fn weighted_sum<const D: usize>(output: Tensor<D>) -> Tensor<1> {
    let weights = tensor(output.dims(), 99, &output.device().inner()).cast(output.dtype());
    (output * weights).sum()
}

#[track_caller]
pub fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!(
            approx::relative_eq!(a, e, epsilon = tolerance, max_relative = tolerance),
            "{what}[{index}]: {a} instead of {e}"
        );
    }
}
