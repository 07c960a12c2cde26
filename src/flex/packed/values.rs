//! The values of weights, for packing.

use burn::tensor::Tensor;

use super::panels::Panels;

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.dequantize().into_data().iter::<f32>().collect()
}

pub(super) fn matrix(tensor: Tensor<2>) -> Panels {
    let [rows, _] = tensor.dims();
    Panels::new(&values(tensor), rows)
}

/// The values of a bias, or zeros without a bias.
pub(super) fn bias(bias: Option<Tensor<1>>, filters: usize) -> Vec<f32> {
    bias.map_or_else(|| vec![0.0; filters], values)
}
