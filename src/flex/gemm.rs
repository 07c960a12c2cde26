//! Matrix products (GEMM) on slices, by the `gemm` crate that Burn's flex backend uses too.

use ::gemm::Parallelism;
use burn::backend::flex::FlexTensor;

use super::real::Real;
use super::threads::Threads;

/// A matrix in row-major order, or its transpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    /// The strides from one row to the next, and from one column to the next.
    strides: [usize; 2],
}

impl<'a, T: Real> Matrix<'a, T> {
    /// # Panics
    /// Panics unless the number of values is a multiple of the number of rows.
    pub(super) fn new(values: &'a [T], rows: usize) -> Self {
        Self::with_size(values, rows, values.len() / rows)
    }

    /// A contiguous tensor as a matrix: the first axis gives the rows, all others the columns.
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let shape = tensor.layout().shape();
        let columns = shape[1..].iter().product();
        Self::with_size(T::values(tensor), shape[0], columns)
    }

    fn with_size(values: &'a [T], rows: usize, columns: usize) -> Self {
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

    /// The values in memory order.
    pub(super) fn values(&self) -> &'a [T] {
        self.values
    }
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Replace,
    Add,
}

/// `output = lhs · rhs`, or `output += lhs · rhs`, with the output in row-major order.
pub(super) fn gemm<T: Real>(
    output: &mut [T],
    write: Write,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    threads: Threads,
) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimensions");
    assert_eq!(output.len(), lhs.rows * rhs.columns, "output dimensions");
    let stride = |length: usize| length as isize;
    // SAFETY: a `Matrix` covers exactly its slice, by its constructor; the output has exactly
    // rows × columns values and is borrowed alone.
    unsafe {
        ::gemm::gemm(
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
            if threads.within_image() {
                Parallelism::Rayon(0)
            } else {
                Parallelism::None
            },
        );
    }
}
