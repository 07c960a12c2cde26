//! A CPU kernel for Burn's flex backend.
//!
//! Burn's convolution on flex lays out weights and input anew at every call, and its im2col takes
//! as long for half of the filters as for all. This kernel uses weights as they are stored. Its
//! im2col writes the columns of a few hundred pixels at a time. It computes the secondary maps
//! while the primary maps are in the cache.

mod backward;
mod call;
pub(crate) mod epilogue;
mod extension;
mod extension_type;
mod forward;
mod gemm;
mod geometry;
mod im2col;
mod operands;
pub(crate) mod packed;
mod real;
mod scratch;
mod threads;
mod tiles;
mod uninitialized;

use std::cell::Cell;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Int, Tensor};

use crate::coefficients::Factors;
use extension::LinearConvBackend;
use operands::{Coefficients, Operands};

std::thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `work` with Burn's own operations, without this crate's kernel for the flex backend. With
/// it you can compare the two, as with `torch.backends.mkldnn.flags(enabled=False)` in PyTorch.
///
/// This holds for the convolutions that this thread starts within `work`, and for their backward
/// passes. A model that is made for [`Inference`](crate::Inference) still uses its kernel.
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
    /// Restores the value before, also where `work` panics.
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
    enabled(input) && input.dtype() == filters.dtype() && options.groups == 1
}

/// Whether the kernel computes with tensors of this device and type, on this thread.
fn enabled(tensor: &Tensor<4>) -> bool {
    ENABLED.get() && is_flex(tensor) && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

fn is_flex(tensor: &Tensor<4>) -> bool {
    matches!(
        tensor.device().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    )
}

/// [`convolution::linear_conv2d`](crate::convolution::linear_conv2d) as one operation.
///
/// # Panics
/// Panics on an order that names a filter that does not exist.
pub(crate) fn linear_conv2d(
    input: Tensor<4>,
    filters: Tensor<4>,
    factors: Option<Factors>,
    order: Option<Tensor<1, Int>>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let [primary, ..] = filters.dims();
    let count = primary + factors.as_ref().map_or(0, Factors::secondary);
    let operands = Operands {
        input: input.into_dispatch(),
        filters: filters.into_dispatch(),
        coefficients: factors.map(|Factors { row, column }| Coefficients {
            row: row.map(Tensor::into_dispatch),
            column: column.into_dispatch(),
        }),
        bias: bias.map(Tensor::into_dispatch),
    };
    let order = order.map(|order| to_indices(order, count, "filter"));
    Tensor::from_dispatch(Dispatch::linear_conv2d(operands, order, options))
}

/// The values of an order of `count` filters or channels; `what` is their name in the message.
///
/// # Panics
/// Panics on an order that names a filter or channel that does not exist.
fn to_indices(order: Tensor<1, Int>, count: usize, what: &str) -> Vec<usize> {
    let order = order.try_to_vec_as::<i64>();
    let order = order.expect("the values of an order").into_iter();
    let index = |value: i64| {
        let index = usize::try_from(value).ok().filter(|index| *index < count);
        index.unwrap_or_else(|| panic!("the order names {what} {value} of {count}"))
    };
    order.map(index).collect()
}
