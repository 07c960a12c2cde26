//! A kernel of our own for Burn's flex backend.
//!
//! Burn's convolution on flex lays out weights and input anew at every call, and its im2col takes
//! as long for half the filters as for all. Here weights are used as they are stored, im2col
//! writes the columns of a few hundred pixels at a time, and the secondary maps are computed while
//! the primary ones are in the cache.

mod backward;
mod call;
mod extension;
mod forward;
mod gemm;
mod geometry;
mod im2col;
mod operands;
mod real;
mod reorder;
mod scratch;
mod threads;
mod tiles;

use std::cell::Cell;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

use crate::coefficients::Factors;
use extension::LinearConvBackend;
use operands::{Coefficients, Operands};
use reorder::inverse;

std::thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `work` by the operations of Burn alone, without this crate's kernel for the flex backend: to
/// compare the two, as `torch.backends.mkldnn.flags(enabled=False)` does in PyTorch.
///
/// It holds for convolutions that this thread starts within `work`, and for their backward passes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use linearconv::{LinearConv2dConfig, without_kernel};
///
/// let device = Device::default();
/// let conv = LinearConv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let images = Tensor::ones([1, 3, 28, 28], &device);
/// let by_kernel = conv.forward(images.clone()).into_data();
/// let by_burn = without_kernel(|| conv.forward(images)).into_data();
/// by_kernel.assert_approx_eq::<f32>(&by_burn, Default::default());
/// ```
pub fn without_kernel<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was there also where `work` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _before = Before(ENABLED.replace(false));
    work()
}

/// Whether the kernel computes this convolution.
pub(crate) fn supports(input: &Tensor<4>, filters: &Tensor<4>, options: &ConvOptions<2>) -> bool {
    ENABLED.get()
        && matches!(
            input.device().inner().as_dispatch(),
            DispatchDevice::Flex(_)
        )
        && matches!(input.dtype(), DType::F32 | DType::F64)
        && input.dtype() == filters.dtype()
        && options.groups == 1
}

/// The values that a selection by a permutation puts in this order.
fn before_select(values: Tensor<1>, order: &Tensor<1, Int>) -> Tensor<1> {
    let zeros = values.zeros_like();
    zeros.select_assign(0, order.clone(), values, IndexingUpdateOp::Add)
}

/// Images whose channel `i` is channel `order[i]` of the given ones, as one operation.
///
/// # Panics
/// Panics unless the order holds every channel once.
fn reorder_channels(images: Tensor<4>, order: Tensor<1, Int>) -> Tensor<4> {
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
/// Panics on an order that does not hold every channel once.
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    order: Option<Tensor<1, Int>>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    if let Some(order) = order {
        let bias = bias.map(|bias| before_select(bias, &order));
        let output = linear_conv2d(input, filters, factors, None, bias, options);
        return reorder_channels(output, order);
    }
    let operands = Operands {
        input: input.into_dispatch(),
        filters: filters.into_dispatch(),
        coefficients: factors.map(|Factors { row, column }| Coefficients {
            row: row.map(Tensor::into_dispatch),
            column: column.into_dispatch(),
        }),
        bias: bias.map(Tensor::into_dispatch),
    };
    Tensor::from_dispatch(Dispatch::linear_conv2d(operands, options))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn images(shape: [usize; 4]) -> Tensor<4> {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|index| index as f32)
            .collect();
        let device = Device::flex().autodiff();
        Tensor::from_data(TensorData::new(values, shape), &device).require_grad()
    }

    #[test]
    fn reordered_channels_equal_a_selection() {
        let images = images([2, 5, 3, 4]);
        let order = Tensor::<1, Int>::from_ints([3, 0, 4, 2, 1], &images.device());
        let outcome = |output: Tensor<4>| {
            let gradients = (output.clone() * output.clone().detach()).sum().backward();
            let gradient = images.grad(&gradients).expect("a gradient");
            [output.into_data(), gradient.into_data()]
        };
        let ours = outcome(reorder_channels(images.clone(), order.clone()));
        assert_eq!(ours, outcome(images.clone().select(1, order)));
    }

    #[test]
    #[should_panic(expected = "[0, 0, 1] is not an order of the channels")]
    fn a_channel_twice_is_no_order() {
        let images = images([1, 3, 2, 2]);
        let order = Tensor::<1, Int>::from_ints([0, 0, 1], &images.device());
        reorder_channels(images, order);
    }
}
