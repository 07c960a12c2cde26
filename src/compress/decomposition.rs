//! The linear algebra of the fits, by `faer`.

use std::mem;
use std::vec::Vec;

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par, Spec};

/// The triangle of the QR decomposition of a matrix whose rows come in blocks. It gives the right
/// singular vectors of the matrix, with memory for one square and one block.
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
    pub(crate) fn new(columns: usize) -> Self {
        Self(Mat::zeros(0, columns))
    }

    /// Adds the rows of these blocks.
    pub(crate) fn add(&mut self, blocks: impl IntoIterator<Item = Mat<f64>>) {
        let columns = self.0.ncols();
        let mut blocks: Vec<Mat<f64>> = blocks.into_iter().collect();
        blocks.push(mem::replace(&mut self.0, Mat::zeros(0, columns)));
        let rows = blocks.iter().map(Mat::nrows).sum();
        let mut stacked = Mat::zeros(rows, columns);
        let mut row = 0;
        for block in blocks {
            let mut part = stacked.get_mut(row..row + block.nrows(), ..);
            part.copy_from(&block);
            row += block.nrows();
        }
        let decomposition = stacked.qr();
        drop(stacked);
        let upper = decomposition.thin_R();
        self.0 = Mat::from_fn(upper.nrows(), columns, |row, column| {
            // The storage below the diagonal is not part of the triangle.
            if row <= column {
                upper[(row, column)]
            } else {
                0.0
            }
        });
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
