//! The function that a layer computes, from tensors.

use alloc::vec;

use burn::nn::PaddingConfig2d;
use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

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
/// Panics, as Burn's does, on shapes that do not fit, and on an input smaller than the kernel.
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
    linear_conv2d(input, weight, None, bias, options)
}

/// The convolution with `filters` and, given factors, with their linear combinations besides.
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - filters: `[m, channels_in / groups, kernel_height, kernel_width]`
/// - bias: `[m + n]`
/// - output: `[batch_size, m + n, height_out, width_out]`
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::supports(&input, &filters, &options) {
        return flex::linear_conv2d(input, filters, factors, bias, options);
    }
    let Some(factors) = factors else {
        return module::conv2d(input, filters, bias, options);
    };
    let primary = module::conv2d(input, filters, None, options);
    let secondary = factors.combine_maps(primary.clone());
    let output = Tensor::cat(vec![primary, secondary], 1);
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
