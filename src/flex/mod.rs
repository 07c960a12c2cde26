//! A kernel of our own for Burn's flex backend.
//!
//! Burn's convolution on flex lays out weights and input anew at every call, and extracts patches
//! for half the filters at the cost of all. Here weights are used as they are stored, patches are
//! extracted for a few hundred pixels at a time, and secondary maps computed while the primary
//! ones are in the cache.

mod backward;
mod call;
mod extension;
mod forward;
mod geometry;
mod operands;
mod patches;
mod product;
mod reorder;
mod tiles;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Int, Tensor};

use crate::coefficients::Factors;
use extension::LinearConvBackend;
use reorder::inverse;

/// Whether the kernel computes this convolution.
pub(crate) fn supports(input: &Tensor<4>, primary: &Tensor<4>, options: &ConvOptions<2>) -> bool {
    is_ours(input) && input.dtype() == primary.dtype() && options.groups == 1
}

/// Whether a tensor is on the backend and of a type that the kernel is for.
pub(crate) fn is_ours(tensor: &Tensor<4>) -> bool {
    matches!(
        tensor.device().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    ) && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// [`convolution::reorder_channels`](crate::convolution::reorder_channels) as one operation.
///
/// # Panics
/// Panics unless the order holds every channel once.
pub(crate) fn reorder_channels(images: Tensor<4>, order: Tensor<1, Int>) -> Tensor<4> {
    let order = order
        .try_to_vec_as::<i64>()
        .expect("the values of an order");
    let order: Vec<usize> = order.into_iter().map(|channel| channel as usize).collect();
    assert_eq!(order.len(), images.dims()[1], "an order of all channels");
    let undo = inverse(&order);
    Tensor::from_dispatch(Dispatch::reorder_channels(
        images.into_dispatch(),
        order,
        undo,
    ))
}

/// [`convolution::linear_conv2d`](crate::convolution::linear_conv2d) as one operation.
///
/// # Panics
/// Panics on shapes that do not fit.
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    primary: Tensor<4>,
    factors: Option<Factors>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let (row, column) = match factors {
        Some(Factors { row, column }) => (row, Some(column)),
        None => (None, None),
    };
    Tensor::from_dispatch(Dispatch::linear_conv2d(
        input.into_dispatch(),
        primary.into_dispatch(),
        row.map(Tensor::into_dispatch).into(),
        column.map(Tensor::into_dispatch).into(),
        bias.map(Tensor::into_dispatch).into(),
        options,
    ))
}
