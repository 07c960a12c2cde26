//! Dense filters as primary filters and linear combinations of them.

use std::string::ToString;
use std::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};
use faer::Mat;

use super::activations;
use super::choice::Choice;
use crate::coefficients::{Coefficients, Factors};
use crate::error::Error;

/// What there is to know about some filters before it is decided how many stay: a pivoted QR
/// decomposition of the filters, or of their responses to a calibration batch.
///
/// The filter that the ones before it combine worst comes next. So the first `m` are the primary
/// filters, for every `m`, and what is left of the triangle is the error of combining the others
/// from them by least squares.
#[derive(Clone, Debug)]
pub(crate) struct Spectrum {
    /// The filters, the one to be kept longest in front.
    order: Vec<usize>,
    /// `[up to f, f]`, upper triangular, its columns in that order.
    triangle: Mat<f64>,
    /// Sum of the squares of all values.
    energy: f64,
}

/// Filters split in two.
#[derive(Debug)]
pub(crate) struct Split {
    /// The primary filters, `[m, length]`, as they were.
    pub(crate) primary: Tensor<2>,
    pub(crate) coefficients: Coefficients,
    /// For each filter its place behind the primary filters and the combined ones: selecting by
    /// it restores the order. `[f]`
    pub(crate) order: Tensor<1, Int>,
}

impl Spectrum {
    /// Of the filters of the layer at the path, or of their responses where there are some.
    ///
    /// # Shapes
    /// - filters: `[f, length]`
    /// - responses: `[f, pixels]`
    ///
    /// # Errors
    /// [`Error::NotFinite`], and those of [responses](activations::check).
    pub(crate) fn new(
        path: &str,
        filters: &Tensor<2>,
        responses: Option<&Tensor<2>>,
    ) -> Result<Self, Error> {
        if let Some(responses) = responses {
            activations::check(path, filters.dims()[0], responses)?;
        }
        let rows = responses.unwrap_or(filters);
        let [filters, length] = rows.dims();
        let values = rows
            .clone()
            .detach()
            .dequantize()
            .try_to_vec_as::<f64>()
            .expect("the values of a float tensor");
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                path: path.to_string(),
                filter: index / length,
            });
        }
        let columns = Mat::from_fn(length, filters, |row, column| values[column * length + row]);
        let decomposition = columns.col_piv_qr();
        let upper = decomposition.thin_R();
        Ok(Self {
            order: decomposition.P().arrays().0.to_vec(),
            triangle: Mat::from_fn(upper.nrows(), upper.ncols(), |row, column| {
                // The rest of the storage is not part of the triangle.
                if row <= column {
                    upper[(row, column)]
                } else {
                    0.0
                }
            }),
            energy: columns.squared_norm_l2(),
        })
    }

    /// The error with the first filters primary, at every rank of the coefficients from 0 to the
    /// highest that helps, relative to the values: the norm of what is missing over that of all.
    pub(crate) fn errors(&self, primary: usize) -> Vec<f64> {
        let values = self.combined(primary).singular_values();
        let values = values.expect("singular values of finite filters");
        let mut lost = self.residual(primary);
        let mut errors = std::vec![self.relative(lost)];
        for value in values.iter().rev() {
            lost += value * value;
            errors.push(self.relative(lost));
        }
        errors.reverse();
        errors
    }

    /// The error at one rank, or at any.
    pub(crate) fn error(&self, primary: usize, rank: Option<usize>) -> f64 {
        match rank {
            None => self.relative(self.residual(primary)),
            Some(rank) => {
                let errors = self.errors(primary);
                errors[rank.min(errors.len() - 1)]
            }
        }
    }

    fn relative(&self, squares: f64) -> f64 {
        if self.energy > 0.0 {
            (squares / self.energy).sqrt()
        } else {
            0.0
        }
    }

    /// Independent filters among the first `primary` ones. Beyond them the triangle holds
    /// rounding, and nothing is left to combine.
    fn independent(&self, primary: usize) -> usize {
        let size = self.triangle.nrows().min(primary);
        let negligible = f64::EPSILON * self.order.len() as f64 * self.triangle[(0, 0)].abs();
        (0..size)
            .find(|row| self.triangle[(*row, *row)].abs() <= negligible)
            .unwrap_or(size)
    }

    /// Of the secondary filters, in the basis that the primary ones span: `[independent, n]`.
    fn combined(&self, primary: usize) -> Mat<f64> {
        let rows = self.independent(primary);
        Mat::from_fn(rows, self.order.len() - primary, |row, column| {
            self.triangle[(row, primary + column)]
        })
    }

    /// Squares of what no combination reaches.
    fn residual(&self, primary: usize) -> f64 {
        let rows = self.independent(primary)..self.triangle.nrows();
        let mut squares = 0.0;
        for row in rows {
            for column in primary..self.order.len() {
                squares += self.triangle[(row, column)].powi(2);
            }
        }
        squares
    }

    /// Splits filters by this spectrum, with the [`error`](Self::error) of that choice.
    ///
    /// # Errors
    /// Those of [`Choice::rank`].
    ///
    /// # Panics
    /// Panics unless there are as many filters as in the spectrum.
    pub(crate) fn split(&self, filters: &Tensor<2>, choice: &Choice) -> Result<Split, Error> {
        let total = self.order.len();
        assert_eq!(filters.dims()[0], total, "the filters of the spectrum");
        let rank = choice.rank(total)?;
        let primary = choice.primary;
        let secondary = total - primary;
        let device = filters.device();
        let dtype = filters.dtype();
        let tensor = |matrix: &Mat<f64>| {
            let [rows, columns] = [matrix.nrows(), matrix.ncols()];
            let values: Vec<f64> = (0..rows * columns)
                .map(|index| matrix[(index / columns, index % columns)])
                .collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), (&device, dtype))
        };

        // combined = triangle[..q, ..q] · Aᵀ, so A = combinedᵀ · triangle⁻ᵀ.
        let combined = self.combined(primary);
        let independent = combined.nrows();
        let corner = self.triangle.get(..independent, ..independent);
        let solve = |mut columns: Mat<f64>| {
            corner.solve_upper_triangular_in_place(columns.as_mut());
            columns
        };
        let factors = match rank {
            None => {
                let solved = solve(combined);
                let column = Mat::from_fn(secondary, primary, |row, column| {
                    if column < independent {
                        solved[(column, row)]
                    } else {
                        0.0
                    }
                });
                Factors {
                    row: None,
                    column: tensor(&column),
                }
            }
            Some(rank) => {
                let svd = combined
                    .thin_svd()
                    .expect("singular vectors of finite filters");
                let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
                // Both factors get the root of each singular value, so that they train alike.
                let root = |index: usize| values.get(index).map_or(0.0, |value| value.sqrt());
                let kept = rank.min(values.len());
                let left = Mat::from_fn(independent, kept, |row, index| {
                    svd.U()[(row, index)] * root(index)
                });
                let solved = solve(left);
                let row = Mat::from_fn(rank, primary, |index, column| {
                    if index < kept && column < independent {
                        solved[(column, index)]
                    } else {
                        0.0
                    }
                });
                let column = Mat::from_fn(secondary, rank, |row, index| {
                    if index < kept {
                        svd.V()[(row, index)] * root(index)
                    } else {
                        0.0
                    }
                });
                Factors {
                    row: Some(tensor(&row)),
                    column: tensor(&column),
                }
            }
        };

        let indices = |values: Vec<i64>| {
            let shape = [values.len()];
            Tensor::<1, Int>::from_data(TensorData::new(values, shape), &device)
        };
        let kept = self.order[..primary].iter().map(|index| *index as i64);
        let mut places = vec![0; total];
        for (place, filter) in self.order.iter().enumerate() {
            places[*filter] = place as i64;
        }
        Ok(Split {
            primary: filters.clone().select(0, indices(kept.collect())),
            coefficients: choice.coefficients.with_values(factors),
            order: indices(places),
        })
    }
}
