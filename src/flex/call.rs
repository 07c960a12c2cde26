//! The kernel on tensors of the flex backend.

use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, TensorData};

use super::backward::Kept;
use super::operands::{Layer, Operands};
use super::real::Real;
use super::{backward, forward};

/// The output of the layer. With `keep`, also a tensor that begins with the maps of the primary
/// filters without bias, for the gradients of the coefficients. That tensor is the output itself
/// where the output has these maps.
///
/// # Shapes
/// - output: `[batch_size, m + n, height, width]`
/// - kept: `[batch_size, m or m + n, height, width]`
pub(super) fn forward(
    operands: Operands<FlexTensor>,
    order: Option<&[usize]>,
    options: &ConvOptions<2>,
    keep: bool,
) -> (FlexTensor, Option<FlexTensor>) {
    let operands = operands.map(|tensor| tensor.to_contiguous());
    match operands.input.dtype() {
        DType::F64 => forward_in::<f64>(&operands, order, options, keep),
        _ => forward_in::<f32>(&operands, order, options, keep),
    }
}

/// The gradients of the operands that are wanted, from the gradient of the output.
///
/// # Shapes
/// - kept: what [`forward`] kept, where gradients of coefficients are wanted
/// - gradient: `[batch_size, m + n, height, width]`
pub(super) fn backward(
    operands: Operands<FlexTensor>,
    order: Option<&[usize]>,
    wanted: Operands<bool>,
    kept: Option<FlexTensor>,
    gradient: FlexTensor,
    options: &ConvOptions<2>,
) -> Operands<Option<FlexTensor>> {
    let operands = operands.map(|tensor| tensor.to_contiguous());
    let kept = kept.map(|kept| kept.to_contiguous());
    let gradient = gradient.to_contiguous();
    match operands.input.dtype() {
        DType::F64 => backward_in::<f64>(&operands, order, wanted, kept, gradient, options),
        _ => backward_in::<f32>(&operands, order, wanted, kept, gradient, options),
    }
}

fn forward_in<T: Real>(
    operands: &Operands<FlexTensor>,
    order: Option<&[usize]>,
    options: &ConvOptions<2>,
    keep: bool,
) -> (FlexTensor, Option<FlexTensor>) {
    let layer = Layer::<T>::new(operands, order, options);
    // With a bias, subtracting it from the output would give the maps only up to rounding.
    let apart = order.is_some() || operands.bias.is_some();
    let length = layer.batch_size() * layer.image_primary();
    let mut kept = (keep && apart).then(|| vec![T::zero(); length]);
    let output = forward::forward(&layer, kept.as_deref_mut());
    let [height, width] = layer.geometry.output;
    let tensor = |values: Vec<T>, maps| {
        let shape = [layer.batch_size(), maps, height, width];
        FlexTensor::from_data(TensorData::new(values, shape))
    };
    let output = tensor(output, layer.outputs());
    let kept = match kept {
        Some(kept) => Some(tensor(kept, layer.operands.filters.rows())),
        None => keep.then(|| output.clone()),
    };
    (output, kept)
}

fn backward_in<T: Real>(
    operands: &Operands<FlexTensor>,
    order: Option<&[usize]>,
    wanted: Operands<bool>,
    kept: Option<FlexTensor>,
    gradient: FlexTensor,
    options: &ConvOptions<2>,
) -> Operands<Option<FlexTensor>> {
    let layer = Layer::<T>::new(operands, order, options);
    let kept = kept.as_ref().map(|kept| Kept {
        values: T::values(kept),
        maps: kept.layout().shape()[1],
    });
    let gradients = backward::backward(&layer, wanted, kept, T::values(&gradient));
    gradients.zip(operands.as_ref()).map(|(gradient, operand)| {
        let shape = operand.layout().shape().clone();
        gradient.map(|gradient| FlexTensor::from_data(TensorData::new(gradient, shape)))
    })
}
