//! The convolutions that the layers compute, as functions of tensors.

use alloc::vec;

use burn::nn::PaddingConfig2d;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

use crate::coefficients::Factors;
#[cfg(feature = "flex")]
use crate::flex;

/// A 2D convolution, as Burn's [`conv2d`](module::conv2d). Where this crate has its own CPU code for
/// the convolution, that code runs in place of Burn's.
///
/// The own code needs the feature `flex`, tensors on Burn's flex backend in f32 or f64, and one
/// group. In all other cases this function calls Burn's `conv2d`.
///
/// Memory of the own code:
/// - A call takes at most 32 MiB of scratch memory on each thread of rayon's pool, for images of any
///   size. The thread keeps this memory for the next call. There is one exception: where one output
///   pixel needs more than 524,288 values of scratch memory (262,144 in f64), a call takes more
///   than 32 MiB, and frees the memory at its end.
/// - In the backward pass each thread sums the gradients of weights, coefficients and bias in
///   memory of its own. All these sums take at most 256 MiB. Where they would take more, the
///   threads compute one image at a time together.
///
/// The number of threads decides the order in which gradients are summed. So the last digits of a
/// gradient depend on the number of threads. With the same number they are the same in every run.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - weight: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
/// - bias: `[channels_out]`
/// - output: `[batch_size, channels_out, height_out, width_out]`
///
/// # Panics
/// Panics if the shapes do not fit each other, or if the input with its padding is smaller than the
/// kernel. Burn's `conv2d` does not check this on every backend.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor, module, ops::ConvOptions};
///
/// let device = Device::default();
/// let input = Tensor::arange(0..50, &device).float().reshape([1, 2, 5, 5]);
/// let weight = Tensor::arange(0..54, &device).float().reshape([3, 2, 3, 3]);
/// let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
///
/// let output = linearconv::conv2d(input.clone(), weight.clone(), None, options.clone());
/// let burns = module::conv2d(input, weight, None, options);
/// output.into_data().assert_eq(&burns.into_data(), true);
/// ```
pub fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    linear_conv2d(input, None, weight, None, None, bias, options)
}

/// The convolution of a layer, in three steps:
/// 1. If `channels` is given, the channels of every input pixel are multiplied by this matrix.
/// 2. The input is convolved with the `m` filters.
/// 3. If `factors` are given, they combine the `m` feature maps to `n` more feature maps.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - channels: `[mixed, channels_in]`, only with one group
/// - filters: `[m, channels_in / groups, kernel_height, kernel_width]`; with a matrix of channels
///   `[m, mixed, kernel_height, kernel_width]`
/// - order: `[m + n]`: output `i` is the feature map of filter `order[i]`. Several outputs may show
///   the same filter, and a filter may not be shown at all.
/// - bias: `[m + n]`, in the order of the outputs
/// - output: `[batch_size, m + n, height_out, width_out]`
///
/// # Panics
/// Panics if the shapes do not fit each other, or if the input with its padding is smaller than the
/// kernel. On the flex backend it also panics if the order names a filter that does not exist.
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    channels: Option<Tensor<2>>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    order: Option<Tensor<1, Int>>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let secondary = factors.as_ref().map_or(0, Factors::secondary);
    check_shapes(
        &input,
        channels.as_ref(),
        &filters,
        secondary,
        order.as_ref(),
        bias.as_ref(),
        &options,
    );
    let input = match channels {
        Some(channels) => mix_channels(input, channels),
        None => input,
    };
    // Burn's convolution converts quantized weights too.
    let filters = filters.dequantize();
    let bias = bias.map(Tensor::dequantize);
    #[cfg(feature = "flex")]
    if flex::supports(&input, &filters, &options) {
        return flex::linear_conv2d(input, filters, factors, order, bias, options);
    }
    by_tensor_operations(input, filters, factors, order, bias, options)
}

/// Multiplies the channels of every pixel by a matrix, by a 1×1 convolution.
///
/// This crate's CPU code does this in a separate pass too. Mixing a few images at a time, just
/// before they are convolved, takes the same time within 5 % if the mixed images are kept for the
/// backward pass. It is up to 7 % slower if the backward pass mixes the images again.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height, width]`
/// - channels: `[mixed, channels_in]`
/// - output: `[batch_size, mixed, height, width]`
fn mix_channels(input: Tensor<4>, channels: Tensor<2>) -> Tensor<4> {
    let [mixed, channels_in] = channels.dims();
    let filters = channels.dequantize().reshape([mixed, channels_in, 1, 1]);
    let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    conv2d(input, filters, None, options)
}

/// # Panics
/// Panics if the shapes do not fit each other. The message has the sizes.
fn check_shapes(
    input: &Tensor<4>,
    channels: Option<&Tensor<2>>,
    filters: &Tensor<4>,
    secondary: usize,
    order: Option<&Tensor<1, Int>>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
) {
    let [_, channels_in, _, _] = input.dims();
    let [primary, filter_channels, kernel_height, kernel_width] = filters.dims();
    let groups = options.groups;
    if let Some(size) = channels.map(Tensor::dims) {
        assert_eq!(groups, 1, "a matrix mixes the channels of one group");
        assert_eq!(
            size,
            [filter_channels, channels_in],
            "the matrix of channels is {size:?}, the filters have {filter_channels} channels, the \
             input has {channels_in}"
        );
    } else {
        assert_eq!(
            channels_in,
            filter_channels * groups,
            "the input has {channels_in} channels, the filters have {filter_channels} in each of \
             {groups} groups"
        );
    }
    assert!(
        !filters.dims().contains(&0),
        "filters of {:?}: no size can be 0",
        filters.dims()
    );
    assert!(
        primary.is_multiple_of(groups),
        "{primary} filters cannot be divided among {groups} groups"
    );
    check_outputs(primary + secondary, order, bias);
    check_reach(input, [kernel_height, kernel_width], options);
}

/// # Panics
/// Panics if the order or the bias has another length than there are filters. The message has both
/// numbers.
pub(crate) fn check_outputs(
    filters: usize,
    order: Option<&Tensor<1, Int>>,
    bias: Option<&Tensor<1>>,
) {
    if let Some(order) = order {
        let [length] = order.dims();
        assert_eq!(
            length, filters,
            "the order has {length} filters, there are {filters}"
        );
    }
    if let Some(bias) = bias {
        let [length] = bias.dims();
        assert_eq!(
            length, filters,
            "the bias has {length} values, there are {filters} filters"
        );
    }
}

/// # Panics
/// Panics if the input with its padding is smaller than the kernel, or if a size of the kernel, a stride
/// or a dilation is zero. The message has the sizes.
pub(crate) fn check_reach(input: &Tensor<4>, kernel: [usize; 2], options: &ConvOptions<2>) {
    let [_, _, height, width] = input.dims();
    let (stride, dilation) = (options.stride, options.dilation);
    assert!(
        [kernel, stride, dilation]
            .iter()
            .all(|sizes| !sizes.contains(&0)),
        "a kernel of {kernel:?} with stride {stride:?} and dilation {dilation:?}: no size can be 0"
    );
    let size = [height, width];
    for axis in [0, 1] {
        let (begin, end) = options.padding[axis];
        let reach = options.dilation[axis] * (kernel[axis] - 1) + 1;
        assert!(
            size[axis] > 0 && size[axis] + begin + end >= reach,
            "an input of {size:?} pixels with padding {:?} is smaller than the kernel, \
             {kernel:?} with dilation {:?}",
            options.padding,
            options.dilation
        );
    }
}

/// [`linear_conv2d`] by Burn's tensor operations, on any backend. The channels are already mixed.
///
/// On a GPU these are few kernels: the convolution, one product for each factor, and one last
/// kernel. Fusion joins the concatenation and the bias in the last kernel. An order is one more
/// kernel. Burn has no operation that writes the secondary maps directly behind the primary maps.
fn by_tensor_operations(
    input: Tensor<4>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    order: Option<Tensor<1, Int>>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let Some(factors) = factors else {
        return module::conv2d(input, filters, bias, options);
    };
    let primary = module::conv2d(input, filters, None, options);
    let secondary = factors.combine_maps(primary.clone());
    let output = Tensor::cat(vec![primary, secondary], 1);
    let output = match order {
        Some(order) => output.select(1, order),
        None => output,
    };
    match bias {
        Some(bias) => output + bias.reshape([1, -1, 1, 1]),
        None => output,
    }
}

/// The options for a layer's convolution of this input. `Same` padding depends on the size of the
/// input.
pub(crate) fn options(
    input: &Tensor<4>,
    padding_config: &PaddingConfig2d,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> ConvOptions<2> {
    let [_, _, height, width] = input.dims();
    let padding = padding(padding_config, [height, width], kernel_size, stride);
    ConvOptions::new_with_padding(stride, padding, dilation, groups)
}

/// The padding of an input of this size in pixels, `[(top, bottom), (left, right)]`. It follows
/// Burn's `PaddingConfig2d`, whose own calculation is private to Burn.
pub(crate) fn padding(
    padding: &PaddingConfig2d,
    input: [usize; 2],
    kernel_size: [usize; 2],
    stride: [usize; 2],
) -> [(usize, usize); 2] {
    match padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(*top, *bottom), (*left, *right)],
        PaddingConfig2d::Same => [0, 1].map(|axis| {
            let output = input[axis].div_ceil(stride[axis]);
            let covered = output.saturating_sub(1) * stride[axis] + kernel_size[axis];
            let total = covered.saturating_sub(input[axis]);
            (total / 2, total - total / 2)
        }),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use alloc::vec::Vec;

    use burn::tensor::{DType, Device, TensorData};

    use super::*;

    /// A leaf tensor in f64. The seed decides its values.
    fn leaf<const D: usize>(shape: [usize; D], seed: usize) -> Tensor<D> {
        let count: usize = shape.iter().product();
        let value = |index: usize| ((index * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0;
        let values: Vec<f64> = (0..count).map(value).collect();
        let device = Device::flex().autodiff();
        Tensor::from_data(TensorData::new(values, shape), (&device, DType::F64)).require_grad()
    }

    fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_to_vec_as().expect("values")
    }

    fn options(groups: usize) -> ConvOptions<2> {
        ConvOptions::new_with_padding([2, 1], [(1, 0), (1, 1)], [1, 1], groups)
    }

    fn operations(
        input: Tensor<4>,
        channels: Option<Tensor<2>>,
        filters: Tensor<4>,
        factors: Option<Factors>,
        order: Option<Tensor<1, Int>>,
        bias: Option<Tensor<1>>,
        options: ConvOptions<2>,
    ) -> Tensor<4> {
        let input = match channels {
            Some(column) => Factors { row: None, column }.combine_maps(input),
            None => input,
        };
        by_tensor_operations(input, filters, factors, order, bias, options)
    }

    /// Compares this crate's CPU code with the tensor operations: the output and all gradients.
    #[test]
    fn tensor_operations_equal_the_kernel() {
        type Path = fn(
            Tensor<4>,
            Option<Tensor<2>>,
            Tensor<4>,
            Option<Factors>,
            Option<Tensor<1, Int>>,
            Option<Tensor<1>>,
            ConvOptions<2>,
        ) -> Tensor<4>;
        const ORDERS: [Option<[i64; 11]>; 3] = [
            None,
            Some([3, 10, 0, 7, 4, 2, 9, 1, 8, 5, 6]),
            // Some filters are shown several times, and others not at all.
            Some([3, 10, 10, 7, 3, 2, 9, 1, 8, 5, 3]),
        ];
        // Whole images, parts of rows, and enough work for several threads; with and without a stride.
        let same = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let inputs = [
            ([3, 4, 7, 6], options(1)),
            ([1, 4, 4, 600], options(1)),
            ([1, 4, 3, 600], same()),
            ([5, 4, 20, 300], same()),
        ];
        let cases = (0..8).flat_map(|case| ORDERS.map(|order| (case, order)));
        let cases = cases.flat_map(|case| inputs.clone().map(|input| (case, input)));
        for ((case, order), (size, options)) in cases {
            let [channels, low_rank, bias] = [1, 2, 4].map(|bit| case & bit != 0);
            let outcome = |path: Path| {
                let input = leaf(size, 1);
                let channels = channels.then(|| leaf([3, 4], 7));
                let filters = leaf([5, if channels.is_some() { 3 } else { 4 }, 3, 3], 2);
                let row = low_rank.then(|| leaf([2, 5], 3));
                let column = leaf([6, if low_rank { 2 } else { 5 }], 4);
                let bias = bias.then(|| leaf([11], 5));
                let factors = Factors {
                    row: row.clone(),
                    column: column.clone(),
                };
                let order = order.map(|order| Tensor::from_ints(order, &input.device()));
                let output = path(
                    input.clone(),
                    channels.clone(),
                    filters.clone(),
                    Some(factors),
                    order,
                    bias.clone(),
                    options.clone(),
                );
                let weights = leaf(output.dims(), 6).detach();
                let gradients = (output.clone() * weights).sum().backward();
                let mut outcome = vec![
                    to_vec(output),
                    to_vec(input.grad(&gradients).expect("gradient")),
                    to_vec(filters.grad(&gradients).expect("gradient")),
                    to_vec(column.grad(&gradients).expect("gradient")),
                ];
                let matrices = [channels, row].into_iter().flatten();
                outcome.extend(
                    matrices.map(|matrix| to_vec(matrix.grad(&gradients).expect("gradient"))),
                );
                outcome.extend(bias.map(|bias| to_vec(bias.grad(&gradients).expect("gradient"))));
                outcome
            };
            let (kernel, operations) = (outcome(linear_conv2d), outcome(operations));
            for (index, (kernel, operations)) in kernel.iter().zip(&operations).enumerate() {
                assert_eq!(kernel.len(), operations.len());
                for (a, b) in kernel.iter().zip(operations) {
                    assert!(
                        (a - b).abs() < 1e-9,
                        "{index}: {a} and {b}, {size:?}, channels {channels}, low rank {low_rank}, \
                         bias {bias}, order {order:?}"
                    );
                }
            }
        }
    }

    /// The gradient of coefficients needs the maps without bias. In f32, the output minus a large bias
    /// would leave no digits of the maps.
    #[test]
    fn a_large_bias_does_not_round_the_gradient_of_coefficients() {
        let single = |tensor: Tensor<4>, scale: f64| (tensor.detach() * scale).cast(DType::F32);
        let gradient = |bias: f64| {
            let input = single(leaf([2, 4, 9, 9], 1), 1e-3);
            let filters = single(leaf([5, 4, 3, 3], 2), 1.0);
            let device = input.device();
            let column = leaf([6, 5], 4).into_data();
            let column = Tensor::<2>::from_data(column, (&device, DType::F32)).require_grad();
            let factors = Factors {
                row: None,
                column: column.clone(),
            };
            let bias = Tensor::full([11], bias, (&device, DType::F32));
            let output = linear_conv2d(
                input,
                None,
                filters,
                Some(factors),
                None,
                Some(bias),
                options(1),
            );
            let weights = leaf(output.dims(), 6).detach().cast(DType::F32);
            let gradients = (output * weights).sum().backward();
            to_vec(column.grad(&gradients).expect("gradient"))
        };
        assert_eq!(gradient(1e4), gradient(0.0));
    }

    #[test]
    #[should_panic(expected = "the order names filter 11 of 11")]
    fn an_order_of_other_filters_is_refused() {
        with_order([3, 11, 0, 7, 4, 2, 9, 1, 8, 5, 6]);
    }

    #[test]
    #[should_panic(expected = "the order has 10 filters, there are 11")]
    fn an_order_of_fewer_filters_is_refused() {
        with_order([3, 0, 7, 4, 2, 9, 1, 8, 5, 6]);
    }

    fn with_order<const N: usize>(order: [i64; N]) {
        let input = leaf([1, 4, 7, 6], 1);
        let order = Tensor::from_ints(order, &input.device());
        let factors = Factors {
            row: None,
            column: leaf([6, 5], 4),
        };
        let filters = leaf([5, 4, 3, 3], 2);
        linear_conv2d(
            input,
            None,
            filters,
            Some(factors),
            Some(order),
            None,
            options(1),
        );
    }

    /// Applies filters of 3 channels to an input of 4 channels.
    fn mix(channels: [usize; 2], groups: usize) -> Tensor<4> {
        let (input, filters) = (leaf([1, 4, 7, 6], 1), leaf([5, 3, 3, 3], 2));
        let channels = Some(leaf(channels, 3));
        linear_conv2d(input, channels, filters, None, None, None, options(groups))
    }

    #[test]
    #[should_panic(
        expected = "the matrix of channels is [4, 3], the filters have 3 channels, the \
                               input has 4"
    )]
    fn a_matrix_of_other_channels_panics() {
        mix([4, 3], 1);
    }

    #[test]
    #[should_panic(expected = "a matrix mixes the channels of one group")]
    fn a_matrix_with_groups_panics() {
        mix([3, 4], 2);
    }
}
