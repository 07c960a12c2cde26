//! Ridge regression, where held-out samples choose the ridge.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// The ridges to choose from, as fractions of the mean square of a feature.
const RIDGES: [f64; 5] = [1.0, 1e-1, 1e-2, 1e-3, 1e-6];

/// The matrix `X` for which `features · X` approximates `missing`, by ridge regression. One half of
/// the samples fits `X` for each ridge, the other half chooses the ridge; then all samples fit `X`.
/// `None` where zeros are nearer to `missing` on the second half.
///
/// # Shapes
/// - features: `[samples, length]`
/// - missing: `[samples, columns]`
/// - output: `[length, columns]`
pub(crate) fn ridge_regression(features: &Mat<f64>, missing: &Mat<f64>) -> Option<Mat<f64>> {
    let [odd, even] = [1, 0].map(|parity| Equations::of_half(features, missing, parity));
    let error = |ridge: f64| {
        let solution = odd.solve(ridge)?;
        let error = even.error(&solution);
        error.is_finite().then_some((error, ridge))
    };
    let best = RIDGES.into_iter().filter_map(error);
    let (error, ridge) = best.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let all = Equations {
        squares: odd.squares + even.squares,
        products: odd.products + even.products,
    };
    // The error of zeros is 0.
    if error < 0.0 { all.solve(ridge) } else { None }
}

/// The normal equations of least squares.
struct Equations {
    /// `featuresᵀ · features`
    squares: Mat<f64>,
    /// `featuresᵀ · missing`
    products: Mat<f64>,
}

impl Equations {
    /// The equations of every second sample.
    fn of_half(features: &Mat<f64>, missing: &Mat<f64>, parity: usize) -> Self {
        let half = |matrix: &Mat<f64>| {
            let rows = (matrix.nrows() + 1 - parity) / 2;
            Mat::from_fn(rows, matrix.ncols(), |row, column| {
                matrix[(2 * row + parity, column)]
            })
        };
        let [features, missing] = [features, missing].map(half);
        Self {
            squares: features.transpose() * &features,
            products: features.transpose() * missing,
        }
    }

    fn solve(&self, ridge: f64) -> Option<Mat<f64>> {
        let length = self.squares.nrows();
        let trace: f64 = self.squares.diagonal().column_vector().iter().sum();
        let ridge = ridge * trace / length.max(1) as f64;
        let mut squares = self.squares.clone();
        for index in 0..length {
            squares[(index, index)] += ridge;
        }
        let decomposed = squares.llt(Side::Lower).ok()?;
        Some(decomposed.solve(&self.products))
    }

    /// The squared error, minus the squared error of zeros.
    fn error(&self, solution: &Mat<f64>) -> f64 {
        let squares = &self.squares * solution;
        let mut error = 0.0;
        for column in 0..solution.ncols() {
            let products = self.products.col(column);
            let terms = squares.col(column).iter().zip(products.iter());
            let solution = solution.col(column).iter();
            let of_column = solution.zip(terms);
            error += of_column
                .map(|(value, (square, product))| value * (square - 2.0 * product))
                .sum::<f64>();
        }
        error
    }
}
