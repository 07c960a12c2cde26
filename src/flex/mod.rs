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
mod tiles;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use crate::coefficients::Factors;
use extension::LinearConvBackend;

/// Whether the kernel computes this convolution.
pub(crate) fn supports(input: &Tensor<4>, primary: &Tensor<4>, options: &ConvOptions<2>) -> bool {
    matches!(
        input.device().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    ) && matches!(input.dtype(), DType::F32 | DType::F64)
        && input.dtype() == primary.dtype()
        && options.groups == 1
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
