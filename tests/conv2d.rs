//! `conv2d` equals Burn's, and `LinearConv2d` the dense layer, also where the kernel of the flex
//! backend divides the work: several images to a tile, several tiles to an image, fewer images
//! than threads.

mod common;

use burn::nn::PaddingConfig2d::Explicit;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor, module};
use linearconv::{CoefficientsConfig, Evaluation, LinearConv2dConfig, conv2d};

use common::{assert_close, device, layer, tensor, to_vec, tolerances, weighted_sum};

/// Batch size, channels, filters; height and width; kernel.
struct Sizes([usize; 3], [usize; 2], [usize; 2]);

type Convolution = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>;

/// The output and the gradients of input, weight and bias.
fn outcome(
    convolution: Convolution,
    sizes: &Sizes,
    options: &ConvOptions<2>,
    bias: bool,
) -> Vec<Vec<f64>> {
    let Sizes([batch, channels, filters], [height, width], [kernel_height, kernel_width]) = *sizes;
    let device = device().autodiff();
    let input = tensor([batch, channels, height, width], 1, &device).require_grad();
    let weight_size = [
        filters,
        channels / options.groups,
        kernel_height,
        kernel_width,
    ];
    let weight = tensor(weight_size, 2, &device).require_grad();
    let bias = bias.then(|| tensor([filters], 3, &device).require_grad());
    let output = convolution(input.clone(), weight.clone(), bias.clone(), options.clone());
    let gradients = weighted_sum(output.clone()).backward();
    let mut outcome = vec![
        to_vec(output),
        to_vec(input.grad(&gradients).expect("gradient of the input")),
        to_vec(weight.grad(&gradients).expect("gradient of the weight")),
    ];
    outcome.extend(bias.map(|bias| to_vec(bias.grad(&gradients).expect("gradient of the bias"))));
    outcome
}

#[test]
fn conv2d_is_burns() {
    let same = [(1, 1), (1, 1)];
    let none = [(0, 0), (0, 0)];
    let cases = [
        // Several images to a tile, and a last tile with fewer.
        (Sizes([41, 3, 4], [4, 4], [3, 3]), [1, 1], same, [1, 1], 1),
        (Sizes([70, 2, 3], [2, 2], [3, 3]), [1, 1], same, [1, 1], 1),
        (Sizes([5, 2, 3], [1, 1], [3, 3]), [1, 1], same, [1, 1], 1),
        // Several tiles to an image; one image, so that the threads share it.
        (Sizes([3, 2, 4], [19, 23], [3, 3]), [1, 1], same, [1, 1], 1),
        (Sizes([1, 5, 4], [19, 23], [3, 3]), [1, 1], same, [1, 1], 1),
        (Sizes([2, 2, 3], [3, 300], [3, 3]), [1, 1], same, [1, 1], 1),
        (Sizes([1, 2, 3], [40, 41], [3, 3]), [1, 1], same, [1, 1], 1),
        // Enough work to be shared: by images, and within one image of several tiles.
        (
            Sizes([5, 24, 40], [21, 20], [3, 3]),
            [1, 1],
            same,
            [1, 1],
            1,
        ),
        (
            Sizes([1, 24, 40], [40, 41], [3, 3]),
            [1, 1],
            same,
            [1, 1],
            1,
        ),
        (
            Sizes([1, 24, 40], [60, 61], [3, 3]),
            [2, 2],
            same,
            [1, 1],
            1,
        ),
        (
            Sizes([1, 64, 72], [40, 41], [1, 1]),
            [1, 1],
            none,
            [1, 1],
            1,
        ),
        // Rows of input and output out of step.
        (Sizes([3, 2, 4], [19, 23], [3, 3]), [2, 2], same, [1, 1], 1),
        (
            Sizes([3, 2, 4], [9, 8], [3, 2]),
            [1, 3],
            [(2, 0), (0, 3)],
            [1, 2],
            1,
        ),
        (Sizes([3, 2, 4], [9, 8], [3, 3]), [1, 1], none, [2, 1], 1),
        (
            Sizes([3, 2, 4], [6, 6], [5, 5]),
            [1, 1],
            [(4, 4), (4, 4)],
            [1, 1],
            1,
        ),
        // In step, with taps that see padding alone.
        (
            Sizes([3, 2, 4], [2, 3], [5, 7]),
            [1, 1],
            [(2, 2), (3, 3)],
            [1, 1],
            1,
        ),
        (
            Sizes([3, 2, 4], [4, 2], [3, 3]),
            [1, 1],
            [(4, 4), (4, 4)],
            [4, 4],
            1,
        ),
        (
            Sizes([3, 2, 4], [5, 4], [3, 3]),
            [1, 1],
            [(0, 2), (2, 0)],
            [1, 1],
            1,
        ),
        // Pointwise.
        (Sizes([4, 6, 5], [7, 5], [1, 1]), [1, 1], none, [1, 1], 1),
        (Sizes([4, 6, 5], [7, 5], [1, 1]), [2, 2], none, [1, 1], 1),
        // Grouped: Burn's own.
        (Sizes([2, 4, 6], [5, 5], [3, 3]), [1, 1], same, [1, 1], 2),
    ];
    for (sizes, stride, padding, dilation, groups) in &cases {
        let options = ConvOptions::new_with_padding(*stride, *padding, *dilation, *groups);
        for bias in [false, true] {
            let ours = outcome(conv2d, sizes, &options, bias);
            let burns = outcome(module::conv2d, sizes, &options, bias);
            let Sizes(channels, size, kernel) = sizes;
            let name = format!("{channels:?} {size:?} {kernel:?} {options:?}, bias {bias}");
            for (ours, burns) in ours.iter().zip(&burns) {
                assert_close(ours, burns, tolerances().sums, &name);
            }
        }
    }
}

#[test]
fn layers_equal_dense_ones_however_the_work_is_divided() {
    let device = device().autodiff();
    for coefficients in [
        CoefficientsConfig::Full,
        CoefficientsConfig::LowRank { rank: 3 },
    ] {
        for (batch, side) in [(1, 4), (1, 37), (7, 21), (37, 4)] {
            let config = LinearConv2dConfig::new([24, 40], [3, 3])
                .with_padding(Explicit(1, 1, 1, 1))
                .with_coefficients(coefficients);
            let layer = layer(&config, &device);
            let outcome = |evaluation| {
                let layer = layer.clone().with_evaluation(evaluation);
                let input = tensor([batch, 24, side, side], 3, &device).require_grad();
                let output = layer.forward(input.clone());
                let gradients = weighted_sum(output.clone()).backward();
                let primary = layer.primary.val().grad(&gradients).expect("gradient");
                let input = input.grad(&gradients).expect("gradient");
                [to_vec(output), to_vec(primary), to_vec(input)]
            };
            let factored = outcome(Evaluation::Factored);
            let materialized = outcome(Evaluation::Materialized);
            for (factored, materialized) in factored.iter().zip(&materialized) {
                let name = format!("{coefficients:?}, batch {batch}, side {side}");
                assert_close(factored, materialized, tolerances().long_sums, &name);
            }
        }
    }
}

/// Nothing is computed for what is not trained, and that changes nothing else.
#[test]
fn gradients_do_not_depend_on_what_else_is_trained() {
    let device = device().autodiff();
    let config = LinearConv2dConfig::new([3, 10], [3, 3])
        .with_coefficients(CoefficientsConfig::LowRank { rank: 3 })
        .with_evaluation(Evaluation::Factored);
    let trained = layer(&config, &device);
    let gradient_of_primary = |layer: &linearconv::LinearConv2d, input: Tensor<4>| {
        let gradients = weighted_sum(layer.forward(input)).backward();
        to_vec(layer.primary.val().grad(&gradients).expect("gradient"))
    };
    let input = tensor([2, 3, 6, 6], 3, &device);
    let expected = gradient_of_primary(&trained, input.clone().require_grad());

    let mut frozen = trained.clone();
    frozen.coefficients = burn::module::Module::no_grad(frozen.coefficients);
    frozen.bias = frozen.bias.map(|bias| bias.set_require_grad(false));
    assert_eq!(gradient_of_primary(&frozen, input), expected);
}

#[test]
#[should_panic(expected = "smaller than the kernel")]
fn an_input_smaller_than_the_kernel_panics() {
    let layer = LinearConv2dConfig::new([3, 8], [3, 3]).init(&device());
    layer.forward(tensor([1, 3, 2, 2], 1, &device()).cast(DType::F32));
}

#[test]
#[should_panic(expected = "smaller than the kernel")]
fn an_input_without_rows_panics() {
    let options = ConvOptions::new([1, 1], [2, 2], [1, 1], 1);
    let [input, weight] = [
        tensor([1, 2, 0, 5], 1, &device()),
        tensor([3, 2, 3, 3], 2, &device()),
    ];
    conv2d(input, weight, None, options);
}

#[test]
#[should_panic(expected = "channels")]
fn an_input_of_other_channels_panics() {
    let layer = LinearConv2dConfig::new([3, 8], [3, 3]).init(&device());
    layer.forward(tensor([1, 4, 5, 5], 1, &device()).cast(DType::F32));
}

#[test]
#[should_panic(expected = "the bias has 2 values, there are 3 filters")]
fn a_bias_of_another_length_panics() {
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let [input, weight] = [
        tensor([1, 2, 5, 5], 1, &device()),
        tensor([3, 2, 3, 3], 2, &device()),
    ];
    conv2d(input, weight, Some(tensor([2], 3, &device())), options);
}

#[test]
fn an_empty_batch_has_an_empty_output_and_no_gradient() {
    let sizes = Sizes([0, 2, 3], [5, 4], [3, 3]);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let [output, input, weight, bias] = outcome(conv2d, &sizes, &options, true)
        .try_into()
        .expect("an output and three gradients");
    assert!(output.is_empty() && input.is_empty());
    assert_eq!((weight, bias), (vec![0.0; 54], vec![0.0; 3]));
    let burns = module::conv2d(
        tensor([0, 2, 5, 4], 1, &device()),
        tensor([3, 2, 3, 3], 2, &device()),
        None,
        options,
    );
    assert_eq!(burns.dims(), [0, 3, 5, 4]);
}

#[test]
#[should_panic(expected = "3 filters cannot be divided among 2 groups")]
fn filters_that_the_groups_do_not_divide_panic() {
    let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 2);
    let [input, weight] = [
        tensor([1, 4, 5, 5], 1, &device()),
        tensor([3, 2, 1, 1], 2, &device()),
    ];
    conv2d(input, weight, None, options);
}

#[test]
#[should_panic(expected = "filters of [3, 2, 0, 3]: no size can be 0")]
fn a_kernel_without_rows_panics() {
    let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    let [input, weight] = [
        tensor([1, 2, 5, 5], 1, &device()),
        tensor([3, 2, 0, 3], 2, &device()),
    ];
    conv2d(input, weight, None, options);
}

#[test]
#[should_panic(expected = "stride [0, 1]")]
fn a_stride_of_zero_panics() {
    let mut options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    options.stride = [0, 1];
    let [input, weight] = [
        tensor([1, 2, 5, 5], 1, &device()),
        tensor([3, 2, 3, 3], 2, &device()),
    ];
    conv2d(input, weight, None, options);
}
