//! The element types that the kernel computes in.

use std::cell::Cell;
use std::thread::LocalKey;

use burn::backend::flex::FlexTensor;
use burn::tensor::Element;
use num_traits::NumAssign;

/// An element type of the kernel.
pub(super) trait Real: Element + NumAssign + PartialOrd + Into<f64> {
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;

    /// The values of a contiguous tensor.
    fn values(tensor: &FlexTensor) -> &[Self];

    /// The scratch memory of this thread, for [`with_scratch`](super::scratch::with_scratch).
    fn scratch() -> &'static LocalKey<Cell<Vec<Self>>>;
}

macro_rules! real {
    ($($element:ty),*) => {
        $(impl Real for $element {
            fn from_f64(value: f64) -> Self {
                value as $element
            }

            fn values(tensor: &FlexTensor) -> &[Self] {
                tensor.as_slice().expect("a contiguous tensor of this type")
            }

            fn scratch() -> &'static LocalKey<Cell<Vec<Self>>> {
                thread_local! {
                    static SCRATCH: Cell<Vec<$element>> = const { Cell::new(Vec::new()) };
                }
                &SCRATCH
            }
        })*
    };
}

real!(f32, f64);
