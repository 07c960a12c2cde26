//! The values of weights, to be packed.

use burn::tensor::{Int, Tensor};

use super::panels::Panels;
use crate::flex::to_indices;

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.dequantize().into_data().iter::<f32>().collect()
}

pub(super) fn matrix(tensor: Tensor<2>) -> Panels {
    let [rows, _] = tensor.dims();
    Panels::new(&values(tensor), rows)
}

/// The values of an order of so many filters or channels.
///
/// # Panics
/// Panics unless there are so many, and on one that is not there.
pub(super) fn indices(order: Tensor<1, Int>, count: usize) -> Vec<usize> {
    let [length] = order.dims();
    assert_eq!(
        length, count,
        "the order has {length} filters, there are {count}"
    );
    to_indices(order, count)
}

/// The values of a bias, or zeros.
///
/// # Panics
/// Panics unless there are as many as filters.
pub(super) fn bias(bias: Option<Tensor<1>>, filters: usize) -> Vec<f32> {
    let bias = bias.map_or_else(|| vec![0.0; filters], values);
    let length = bias.len();
    assert_eq!(
        length, filters,
        "the bias has {length} values, there are {filters} filters"
    );
    bias
}
