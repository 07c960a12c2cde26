//! The linear algebra of the fits, by `faer`.

use std::vec::Vec;

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor::{
    qr_in_place, qr_in_place_scratch, recommended_block_size,
};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par, Spec};

/// The triangle of the QR decomposition of a matrix. It gives the right singular vectors of the matrix.
///
/// The Gram matrix would be cheaper, but it loses all singular values below the root of the
/// rounding.
pub(crate) struct Triangle(Mat<f64>);

/// Orthonormal columns, in falling order of their singular values.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    /// `[length, count]`
    pub(crate) vectors: Mat<f64>,
    /// The singular values, `[count]`.
    pub(crate) values: Vec<f64>,
}

impl Triangle {
    /// The triangle of one matrix, in its memory.
    pub(crate) fn of(mut matrix: Mat<f64>) -> Self {
        let (rows, columns) = matrix.shape();
        let size = rows.min(columns);
        let block_size = recommended_block_size::<f64>(rows, columns);
        let scratch =
            qr_in_place_scratch::<f64>(rows, columns, block_size, Par::Seq, Spec::default());
        qr_in_place(
            matrix.as_mut(),
            Mat::zeros(block_size, size).as_mut(),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Spec::default(),
        );
        Self(Mat::from_fn(size, columns, |row, column| {
            // Below the diagonal there is something else.
            if row <= column {
                matrix[(row, column)]
            } else {
                0.0
            }
        }))
    }

    /// The triangle of the matrix whose rows are those of `count` blocks `[rows, columns]`. It takes the memory
    /// of two squares of the columns, of the blocks that make one more, and of the block that is copied.
    pub(crate) fn of_blocks(
        [rows, columns]: [usize; 2],
        count: usize,
        block: impl Fn(usize) -> Mat<f64>,
    ) -> Self {
        let mut triangle = Mat::zeros(0, columns);
        // As many blocks at a time as make a square.
        let step = columns.div_ceil(rows);
        for first in (0..count).step_by(step) {
            let blocks = first..count.min(first + step);
            let upper = blocks.len() * rows;
            let mut stacked = Mat::zeros(upper + triangle.nrows(), columns);
            // Each block is copied at once: blocks that wait would leave holes in the memory.
            for (place, index) in blocks.enumerate() {
                let place = place * rows;
                let mut part = stacked.get_mut(place..place + rows, ..);
                part.copy_from(block(index));
            }
            stacked.get_mut(upper.., ..).copy_from(&triangle);
            drop(triangle);
            Self(triangle) = Self::of(stacked);
        }
        Self(triangle)
    }

    /// The right singular vectors of all rows.
    pub(crate) fn basis(&self) -> Basis {
        left_basis(self.0.transpose())
    }
}

/// Left singular vectors and singular values. The right singular vectors are not computed: they
/// would take a third of the memory, and memory decides how large a layer can be.
pub(crate) fn left_basis(matrix: MatRef<f64>) -> Basis {
    let (rows, columns) = matrix.shape();
    let count = rows.min(columns);
    let mut vectors = Mat::zeros(rows, count);
    let mut values = Diag::zeros(count);
    let (left, right) = (ComputeSvdVectors::Thin, ComputeSvdVectors::No);
    let scratch = svd_scratch::<f64>(rows, columns, left, right, Par::Seq, Spec::default());
    svd(
        matrix,
        values.as_mut(),
        Some(vectors.as_mut()),
        None,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Spec::default(),
    )
    .expect("singular vectors of finite values");
    Basis {
        values: values.column_vector().iter().copied().collect(),
        vectors,
    }
}

/// The singular values in falling order.
pub(crate) fn singular_values(matrix: MatRef<f64>) -> Vec<f64> {
    matrix
        .singular_values()
        .expect("singular values of finite values")
}

/// The left and the right singular vectors, each with the singular values.
pub(crate) fn both_bases(matrix: MatRef<f64>) -> (Basis, Basis) {
    let svd = matrix
        .thin_svd()
        .expect("singular vectors of finite values");
    let basis = |vectors: MatRef<f64>| Basis {
        vectors: vectors.to_owned(),
        values: svd.S().column_vector().iter().copied().collect(),
    };
    (basis(svd.U()), basis(svd.V()))
}

impl Basis {
    /// The first `count` vectors, or all where there are fewer.
    pub(crate) fn leading(&self, count: usize) -> MatRef<'_, f64> {
        let count = count.min(self.vectors.ncols());
        self.vectors.get(.., ..count)
    }
}

/// Orthonormal columns that span the columns of a matrix (QR). The matrix has no more columns than
/// rows.
pub(crate) fn orthonormal(matrix: MatRef<f64>) -> Mat<f64> {
    matrix.qr().compute_thin_Q()
}

/// These rows of a matrix, in this order.
pub(crate) fn select_rows(matrix: MatRef<f64>, rows: &[usize]) -> Mat<f64> {
    Mat::from_fn(rows.len(), matrix.ncols(), |row, column| {
        matrix[(rows[row], column)]
    })
}

pub(crate) fn to_tensor(matrix: MatRef<f64>, device: &Device, dtype: DType) -> Tensor<2> {
    let [rows, columns] = [matrix.nrows(), matrix.ncols()];
    let values: Vec<f64> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| matrix[(row, column)]))
        .collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), (device, dtype))
}

pub(crate) fn to_matrix(tensor: Tensor<2>) -> Mat<f64> {
    let [rows, columns] = tensor.dims();
    let values = to_values(tensor);
    Mat::from_fn(rows, columns, |row, column| values[row * columns + column])
}

pub(crate) fn to_values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor
        .detach()
        .try_to_vec_as::<f64>()
        .expect("the values of a float tensor")
}
