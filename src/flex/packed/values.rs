//! The values of weights, to be packed.

use burn::tensor::{Int, Tensor};

use super::panels::Panels;

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.dequantize().into_data().iter::<f32>().collect()
}

pub(super) fn matrix(tensor: Tensor<2>) -> Panels {
    let [rows, _] = tensor.dims();
    Panels::new(&values(tensor), rows)
}

pub(super) fn indices(order: Tensor<1, Int>) -> Vec<usize> {
    let order = order.into_data();
    order.iter::<i64>().map(|index| index as usize).collect()
}
