//! The function that a layer computes, from tensors.

use alloc::vec;

use burn::nn::PaddingConfig2d;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

use crate::coefficients::Factors;
#[cfg(feature = "flex")]
use crate::flex;

/// Burn's [`conv2d`](module::conv2d), by this crate's own kernel where it has one: what a
/// materialized [`LinearConv2d`](crate::LinearConv2d) runs with its kernel.
///
/// With the feature `flex` there is a kernel for tensors on Burn's flex backend, in f32 and f64,
/// with one group. Everything else is Burn's `conv2d`.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - weight: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
/// - bias: `[channels_out]`
/// - output: `[batch_size, channels_out, height_out, width_out]`
///
/// # Panics
/// Panics on shapes that do not fit, and on an input smaller than the kernel. Burn's does so on some
/// backends, and computes something on others.
///
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
    linear_conv2d(input, weight, None, None, bias, options)
}

/// The convolution with `filters` and, given factors, with their linear combinations besides.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - filters: `[m, channels_in / groups, kernel_height, kernel_width]`
/// - order: `[m + n]`, where output `i` is not that of filter `i` but that of filter `order[i]`
/// - bias: `[m + n]`, as the outputs
/// - output: `[batch_size, m + n, height_out, width_out]`
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    order: Option<Tensor<1, Int>>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let secondary = factors.as_ref().map_or(0, Factors::secondary);
    check_shapes(&input, &filters, secondary, bias.as_ref(), &options);
    // As Burn's convolution does with quantized weights.
    let filters = filters.dequantize();
    let bias = bias.map(Tensor::dequantize);
    #[cfg(feature = "flex")]
    if flex::supports(&input, &filters, &options) {
        return flex::linear_conv2d(input, filters, factors, order, bias, options);
    }
    by_tensor_operations(input, filters, factors, order, bias, options)
}

/// # Panics
/// Panics, with the sizes, where they are not those of a convolution.
fn check_shapes(
    input: &Tensor<4>,
    filters: &Tensor<4>,
    secondary: usize,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
) {
    let [_, channels, input_height, input_width] = input.dims();
    let [primary, filter_channels, kernel_height, kernel_width] = filters.dims();
    let groups = options.groups;
    assert_eq!(
        channels,
        filter_channels * groups,
        "the input has {channels} channels, the filters have {filter_channels} in each of \
         {groups} groups"
    );
    let filters = primary + secondary;
    if let Some(bias) = bias {
        let [length] = bias.dims();
        assert_eq!(
            length, filters,
            "the bias has {length} values, there are {filters} filters"
        );
    }
    let (size, kernel) = ([input_height, input_width], [kernel_height, kernel_width]);
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

/// [`linear_conv2d`] on any backend, in few operations: on a GPU a convolution, a product for each
/// factor, and a last kernel, into which fusion puts the concatenation and the bias. An order is
/// one kernel more. Burn has no way to let the product write its maps beside the primary ones.
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

/// Padding around an input of the given size, `[(top, bottom), (left, right)]`: what Burn's
/// `PaddingConfig2d` stands for, which Burn calculates in private.
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

    /// A leaf of explicit f64 values that depend on the seed alone.
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

    /// The path of every other backend against the kernel: output and all gradients.
    #[test]
    fn tensor_operations_equal_the_kernel() {
        type Path = fn(
            Tensor<4>,
            Tensor<4>,
            Option<Factors>,
            Option<Tensor<1, Int>>,
            Option<Tensor<1>>,
            ConvOptions<2>,
        ) -> Tensor<4>;
        let options = ConvOptions::new_with_padding([2, 1], [(1, 0), (1, 1)], [1, 1], 1);
        let ranks = [None, Some(2)].into_iter();
        let cases = ranks.flat_map(|rank| {
            [true, false].map(|bias| [true, false].map(|order| (rank, bias, order)))
        });
        for (rank, bias, order) in cases.flatten() {
            let outcome = |path: Path| {
                let (input, filters) = (leaf([3, 4, 7, 6], 1), leaf([5, 4, 3, 3], 2));
                let row = rank.map(|rank| leaf([rank, 5], 3));
                let column = leaf([6, rank.unwrap_or(5)], 4);
                let bias = bias.then(|| leaf([11], 5));
                let factors = Factors {
                    row: row.clone(),
                    column: column.clone(),
                };
                let order = order.then(|| {
                    Tensor::from_ints([3, 10, 0, 7, 4, 2, 9, 1, 8, 5, 6], &input.device())
                });
                let output = path(
                    input.clone(),
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
                outcome.extend(row.map(|row| to_vec(row.grad(&gradients).expect("gradient"))));
                outcome.extend(bias.map(|bias| to_vec(bias.grad(&gradients).expect("gradient"))));
                outcome
            };
            let (kernel, operations) =
                (outcome(flex::linear_conv2d), outcome(by_tensor_operations));
            for (index, (kernel, operations)) in kernel.iter().zip(&operations).enumerate() {
                assert_eq!(kernel.len(), operations.len());
                for (a, b) in kernel.iter().zip(operations) {
                    assert!(
                        (a - b).abs() < 1e-9,
                        "{index}: {a} and {b}, rank {rank:?}, order {order}"
                    );
                }
            }
        }
    }
}
