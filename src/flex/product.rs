//! Matrix products over slices, by the `gemm` crate that Burn's flex backend is built on.

use std::cell::Cell;
use std::mem;
use std::thread::LocalKey;

use burn::backend::flex::FlexTensor;
use burn::tensor::Element;
use gemm::Parallelism;
use num_traits::NumAssign;

/// The element types that the kernel computes in.
pub(crate) trait Real: Element + NumAssign {
    /// The values of a contiguous tensor.
    fn values(tensor: &FlexTensor) -> &[Self];

    /// Where a thread keeps its working memory from one call to the next: asking the system for
    /// it anew costs as much as a small convolution.
    fn working_memory() -> &'static LocalKey<Cell<Vec<Self>>>;
}

/// Calls `work` with buffers of the given lengths, of unspecified content.
pub(super) fn with_buffers<T: Real, const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [T]; N]) -> R,
) -> R {
    // Taken, not borrowed: while this thread waits for others it may begin another call, which
    // then finds nothing and allocates.
    let mut memory = T::working_memory().take();
    let total = lengths.iter().sum();
    if memory.len() < total {
        memory.resize(total, T::zero());
    }
    let mut rest = memory.as_mut_slice();
    let buffers = lengths.map(|length| {
        let buffer;
        (buffer, rest) = mem::take(&mut rest).split_at_mut(length);
        buffer
    });
    let result = work(buffers);
    T::working_memory().set(memory);
    result
}

macro_rules! real {
    ($($element:ty),*) => {
        $(impl Real for $element {
            fn values(tensor: &FlexTensor) -> &[Self] {
                tensor.as_slice().expect("a contiguous tensor of this type")
            }

            fn working_memory() -> &'static LocalKey<Cell<Vec<Self>>> {
                thread_local! {
                    static MEMORY: Cell<Vec<$element>> = const { Cell::new(Vec::new()) };
                }
                &MEMORY
            }
        })*
    };
}

real!(f32, f64);

/// A matrix in row-major order, or its transpose.
#[derive(Debug)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    /// From one row, and from one column, to the next.
    strides: [usize; 2],
}

impl<T> Clone for Matrix<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<'_, T> {}

impl<'a, T> Matrix<'a, T> {
    /// # Panics
    /// Panics unless the number of rows divides that of the values.
    pub(super) fn new(values: &'a [T], rows: usize) -> Self {
        let columns = values.len() / rows;
        assert_eq!(values.len(), rows * columns, "values of {rows} rows");
        Self {
            values,
            rows,
            columns,
            strides: [columns, 1],
        }
    }

    pub(super) fn transpose(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            strides: [self.strides[1], self.strides[0]],
            ..self
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// Whether a product overwrites its output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Replace,
    Add,
}

/// `output = lhs · rhs`, or `output += lhs · rhs`, with the output in row-major order.
pub(super) fn product<T: Real>(
    output: &mut [T],
    write: Write,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    parallel: bool,
) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimensions");
    assert_eq!(output.len(), lhs.rows * rhs.columns, "output dimensions");
    let stride = |length: usize| length as isize;
    // SAFETY: a `Matrix` covers exactly its slice, by its constructor; the output has exactly
    // rows × columns values and is borrowed alone.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            output.as_mut_ptr(),
            1,
            stride(rhs.columns),
            write == Write::Add,
            lhs.values.as_ptr(),
            stride(lhs.strides[1]),
            stride(lhs.strides[0]),
            rhs.values.as_ptr(),
            stride(rhs.strides[1]),
            stride(rhs.strides[0]),
            T::one(),
            T::one(),
            false,
            false,
            false,
            if parallel {
                Parallelism::Rayon(0)
            } else {
                Parallelism::None
            },
        );
    }
}
