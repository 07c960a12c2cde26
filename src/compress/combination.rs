//! Some rows of a matrix, from which all its rows are combined.

use std::vec::Vec;

use faer::linalg::solvers::Solve;
use faer::{Mat, MatRef};

use super::decomposition::{Basis, left_basis, select_rows};

/// A matrix of low rank as some of its rows, the primary ones, and combinations of them.
#[derive(Clone, Debug)]
pub(crate) struct Combination {
    /// The indices of all rows, those of the primary rows in front.
    pub(crate) order: Vec<usize>,
    /// The primary rows are `primary · rows` of the given matrix, `[m, rows]`.
    pub(crate) primary: Mat<f64>,
    /// The other rows are `coefficients · primary rows`.
    pub(crate) coefficients: Product,
}

/// `column · row`, or `column`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// `[rank, m]`
    pub(crate) row: Option<Mat<f64>>,
    /// `[n, rank]`, or `[n, m]` without a row.
    pub(crate) column: Mat<f64>,
}

/// The largest coefficient of a combination: rows are exchanged until none is larger. Pivoting
/// alone does not bound the coefficients (Gu and Eisenstat 1996, "Efficient algorithms for
/// computing a strong rank-revealing QR factorization").
const LARGEST: f64 = 2.0;

impl Combination {
    /// The projection onto the span of orthonormal columns, as `m` of its rows and combinations of
    /// them. The projection is exact: `m` rows span all others, because there are at most `m`
    /// columns.
    ///
    /// Given weights of the rows, the columns are those of a matrix with weighted rows. The primary
    /// rows are combined from the weighted rows, and come out without weights.
    ///
    /// # Shapes
    /// - columns: `[rows, at most m]`
    pub(crate) fn of_projection(columns: MatRef<f64>, weights: Option<&[f64]>, m: usize) -> Self {
        let onto = columns;
        let unweighted = weights.map(|weights| {
            let value = |row: usize, column: usize| onto[(row, column)] / weights[row];
            Mat::from_fn(onto.nrows(), onto.ncols(), value)
        });
        let columns = unweighted.as_ref().map_or(columns, Mat::as_ref);
        let (order, solved) = interpolate(columns);
        let [rows, independent] = [columns.nrows(), columns.ncols()];
        // Primary rows beyond the independent ones have coefficients of zero.
        let column = Mat::from_fn(rows - m, m, |row, column| {
            if column < independent {
                solved[(row + m - independent, column)]
            } else {
                0.0
            }
        });
        let primary = select_rows(columns, &order[..m]) * onto.transpose();
        Self {
            order,
            primary,
            coefficients: Product { row: None, column },
        }
    }

    /// Given the left singular vectors and the singular values of a matrix: `m` primary rows, and
    /// combinations of them by coefficients of this rank, with a small error. The error is the
    /// least one where the rank is at least the smaller of `m` and the number of the other rows.
    pub(crate) fn of_rank(basis: &Basis, weights: Option<&[f64]>, m: usize, rank: usize) -> Self {
        let weighted = Self::of_weighted_rank(basis, m, rank);
        match weights {
            Some(weights) => weighted.without(weights),
            None => weighted,
        }
    }

    fn of_weighted_rank(basis: &Basis, m: usize, rank: usize) -> Self {
        let exact = Self::of_projection(basis.independent(m), None, m);
        let others = basis.vectors.nrows() - m;
        if rank >= basis.independent(m).ncols().min(others) {
            return exact.with_rank(rank);
        }
        // The rows in coordinates: their norms and inner products are those of the rows of the
        // matrix.
        let rows = Mat::from_fn(
            basis.vectors.nrows(),
            basis.vectors.ncols(),
            |row, column| basis.vectors[(row, column)] * basis.values[column],
        );
        let (given_error, given) = Self::of_given_rows(&rows, m, rank);
        let shared_by = |combination: &Self| {
            let others = combination.coefficients.apply(combination.primary.as_ref());
            left_basis((others * &rows).transpose())
                .leading(rank)
                .to_owned()
        };
        let starts = [shared_by(&exact), shared_by(&given)].into_iter();
        let starts = starts.zip([exact.order, given.order.clone()]);
        let refined =
            starts.filter_map(|(subspace, order)| Shared::refine(&rows, order, m, subspace));
        let best = refined.min_by(|a, b| a.error.total_cmp(&b.error));
        match best {
            Some(best) if best.error < given_error => best.combination(m),
            _ => given,
        }
    }

    /// Takes `m` rows unchanged as the primary rows, chosen by a QR decomposition with pivoting,
    /// and fits the others by the nearest combinations of them. Returns the squared error too.
    fn of_given_rows(rows: &Mat<f64>, m: usize, rank: usize) -> (f64, Self) {
        let pivoted = rows.transpose().col_piv_qr();
        let order = pivoted.P().arrays().0.to_vec();
        let front = select_rows(rows.as_ref(), &order[..m]);
        let rest = select_rows(rows.as_ref(), &order[m..]);
        let span = left_basis(front.transpose());
        let span = span.independent(m);
        // `rest · span = coordinates · (front · span)`, by least squares.
        let reached = &rest * span;
        let inverse = (&front * span)
            .thin_svd()
            .expect("singular vectors of finite rows")
            .pseudoinverse();
        let coefficients = &reached * inverse;
        let kept = left_basis(reached.as_ref());
        let kept = kept.leading(rank);
        let combined = kept * (kept.transpose() * (&reached * span.transpose()));
        let coefficients = kept * (kept.transpose() * coefficients);
        let places = |index: usize, column: usize| f64::from(u8::from(order[index] == column));
        let combination = Self {
            primary: Mat::from_fn(m, rows.nrows(), places),
            coefficients: Product::balanced(coefficients.as_ref(), rank),
            order,
        };
        ((rest - combined).squared_norm_l2(), combination)
    }

    /// The matrix that combines all rows from the primary ones, in the given order. The
    /// coefficients must be full.
    ///
    /// # Shapes
    /// - output: `[rows, m]`
    pub(crate) fn all_rows(&self) -> Mat<f64> {
        let m = self.primary.nrows();
        let column = &self.coefficients.column;
        let mut rows = Mat::zeros(self.order.len(), m);
        for (place, row) in self.order.iter().enumerate() {
            match place.checked_sub(m) {
                None => rows[(*row, place)] = 1.0,
                Some(other) => rows.row_mut(*row).copy_from(column.row(other)),
            }
        }
        rows
    }

    /// The same combination for rows without their weights.
    fn without(self, weights: &[f64]) -> Self {
        let Self {
            order,
            mut primary,
            coefficients:
                Product {
                    mut row,
                    mut column,
                },
        } = self;
        let m = primary.nrows();
        for (index, filter) in order.iter().enumerate() {
            let weight = weights[*filter];
            match index.checked_sub(m) {
                None => {
                    let scale = |value: &mut f64| *value /= weight;
                    primary.row_mut(index).iter_mut().for_each(scale);
                    let scale = |value: &mut f64| *value *= weight;
                    let applied = row.as_mut().unwrap_or(&mut column);
                    applied.col_mut(index).iter_mut().for_each(scale);
                }
                Some(index) => {
                    let scale = |value: &mut f64| *value /= weight;
                    column.row_mut(index).iter_mut().for_each(scale);
                }
            }
        }
        Self {
            order,
            primary,
            coefficients: Product { row, column },
        }
    }

    /// The same with the coefficients as a product of this rank. The rank must not be below that of
    /// the coefficients.
    fn with_rank(self, rank: usize) -> Self {
        let Product { column, .. } = self.coefficients;
        Self {
            coefficients: Product::balanced(column.as_ref(), rank),
            ..self
        }
    }
}

impl Product {
    /// The nearest product of this rank (truncated SVD). Both factors get the root of each singular
    /// value, so that they train alike.
    fn balanced(matrix: MatRef<f64>, rank: usize) -> Self {
        let svd = matrix
            .thin_svd()
            .expect("singular vectors of finite coefficients");
        let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
        let root = |index: usize| values.get(index).map_or(0.0, |value| value.sqrt());
        let kept = rank.min(values.len());
        let part = |matrix: MatRef<f64>, row: usize, index: usize| {
            if index < kept {
                matrix[(row, index)] * root(index)
            } else {
                0.0
            }
        };
        Self {
            column: Mat::from_fn(matrix.nrows(), rank, |row, index| part(svd.U(), row, index)),
            row: Some(Mat::from_fn(rank, matrix.ncols(), |index, column| {
                part(svd.V(), column, index)
            })),
        }
    }

    pub(crate) fn apply(&self, rows: MatRef<f64>) -> Mat<f64> {
        match &self.row {
            Some(row) => &self.column * (row * rows),
            None => &self.column * rows,
        }
    }
}

impl Basis {
    /// The first vectors, at most this many and at least one, whose singular values are above
    /// rounding.
    pub(crate) fn independent(&self, most: usize) -> MatRef<'_, f64> {
        let largest = self.values.first().copied().unwrap_or(0.0);
        let negligible = f64::EPSILON * self.vectors.nrows() as f64 * largest;
        let values = self.values.iter();
        let independent = values.take_while(|value| **value > negligible).count();
        self.leading(independent.clamp(1, most))
    }
}

/// Chooses as many rows of orthonormal columns as there are columns. Returns all rows, the chosen
/// ones in front, and the coefficients that combine the other rows from them. No coefficient is
/// larger than [`LARGEST`].
fn interpolate(columns: MatRef<f64>) -> (Vec<usize>, Mat<f64>) {
    let [rows, kept] = [columns.nrows(), columns.ncols()];
    let pivoted = columns.transpose().col_piv_qr();
    let mut order = pivoted.P().arrays().0.to_vec();
    let solve = |order: &[usize]| {
        let front = select_rows(columns, &order[..kept]);
        let rest = select_rows(columns, &order[kept..]);
        // rest = solved · front
        let solved = front.transpose().partial_piv_lu().solve(rest.transpose());
        solved.transpose().to_owned()
    };
    let mut solved = solve(&order);
    loop {
        let mut largest = (LARGEST, None);
        for column in 0..kept {
            for row in 0..rows - kept {
                let size = solved[(row, column)].abs();
                if size > largest.0 {
                    largest = (size, Some((row, column)));
                }
            }
        }
        // Each exchange multiplies the volume of the chosen rows by the coefficient, so the loop
        // ends.
        let (_, Some((row, column))) = largest else {
            return (order, solved);
        };
        order.swap(column, kept + row);
        solved = solve(&order);
    }
}

/// An approximation of rows. In `rank` directions, `m` primary rows share one subspace with all
/// other rows; in all other directions they are unchanged.
struct Shared {
    order: Vec<usize>,
    /// The combinations of the primary rows that lie in the shared subspace. Rows are orthonormal,
    /// `[rank, m]`.
    directions: Mat<f64>,
    /// The best subspace for these combinations and the other rows: left singular vectors
    /// `[rank + n, rank]`.
    vectors: Mat<f64>,
    /// The squared error.
    error: f64,
}

/// The most rounds of a refinement, and the relative gain of a round below which it ends.
const ROUNDS: usize = 20;
const GAIN: f64 = 1e-4;

impl Shared {
    /// Improves the subspace, and then the primary rows and their combinations, in turn. A round
    /// that does not lower the error ends the loop. `None` where the primary rows do not span the
    /// subspace.
    ///
    /// # Shapes
    /// - rows: `[rows, length]`
    /// - subspace: orthonormal columns, `[length, rank]`
    fn refine(
        rows: &Mat<f64>,
        mut order: Vec<usize>,
        m: usize,
        mut subspace: Mat<f64>,
    ) -> Option<Self> {
        let mut best: Option<Self> = None;
        for _ in 0..ROUNDS {
            // What the subspace misses of every row. For a primary row this costs nothing.
            let missed = rows - (rows * &subspace) * subspace.transpose();
            let missed_of = |row: usize| missed.row(row).squared_norm_l2();
            let mut worst_first = order.clone();
            worst_first.sort_by(|a, b| missed_of(*b).total_cmp(&missed_of(*a)));
            let candidates = [order.clone(), worst_first].into_iter().map(|order| {
                let missed = select_rows(missed.as_ref(), &order[..m]);
                let directions = smallest_left(missed.as_ref(), subspace.ncols());
                Self::with_directions(rows, order, m, directions)
            });
            let found = candidates.min_by(|a, b| a.0.error.total_cmp(&b.0.error));
            let (found, next) = found.expect("two candidates");
            let before = best.as_ref().map_or(f64::INFINITY, |best| best.error);
            if found.error >= before || !found.is_stable() {
                break;
            }
            let ends = before - found.error <= GAIN * before;
            order.clone_from(&found.order);
            subspace = next;
            best = Some(found);
            if ends {
                break;
            }
        }
        best
    }

    /// The best approximation for these directions, and its subspace `[length, rank]`.
    fn with_directions(
        rows: &Mat<f64>,
        order: Vec<usize>,
        m: usize,
        directions: Mat<f64>,
    ) -> (Self, Mat<f64>) {
        let rank = directions.nrows();
        let shared = &directions * select_rows(rows.as_ref(), &order[..m]);
        let stacked = stack(
            shared.as_ref(),
            select_rows(rows.as_ref(), &order[m..]).as_ref(),
        );
        let svd = stacked.thin_svd().expect("singular vectors of finite rows");
        let values = svd.S().column_vector();
        let shared = Self {
            order,
            directions,
            vectors: svd.U().get(.., ..rank).to_owned(),
            error: values
                .iter()
                .skip(rank)
                .rev()
                .map(|value| value * value)
                .sum(),
        };
        (shared, svd.V().get(.., ..rank).to_owned())
    }

    /// Whether the combinations of primary rows span the subspace without large coefficients.
    fn is_stable(&self) -> bool {
        let rank = self.directions.nrows();
        let values = self.vectors.get(..rank, ..).singular_values();
        let values = values.expect("singular values of finite vectors");
        values.last().is_none_or(|smallest| *smallest > 1e-3)
    }

    fn combination(self, m: usize) -> Combination {
        let rank = self.directions.nrows();
        let front = self.vectors.get(..rank, ..);
        let rest = self.vectors.get(rank.., ..);
        // All rows in the order, with the shared directions of the primary rows in front.
        let rows = self.order.len();
        let place = |index: usize, column: usize| f64::from(u8::from(self.order[index] == column));
        let chosen = Mat::from_fn(m, rows, place);
        let others = Mat::from_fn(rows - m, rows, |row, column| place(m + row, column));
        let shared = &self.directions * &chosen;
        let stacked = stack(shared.as_ref(), others.as_ref());
        // `front · vectorsᵀ · stacked` replaces the shared directions.
        let replaced = front * (self.vectors.transpose() * &stacked) - &shared;
        let primary = &chosen + self.directions.transpose() * replaced;
        // rest = solved · front
        let solved = front.transpose().partial_piv_lu().solve(rest.transpose());
        let coefficients = solved.transpose() * &self.directions;
        Combination {
            coefficients: Product::balanced(coefficients.as_ref(), rank),
            order: self.order,
            primary,
        }
    }
}

/// The left singular vectors of the smallest singular values, as rows, `[count, rows]`.
fn smallest_left(matrix: MatRef<f64>, count: usize) -> Mat<f64> {
    let svd = matrix.svd().expect("singular vectors of finite values");
    let rows = matrix.nrows();
    svd.U().get(.., rows - count..).transpose().to_owned()
}

fn stack(above: MatRef<f64>, below: MatRef<f64>) -> Mat<f64> {
    let first = above.nrows();
    Mat::from_fn(first + below.nrows(), above.ncols(), |row, column| {
        if row < first {
            above[(row, column)]
        } else {
            below[(row - first, column)]
        }
    })
}
