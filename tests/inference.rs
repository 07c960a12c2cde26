//! A model that is made for inference computes what it computed before.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use linearconv::{
    CoefficientsConfig, Conv, ConvConfig, Epilogue, Evaluation, Inference, LinearConv,
    LinearConv2d, LinearConv2dConfig,
};

use common::values;

/// A convolution with what follows it.
#[derive(Module, Debug)]
struct Block {
    conv: Conv,
    norm: Option<BatchNorm>,
    pool: Option<MaxPool2d>,
    shortcut: bool,
    relu: bool,
}

impl Block {
    fn forward(&self, input: Tensor<4>, shortcut: &Tensor<4>) -> Tensor<4> {
        let mut epilogue = Epilogue::new();
        if let Some(norm) = &self.norm {
            epilogue = epilogue.with_norm(norm);
        }
        if self.shortcut {
            epilogue = epilogue.with_shortcut(shortcut.clone());
        }
        if self.relu {
            epilogue = epilogue.with_relu();
        }
        if let Some(pool) = &self.pool {
            epilogue = epilogue.with_max_pool(pool);
        }
        self.conv.forward_with(input, epilogue)
    }
}

/// Explicit values that depend on the seed alone, exact in f32.
fn tensor<const D: usize>(shape: [usize; D], seed: u64, dtype: DType) -> Tensor<D> {
    let values = values(shape.iter().product(), seed).into_iter();
    let values: Vec<f64> = values.map(|value| f64::from(value as f32)).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), dtype))
}

/// A normalization with factors of both signs.
fn norm(features: usize) -> BatchNorm {
    let vector = |seed| tensor([features], seed, DType::F32);
    BatchNorm {
        gamma: Param::from_tensor(vector(11) + 1.5),
        beta: Param::from_tensor(vector(12)),
        running_mean: RunningState::new(vector(13)),
        running_var: RunningState::new(vector(14) + 1.5),
        ..BatchNormConfig::new(features).init(&Device::flex())
    }
}

/// The same block in f64, by the operations of Burn alone.
fn in_f64(block: Block) -> Block {
    struct Cast;
    impl burn::module::ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::from_tensor(param.val().cast(DType::F64))
        }
    }
    let state = |state: &RunningState<Tensor<1>>| RunningState::new(state.value().cast(DType::F64));
    let norm = block.norm.as_ref().map(|norm| BatchNorm {
        running_mean: state(&norm.running_mean),
        running_var: state(&norm.running_var),
        ..norm.clone()
    });
    Block { norm, ..block }.map(&mut Cast)
}

fn norm_of(tensor: Tensor<4>) -> f64 {
    let tensor = tensor.cast(DType::F64);
    let values: Vec<f64> = tensor.try_to_vec_as().expect("values");
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn check(block: Block, input: [usize; 4], output: [usize; 4], case: &str) {
    let exact = in_f64(block.clone());
    let (images, shortcut) = (tensor(input, 1, DType::F64), tensor(output, 2, DType::F64));
    let expected = exact.forward(images.clone(), &shortcut);
    let block = Inference::new(block);
    let single = |tensor: &Tensor<4>| tensor.clone().cast(DType::F32);
    // The first call packs the weights, and the second one finds them packed.
    for _ in 0..2 {
        let output = block.forward(single(&images), &single(&shortcut));
        assert_eq!(output.dims(), expected.dims(), "{case}");
        let error = norm_of(output.cast(DType::F64) - expected.clone());
        let error = error / norm_of(expected.clone());
        assert!(error < 2e-6, "{case}: {error}");
    }
}

/// Channels, filters, kernel, stride, side of the input, images.
type Size = (usize, usize, usize, usize, usize, usize);

/// Images of three channels, whole and broken vectors of filters, one pixel and odd sides, few pixels for
/// threads to divide the filters, and pixels enough for Winograd's transform.
const SIZES: [Size; 12] = [
    (3, 64, 3, 1, 16, 1),
    (64, 128, 3, 1, 8, 2),
    (40, 50, 3, 2, 7, 3),
    (20, 33, 1, 1, 9, 1),
    (192, 256, 3, 1, 2, 1),
    (130, 200, 1, 1, 7, 1),
    (7, 9, 2, 1, 5, 4),
    (37, 41, 3, 1, 17, 2),
    (40, 64, 3, 1, 10, 7),
    (20, 70, 3, 1, 3, 40),
    (32, 65, 3, 1, 30, 1),
    (18, 20, 3, 1, 16, 1),
];

fn policies() -> Vec<ConvConfig> {
    let factored = |config: LinearConv2dConfig| {
        ConvConfig::Linear(config.with_evaluation(Evaluation::Factored))
    };
    let config = || LinearConv2dConfig::new([0, 0], [0, 0]);
    vec![
        ConvConfig::dense(),
        factored(config()),
        factored(config().with_coefficients(CoefficientsConfig::LowRank { rank: 3 })),
        factored(config().with_coefficients(CoefficientsConfig::Sparse { sparsity: 0.25 })),
        factored(config().with_channel_ratio(0.4).with_primary_ratio(0.3)),
        ConvConfig::Linear(config().with_evaluation(Evaluation::Materialized)),
    ]
}

#[test]
fn every_layer_computes_what_burn_does_in_f64() {
    let device = Device::flex();
    for size @ (channels, filters, kernel, stride, side, count) in SIZES {
        for (index, policy) in policies().into_iter().enumerate() {
            for followed in 0..16 {
                let [normed, pooled, shortcut, relu] = [1, 2, 4, 8].map(|bit| followed & bit != 0);
                let layer = Conv2dConfig::new([channels, filters], [kernel, kernel])
                    .with_stride([stride, stride])
                    .with_padding(PaddingConfig2d::Same);
                let block = Block {
                    conv: policy.with_layer(layer).init(&device),
                    norm: normed.then(|| norm(filters)),
                    pool: pooled.then(|| MaxPool2dConfig::new([2, 2]).init()),
                    shortcut,
                    relu,
                };
                let side_out = side.div_ceil(stride);
                let output = [count, filters, side_out, side_out];
                let case = format!("{size:?}, policy {index}, followed by {followed:04b}");
                check(block, [count, channels, side, side], output, &case);
            }
        }
    }
}

#[test]
fn depthwise_and_grouped_layers_too() {
    let device = Device::flex();
    for (channels, groups, stride, side) in [
        (21, 21, 2usize, 9usize),
        (64, 64, 1, 8),
        (32, 32, 1, 1),
        (24, 4, 1, 6),
    ] {
        for followed in 0..4 {
            let layer = Conv2dConfig::new([channels, channels], [3, 3])
                .with_stride([stride, stride])
                .with_groups(groups)
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            let block = Block {
                conv: ConvConfig::dense().with_layer(layer).init(&device),
                norm: Some(norm(channels)),
                pool: None,
                shortcut: followed & 1 != 0,
                relu: followed & 2 != 0,
            };
            let side_out = side.div_ceil(stride);
            let output = [3, channels, side_out, side_out];
            let case = format!("{channels} channels in {groups} groups, {followed:02b}");
            check(block, [3, channels, side, side], output, &case);
        }
    }
}

/// Winograd's transform where the padding is not that of the usual 3×3 convolution.
#[test]
fn paddings_of_every_kind() {
    let paddings = [
        (PaddingConfig2d::Valid, [16, 15]),
        (PaddingConfig2d::Explicit(0, 2, 1, 0), [17, 17]),
        (PaddingConfig2d::Explicit(3, 1, 0, 2), [19, 18]),
    ];
    for (padding, [height, width]) in paddings {
        for count in [1, 3] {
            let layer = Conv2dConfig::new([17, 40], [3, 3]).with_padding(padding.clone());
            let block = Block {
                conv: ConvConfig::dense().with_layer(layer).init(&Device::flex()),
                norm: None,
                pool: None,
                shortcut: true,
                relu: true,
            };
            let output = [count, 40, height, width];
            check(
                block,
                [count, 17, 18, 17],
                output,
                &format!("{padding:?}, {count}"),
            );
        }
    }
}

/// A layer of 6 channels and 10 filters.
fn layer() -> LinearConv2d {
    LinearConv2dConfig::new([6, 10], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(2, 0, 1, 1))
        .with_stride([1, 2])
        .with_dilation([2, 1])
        .with_channel_ratio(0.5)
        .with_primary_ratio(0.4)
        .with_evaluation(Evaluation::Factored)
        .init(&Device::flex())
}

fn order<const N: usize>(order: [i64; N]) -> Option<Param<Tensor<1, Int>>> {
    let order = Tensor::from_ints(order, &Device::flex());
    Some(Param::initialized(burn::module::ParamId::new(), order))
}

#[test]
fn orders_of_filters_and_channels_are_kept() {
    let orders = [
        (None, order([5, 1, 3, 0, 2, 4])),
        (order([1, 4, 7, 0, 3, 6, 9, 2, 5, 8]), None),
        // A filter that is shown twice and one that is not; channels that are the same one.
        (
            order([1, 4, 7, 0, 3, 6, 9, 9, 5, 8]),
            order([5, 1, 3, 0, 1, 4]),
        ),
    ];
    for (index, (filters, channels)) in orders.into_iter().enumerate() {
        for normed in [false, true] {
            let mut layer = layer();
            (layer.order, layer.channel_order) = (filters.clone(), channels.clone());
            let block = Block {
                conv: layer.into(),
                norm: normed.then(|| norm(10)),
                pool: None,
                shortcut: false,
                relu: true,
            };
            check(
                block,
                [2, 6, 9, 8],
                [2, 10, 8, 4],
                &format!("orders {index}, {normed}"),
            );
        }
    }
}

#[test]
fn pools_of_every_kind() {
    let pools = [
        MaxPool2dConfig::new([3, 2]).with_strides([2, 1]),
        MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)),
        MaxPool2dConfig::new([2, 2]).with_ceil_mode(true),
        MaxPool2dConfig::new([2, 2]).with_dilation([2, 1]),
    ];
    for (index, pool) in pools.into_iter().enumerate() {
        let block = Block {
            conv: layer().into(),
            norm: Some(norm(10)),
            pool: Some(pool.init()),
            shortcut: true,
            relu: false,
        };
        check(block, [2, 6, 9, 8], [2, 10, 8, 4], &format!("pool {index}"));
    }
}

/// A dense layer that a reparameterization split runs as the layer that it is, not as a dense one.
#[test]
fn a_layer_that_was_split_stays_so() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([32, 64], [3, 3]).init(&device);
    let conv = conv.apply_reparameterization(LinearConv::new(CoefficientsConfig::Full));
    let layer = LinearConv2d::from_reparameterized(&conv).expect("split");
    let images = tensor([1, 32, 9, 9], 1, DType::F32);
    let output = |conv: Conv| Inference::new(conv).forward(images.clone()).into_data();
    let (split, linear) = (output(conv.clone().into()), output(layer.clone().into()));
    split.assert_eq(&linear, true);
    let dense = output(layer.to_conv2d().into());
    assert_ne!(split, dense, "rounding tells them apart");
}

/// Convolutions one behind the other read channels-last maps; other layers of Burn read them too.
#[test]
fn its_output_is_a_tensor_like_any_other() {
    let device = Device::flex();
    let layer = Conv2dConfig::new([6, 10], [3, 3]);
    let conv = ConvConfig::dense().with_layer(layer).init(&device);
    let images = tensor([2, 6, 7, 5], 1, DType::F32);
    let expected = conv.forward(images.clone());
    let output = Inference::new(conv).forward(images);
    let sum = |maps: Tensor<4>| maps.reshape([2, 10, 15]).sum_dim(2).into_data();
    sum(output.clone() * 2.0)
        .assert_approx_eq::<f32>(&sum(expected.clone() * 2.0), Default::default());
    output
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Default::default());
}

#[test]
fn what_is_no_number_stays_so() {
    let device = Device::flex();
    let layer = Conv2dConfig::new([16, 32], [3, 3]).with_padding(PaddingConfig2d::Same);
    for count in [1, 8] {
        let block = Block {
            conv: ConvConfig::dense().with_layer(layer.clone()).init(&device),
            norm: None,
            pool: Some(MaxPool2dConfig::new([2, 2]).init()),
            shortcut: false,
            relu: true,
        };
        let images = Tensor::<4>::full([count, 16, 8, 8], f32::NAN, &device);
        let output = Inference::new(block).forward(images.clone(), &images);
        assert!(output.is_nan().all().into_scalar::<bool>());
    }
}

#[test]
fn an_empty_batch_is_one() {
    let conv = Inference::new(Conv::from(layer()));
    let output = conv.forward(Tensor::zeros([0, 6, 9, 8], &Device::flex()));
    assert_eq!(output.dims(), [0, 10, 8, 4]);
}

/// Elsewhere the convolution is folded, and computes by Burn.
#[test]
fn a_model_in_f64_is_folded() {
    let block = Block {
        conv: layer().into(),
        norm: Some(norm(10)),
        pool: None,
        shortcut: false,
        relu: true,
    };
    let block = in_f64(block);
    let images = tensor([2, 6, 9, 8], 1, DType::F64);
    let expected = block.forward(images.clone(), &images);
    let output = Inference::new(block).forward(images.clone(), &images);
    let error = norm_of(output - expected.clone()) / norm_of(expected);
    assert!(error < 1e-12, "{error}");
}

/// Statistics that cannot be folded stay a layer of their own.
#[test]
fn a_normalization_that_is_not_finite_is_kept() {
    let mut broken = norm(10);
    broken.running_mean = RunningState::new(Tensor::full([10], f32::INFINITY, &Device::flex()));
    let block = Block {
        conv: layer().into(),
        norm: Some(broken),
        pool: None,
        shortcut: false,
        relu: false,
    };
    let images = tensor([2, 6, 9, 8], 1, DType::F32);
    let expected = block.forward(images.clone(), &images);
    let output = Inference::new(block).forward(images.clone(), &images);
    for output in [expected, output] {
        assert!(output.is_nan().all().into_scalar::<bool>());
    }
}

fn packed() -> Block {
    let block = Block {
        conv: layer().into(),
        norm: Some(norm(10)),
        pool: None,
        shortcut: false,
        relu: false,
    };
    (*Inference::new(block)).clone()
}

#[test]
#[should_panic(expected = "Use the model that it was made from")]
fn it_is_not_saved_by_mistake() {
    packed().into_record();
}

#[test]
#[should_panic(expected = "Use the model that it was made from")]
fn it_is_not_trained_by_mistake() {
    packed().train();
}

#[test]
#[should_panic(expected = "Use the model that it was made from")]
fn it_is_not_differentiated_by_mistake() {
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::zeros([1, 6, 9, 8], &device);
    packed().forward(images.clone(), &images);
}

#[test]
#[should_panic(expected = "runs with the normalization of its first call")]
fn it_is_not_run_with_another_normalization() {
    let images = Tensor::<4>::zeros([1, 6, 9, 8], &Device::flex());
    let block = packed();
    block.forward(images.clone(), &images);
    let other = Block {
        norm: Some(norm(10)),
        ..block
    };
    other.forward(images.clone(), &images);
}

/// What a first call panics on, a second one may do right.
#[test]
fn a_first_call_that_panics_loses_nothing() {
    let images = tensor([1, 6, 9, 8], 1, DType::F32);
    let block = Block {
        conv: layer().into(),
        norm: Some(norm(10)),
        pool: None,
        shortcut: false,
        relu: false,
    };
    let expected = block.forward(images.clone(), &images).into_data();
    let block = (*Inference::new(block)).clone();
    let wrong = norm(9);
    let call = || {
        block
            .conv
            .forward_with(images.clone(), Epilogue::new().with_norm(&wrong))
    };
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    let output = block.forward(images.clone(), &images).into_data();
    output.assert_approx_eq::<f32>(&expected, Default::default());
}

#[test]
#[should_panic(expected = "the order names filter 10 of 10")]
fn an_order_of_what_is_not_there_is_refused() {
    let mut layer = layer();
    layer.order = order([1, 4, 7, 0, 3, 6, 9, 2, 5, 10]);
    Inference::new(Conv::from(layer)).forward(Tensor::zeros([1, 6, 9, 8], &Device::flex()));
}

#[test]
#[should_panic(expected = "the order of channels has 7, there are 6")]
fn an_order_of_too_many_channels_is_refused() {
    let mut layer = layer();
    layer.channel_order = order([0, 1, 2, 3, 4, 5, 5]);
    Inference::new(Conv::from(layer)).forward(Tensor::zeros([1, 6, 9, 8], &Device::flex()));
}

#[test]
#[should_panic(expected = "the bias has 12 values, there are 10 filters")]
fn a_bias_of_another_length_is_refused() {
    let mut layer = layer();
    layer.bias = Some(Param::from_tensor(tensor([12], 1, DType::F32)));
    Inference::new(Conv::from(layer)).forward(Tensor::zeros([1, 6, 9, 8], &Device::flex()));
}

#[test]
#[should_panic(expected = "takes maps in F32")]
fn an_input_of_another_type_is_refused() {
    let images = tensor([1, 6, 9, 8], 1, DType::F64);
    Inference::new(Conv::from(layer())).forward(images);
}

#[test]
#[should_panic(expected = "smaller than the windows of the pool")]
fn a_pool_larger_than_the_maps_is_refused() {
    let pool = MaxPool2dConfig::new([9, 2]).init();
    let conv = Inference::new(Conv::from(layer()));
    let images = Tensor::zeros([1, 6, 9, 8], &Device::flex());
    conv.forward_with(images, Epilogue::new().with_max_pool(&pool));
}

#[test]
#[should_panic(expected = "5 channels")]
fn an_input_of_other_channels_is_refused() {
    let conv = Inference::new(Conv::from(layer()));
    conv.forward(Tensor::zeros([1, 5, 9, 8], &Device::flex()));
}

#[test]
#[should_panic(expected = "is smaller than the kernel")]
fn an_input_smaller_than_the_kernel_is_refused() {
    let conv = Inference::new(Conv::from(layer()));
    conv.forward(Tensor::zeros([1, 6, 1, 1], &Device::flex()));
}

#[test]
#[should_panic(expected = "the shortcut has the shape [1, 10, 7, 3]")]
fn a_shortcut_of_another_shape_is_refused() {
    let images = Tensor::<4>::zeros([1, 6, 9, 8], &Device::flex());
    let conv = Inference::new(Conv::from(layer()));
    let shortcut = Tensor::zeros([1, 10, 7, 3], &Device::flex());
    conv.forward_with(images, Epilogue::new().with_shortcut(shortcut));
}
