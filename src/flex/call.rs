//! One call of the kernel, from tensors of the flex backend to slices and back.

use burn::backend::flex::FlexTensor;
use burn::backend::ops::conv::calculate_conv_output_size_asymmetric;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, TensorData};

use super::backward::backward;
use super::forward::forward;
use super::geometry::Geometry;
use super::operands::{Mixing, Operands, PerOperand};
use super::product::{Matrix, Real};

/// The operands of one call, contiguous.
#[derive(Debug)]
pub(super) struct Call {
    input: FlexTensor,
    primary: FlexTensor,
    row: Option<FlexTensor>,
    column: Option<FlexTensor>,
    bias: Option<FlexTensor>,
    geometry: Geometry,
}

impl Call {
    /// # Panics
    /// Panics without input or primary filters.
    pub(super) fn new(operands: PerOperand<Option<FlexTensor>>, options: &ConvOptions<2>) -> Self {
        let PerOperand {
            input: Some(input),
            primary: Some(primary),
            row,
            column,
            bias,
        } = operands.map(|tensor| tensor.map(|tensor| tensor.to_contiguous()))
        else {
            panic!("a convolution has an input and filters");
        };
        let [_, channels, input_height, input_width] = input.layout().shape().dims();
        let [_, _, kernel_height, kernel_width] = primary.layout().shape().dims();
        let size = [input_height, input_width];
        let kernel = [kernel_height, kernel_width];
        let output = [0, 1].map(|axis| {
            calculate_conv_output_size_asymmetric(
                kernel[axis],
                options.stride[axis],
                options.padding[axis],
                options.dilation[axis],
                size[axis],
            )
        });
        Self {
            geometry: Geometry {
                channels,
                input: size,
                output,
                kernel,
                stride: options.stride,
                dilation: options.dilation,
                padding: options.padding_begin(),
            },
            input,
            primary,
            row,
            column,
            bias,
        }
    }

    /// The output of the layer.
    pub(super) fn forward(&self) -> FlexTensor {
        match self.input.dtype() {
            DType::F64 => self.forward_in::<f64>(),
            _ => self.forward_in::<f32>(),
        }
    }

    /// The gradients of the operands that are wanted, from the output's.
    pub(super) fn backward(
        &self,
        wanted: &PerOperand<bool>,
        output: Option<FlexTensor>,
        gradient: FlexTensor,
    ) -> PerOperand<Option<FlexTensor>> {
        match self.input.dtype() {
            DType::F64 => self.backward_in::<f64>(wanted, output, gradient),
            _ => self.backward_in::<f32>(wanted, output, gradient),
        }
    }

    fn operands<T: Real>(&self) -> Operands<'_, T> {
        fn matrix<T: Real>(tensor: &FlexTensor) -> Matrix<'_, T> {
            Matrix::new(T::values(tensor), tensor.layout().shape()[0])
        }
        Operands {
            geometry: self.geometry,
            primary: matrix(&self.primary),
            mixing: self.column.as_ref().map(|column| Mixing {
                row: self.row.as_ref().map(matrix),
                column: matrix(column),
            }),
            bias: self.bias.as_ref().map(T::values),
        }
    }

    fn forward_in<T: Real>(&self) -> FlexTensor {
        let operands = self.operands::<T>();
        let output = forward(&operands, T::values(&self.input));
        let batch_size = self.input.layout().shape()[0];
        let [height, width] = self.geometry.output;
        let shape = [batch_size, operands.filters(), height, width];
        FlexTensor::from_data(TensorData::new(output, shape))
    }

    fn backward_in<T: Real>(
        &self,
        wanted: &PerOperand<bool>,
        output: Option<FlexTensor>,
        gradient: FlexTensor,
    ) -> PerOperand<Option<FlexTensor>> {
        let gradient = gradient.to_contiguous();
        let output = output.map(|output| output.to_contiguous());
        let gradients = backward(
            &self.operands::<T>(),
            wanted,
            T::values(&self.input),
            output.as_ref().map(T::values),
            T::values(&gradient),
        );
        let like = |operand: Option<&FlexTensor>, wanted: bool, values: Vec<T>| {
            let shape = operand.filter(|_| wanted)?.layout().shape().clone();
            Some(FlexTensor::from_data(TensorData::new(values, shape)))
        };
        PerOperand {
            input: like(Some(&self.input), wanted.input, gradients.input),
            primary: like(Some(&self.primary), wanted.primary, gradients.primary),
            row: like(self.row.as_ref(), wanted.row, gradients.row),
            column: like(self.column.as_ref(), wanted.column, gradients.column),
            bias: like(self.bias.as_ref(), wanted.bias, gradients.bias),
        }
    }
}
