//! The kernel on tensors of the flex backend.

use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, TensorData};

use super::operands::{Layer, Operands};
use super::real::Real;
use super::{backward, forward};

/// The output of the layer.
///
/// # Shapes
/// - output: `[batch_size, m + n, output]`
pub(super) fn forward(operands: Operands<FlexTensor>, options: &ConvOptions<2>) -> FlexTensor {
    let operands = operands.map(|tensor| tensor.to_contiguous());
    match operands.input.dtype() {
        DType::F64 => forward_in::<f64>(&operands, options),
        _ => forward_in::<f32>(&operands, options),
    }
}

/// The gradients of the operands that are wanted, from the output's.
///
/// # Shapes
/// - output, where gradients of coefficients are wanted: what [`forward`] returned
/// - gradient: `[batch_size, m + n, output]`
pub(super) fn backward(
    operands: Operands<FlexTensor>,
    wanted: Operands<bool>,
    output: Option<FlexTensor>,
    gradient: FlexTensor,
    options: &ConvOptions<2>,
) -> Operands<Option<FlexTensor>> {
    let operands = operands.map(|tensor| tensor.to_contiguous());
    let output = output.map(|output| output.to_contiguous());
    let gradient = gradient.to_contiguous();
    match operands.input.dtype() {
        DType::F64 => backward_in::<f64>(&operands, wanted, output, gradient, options),
        _ => backward_in::<f32>(&operands, wanted, output, gradient, options),
    }
}

fn forward_in<T: Real>(operands: &Operands<FlexTensor>, options: &ConvOptions<2>) -> FlexTensor {
    let layer = Layer::<T>::new(operands, options);
    let output = forward::forward(&layer);
    let [height, width] = layer.geometry.output;
    let shape = [layer.batch_size(), layer.outputs(), height, width];
    FlexTensor::from_data(TensorData::new(output, shape))
}

fn backward_in<T: Real>(
    operands: &Operands<FlexTensor>,
    wanted: Operands<bool>,
    output: Option<FlexTensor>,
    gradient: FlexTensor,
    options: &ConvOptions<2>,
) -> Operands<Option<FlexTensor>> {
    let layer = Layer::<T>::new(operands, options);
    let output = output.as_ref().map(T::values);
    let gradients = backward::backward(&layer, wanted, output, T::values(&gradient));
    gradients.zip(operands.as_ref()).map(|(gradient, operand)| {
        let shape = operand.layout().shape().clone();
        gradient.map(|gradient| FlexTensor::from_data(TensorData::new(gradient, shape)))
    })
}
