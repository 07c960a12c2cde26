//! How the coefficients of a layer are stored. Only this file matches on the variants of
//! [`Coefficients`]. The rest of the crate uses [`Factors`]: one matrix, or a product of two.

use alloc::{format, string::String, vec};

use burn::config::Config;
use burn::module::{Module, Param, ParamId};
use burn::nn::Initializer;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::error::Error;

/// How the coefficient matrix `A` of a layer is stored.
///
/// `A` has `n` rows and `m` columns. A layer has `m` primary filters and `n` secondary filters. Row
/// `i` of `A` holds the weights of the primary filters in secondary filter `i`
/// ([paper](https://arxiv.org/abs/1907.11432), section 3).
#[derive(Config, Debug, Copy, PartialEq)]
#[non_exhaustive]
pub enum CoefficientsConfig {
    /// All `n·m` coefficients.
    Full,
    /// `A = C·R`, where `C` is `[n, rank]` and `R` is `[rank, m]`: `rank·(n + m)` coefficients.
    LowRank {
        /// The rank, between 1 and `min(n, m)`.
        rank: usize,
    },
    /// [`LowRank`](Self::LowRank) with `rank = max(1, floor(m·ratio))`. The rank grows with the
    /// number of filters. It must be at most `min(n, m)`.
    RankRatio {
        /// The rank divided by the number of primary filters, in `(0, 1]`.
        ratio: f64,
    },
    /// All `n·m` coefficients. [Pruning](crate::pruning) masks some of them out.
    Sparse {
        /// The fraction of coefficients that pruning should mask out, in `[0, 1)`. A new layer
        /// checks the number, does not store it, and masks nothing out. Give the number again to
        /// [pruning](crate::pruning), which masks coefficients out.
        sparsity: f64,
    },
}

impl CoefficientsConfig {
    /// The same configuration, with the rank in place of a rank ratio.
    ///
    /// # Errors
    /// [`Error::RankRatio`], [`Error::Rank`], [`Error::Sparsity`]: a value is out of range.
    fn resolve(self, secondary: usize, primary: usize) -> Result<Self, Error> {
        match self {
            Self::RankRatio { ratio } => {
                if !(ratio > 0.0 && ratio <= 1.0) {
                    return Err(Error::RankRatio { ratio });
                }
                let rank = ((primary as f64 * ratio) as usize).max(1);
                Self::LowRank { rank }.resolve(secondary, primary)
            }
            Self::LowRank { rank } if rank == 0 || rank > secondary.min(primary) => {
                Err(Error::Rank {
                    rank,
                    secondary,
                    primary,
                })
            }
            Self::Sparse { sparsity } if !(0.0..1.0).contains(&sparsity) => {
                Err(Error::Sparsity { sparsity })
            }
            _ => Ok(self),
        }
    }

    /// The rank of low-rank coefficients of this size. `None` for coefficients of one matrix.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub(crate) fn rank(&self, secondary: usize, primary: usize) -> Result<Option<usize>, Error> {
        Ok(match self.resolve(secondary, primary)? {
            Self::LowRank { rank } => Some(rank),
            _ => None,
        })
    }

    /// Trainable coefficients with the given values. The factors have a row if this configuration
    /// has a rank. No coefficient is masked out.
    #[cfg(feature = "fit")]
    pub(crate) fn with_values(&self, Factors { row, column }: Factors) -> Coefficients {
        let weight = Param::from_tensor(column);
        match (self, row) {
            (_, Some(row)) => Coefficients::LowRank(LowRankCoefficients {
                column: weight,
                row: Param::from_tensor(row),
            }),
            (Self::Sparse { .. }, None) => Coefficients::Sparse(SparseCoefficients::new(weight)),
            (_, None) => Coefficients::Full(FullCoefficients { weight }),
        }
    }

    /// New coefficients, drawn from U(-0.1, 0.1), as in the reference implementation.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub(crate) fn try_init(
        &self,
        secondary: usize,
        primary: usize,
        device: &Device,
    ) -> Result<Coefficients, Error> {
        let draw = |shape: [usize; 2]| UNIFORM.init(shape, device);
        Ok(match self.resolve(secondary, primary)? {
            Self::LowRank { rank } => Coefficients::LowRank(LowRankCoefficients {
                column: draw([secondary, rank]),
                row: draw([rank, primary]),
            }),
            Self::Sparse { .. } => {
                let weight = draw([secondary, primary]);
                Coefficients::Sparse(SparseCoefficients::new(weight))
            }
            Self::Full | Self::RankRatio { .. } => Coefficients::Full(FullCoefficients {
                weight: draw([secondary, primary]),
            }),
        })
    }
}

/// The reference implementation draws coefficients and biases from this distribution.
pub(crate) const UNIFORM: Initializer = Initializer::Uniform {
    min: -0.1,
    max: 0.1,
};

/// The learned coefficients of a [`LinearConv2d`](crate::LinearConv2d): the matrix `A`, `[n, m]`.
/// `A` combines the `m` primary filters to `n` secondary filters.
#[derive(Module, Debug)]
pub enum Coefficients {
    /// One matrix.
    Full(FullCoefficients),
    /// The product of two thin matrices.
    LowRank(LowRankCoefficients),
    /// One matrix, and a mask of the entries that are in use.
    Sparse(SparseCoefficients),
}

/// Coefficients stored as one matrix.
#[derive(Module, Debug)]
pub struct FullCoefficients {
    /// `A`, of shape `[n, m]`.
    pub weight: Param<Tensor<2>>,
}

/// Coefficients stored as the product `column · row`.
#[derive(Module, Debug)]
pub struct LowRankCoefficients {
    /// `C`, of shape `[n, rank]`.
    pub column: Param<Tensor<2>>,
    /// `R`, of shape `[rank, m]`.
    pub row: Param<Tensor<2>>,
}

/// Coefficients with a mask.
///
/// [Pruning](crate::pruning) sets the mask and the threshold. Both are part of the record, and
/// neither is trained. The mask does not change the stored value of a coefficient, so a coefficient
/// that is masked out can come back.
///
/// A coefficient that is masked out counts as zero. If a feature map has overflowed to infinity,
/// the factored evaluation multiplies infinity by zero, which is NaN. The materialized evaluation
/// multiplies the filter by zero, and gives no NaN.
#[derive(Module, Debug)]
pub struct SparseCoefficients {
    /// `A` before masking, of shape `[n, m]`.
    pub weight: Param<Tensor<2>>,
    /// The threshold of pruning, of shape `[1]`: coefficients of this magnitude or less are masked
    /// out.
    // It is declared before the mask. Pruning visits the fields in order, and needs the threshold
    // to set the mask.
    pub threshold: Param<Tensor<1>>,
    /// The mask, of shape `[n, m]`: true where a coefficient is in use.
    pub mask: Param<Tensor<2, Bool>>,
}

impl LowRankCoefficients {
    fn rank(&self) -> usize {
        self.row.lazy_shape()[0]
    }
}

impl SparseCoefficients {
    /// Masks no coefficient out.
    fn new(weight: Param<Tensor<2>>) -> Self {
        let (shape, device) = (weight.lazy_shape(), weight.lazy_device());
        Self {
            threshold: Param::initialized(ParamId::new(), Tensor::zeros([1], &device)),
            mask: Param::initialized(ParamId::new(), Tensor::full(shape, true, &device)),
            weight,
        }
    }

    fn masked(&self) -> Tensor<2> {
        // `mask_fill` works in every float type. A product would need a mask of the same type.
        let weight = self.weight.val().dequantize();
        weight.mask_fill(self.mask.val().bool_not(), 0.0)
    }
}

impl Coefficients {
    /// The matrix `A` that the layer uses: the product of low-rank factors, or the matrix with the
    /// mask applied. Quantized coefficients are converted to floats.
    ///
    /// # Shapes
    /// - output: `[n, m]`: `n` secondary filters, `m` primary filters
    pub fn matrix(&self) -> Tensor<2> {
        let Factors { row, column } = self.factors();
        match row {
            Some(row) => column.matmul(row),
            None => column,
        }
    }

    /// Coefficients of the same variant with the matrix `diag(rows) · A · diag(columns)`, as new
    /// trainable parameters. The mask and the threshold do not change.
    pub(crate) fn scaled(&self, rows: &[f64], columns: &[f64]) -> Self {
        let both = |matrix| scaled(&scaled(matrix, 0, rows), 1, columns);
        match self {
            Self::Full(full) => Self::Full(FullCoefficients {
                weight: both(&full.weight),
            }),
            Self::LowRank(low_rank) => Self::LowRank(LowRankCoefficients {
                column: scaled(&low_rank.column, 0, rows),
                row: scaled(&low_rank.row, 1, columns),
            }),
            Self::Sparse(sparse) => Self::Sparse(SparseCoefficients {
                weight: both(&sparse.weight),
                ..sparse.clone()
            }),
        }
    }

    /// The number of secondary filters `n`, without initializing a lazy parameter.
    pub(crate) fn num_secondary(&self) -> usize {
        match self {
            Self::Full(full) => full.weight.lazy_shape()[0],
            Self::LowRank(low_rank) => low_rank.column.lazy_shape()[0],
            Self::Sparse(sparse) => sparse.weight.lazy_shape()[0],
        }
    }

    /// The rank of low-rank coefficients, without initializing a lazy parameter. `None` for
    /// coefficients of one matrix.
    pub(crate) fn rank(&self) -> Option<usize> {
        match self {
            Self::LowRank(low_rank) => Some(low_rank.rank()),
            Self::Full(_) | Self::Sparse(_) => None,
        }
    }

    /// The name of the variant, for display.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Full(_) => "Full".into(),
            Self::LowRank(low_rank) => format!("LowRank({})", low_rank.rank()),
            Self::Sparse(_) => "Sparse".into(),
        }
    }

    /// All filters: `cat(P, A · P)`, in the order of the outputs if an order is given.
    ///
    /// # Shapes
    /// - primary: `P`, `[m, …]`
    /// - order: `[m + n]`; output `i` is filter `order[i]` of `cat(P, A · P)`
    /// - output: `[m + n, …]`
    pub(crate) fn kernel<const D: usize>(
        &self,
        primary: Tensor<D>,
        order: Option<Tensor<1, Int>>,
    ) -> Tensor<D> {
        let mut shape = primary.shape();
        shape[0] += self.num_secondary();
        let primary = rows(primary.dequantize());
        let secondary = self.factors().combine_rows(primary.clone());
        let filters = Tensor::cat(vec![primary, secondary], 0);
        let filters = match order {
            Some(order) => filters.select(0, order),
            None => filters,
        };
        filters.reshape(shape)
    }

    /// The matrices whose product is `A`. Quantized matrices are converted to floats.
    pub(crate) fn factors(&self) -> Factors {
        let (row, column) = match self {
            Self::Full(full) => (None, full.weight.val().dequantize()),
            Self::LowRank(low_rank) => (
                Some(low_rank.row.val().dequantize()),
                low_rank.column.val().dequantize(),
            ),
            Self::Sparse(sparse) => (None, sparse.masked()),
        };
        Factors { row, column }
    }
}

/// A weight as a matrix: each row is one filter.
///
/// # Shapes
/// - weight: `[filters, …]`
/// - output: `[filters, length]`
pub(crate) fn rows<const D: usize>(weight: Tensor<D>) -> Tensor<2> {
    let filters = weight.dims()[0] as i64;
    weight.reshape([filters, -1])
}

/// A new trainable parameter: slice `i` of the weight along `axis`, multiplied by `by[i]`.
pub(crate) fn scaled<const D: usize>(
    weight: &Param<Tensor<D>>,
    axis: usize,
    by: &[f64],
) -> Param<Tensor<D>> {
    let weight = weight.val().dequantize();
    let mut shape = [1; D];
    shape[axis] = by.len();
    let data = TensorData::new(by.to_vec(), shape);
    let by = Tensor::from_data(data, (&weight.device(), weight.dtype()));
    Param::from_tensor((weight * by).detach())
}

/// Coefficients `A = column · row`, or `A = column` where there is no row.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    /// `[rank, m]`
    pub(crate) row: Option<Tensor<2>>,
    /// `[n, rank]`, or `[n, m]` without a row.
    pub(crate) column: Tensor<2>,
}

impl Factors {
    /// `A · rows`: combines `m` vectors to `n` vectors.
    ///
    /// # Shapes
    /// - rows: `[m, length]`, one vector for each primary filter
    /// - output: `[n, length]`
    fn combine_rows(self, rows: Tensor<2>) -> Tensor<2> {
        self.into_iter()
            .fold(rows, |rows, factor| factor.matmul(rows))
    }

    /// Combines the feature maps of the primary filters: multiplies the channels of every pixel by
    /// `A`, by one 1×1 convolution for each factor.
    ///
    /// # Shapes
    /// - maps: `[batch_size, m, height, width]`
    /// - output: `[batch_size, n, height, width]`
    pub(crate) fn combine_maps(self, maps: Tensor<4>) -> Tensor<4> {
        self.into_iter().fold(maps, |maps, factor| {
            let [rows, columns] = factor.dims();
            let pointwise = factor.reshape([rows, columns, 1, 1]);
            let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
            conv2d(maps, pointwise, None, options)
        })
    }

    /// The number of secondary filters.
    pub(crate) fn secondary(&self) -> usize {
        self.column.dims()[0]
    }

    /// The factors in the order in which they are applied: the row, then the column.
    fn into_iter(self) -> impl Iterator<Item = Tensor<2>> {
        self.row.into_iter().chain([self.column])
    }
}

/// The name of the reparameterization. Visitors see it, and it is part of paths in records.
pub(crate) const REPARAMETERIZATION: &str = "linear_conv";

/// Whether this field of this container is a matrix of coefficients. A visitor is told the names of
/// both by `enter_module`.
pub(crate) fn is_coefficient_matrix(container: &str, field: &str) -> bool {
    match container {
        "Struct:FullCoefficients" | "Struct:LowRankCoefficients" => true,
        SPARSE => field == "weight",
        _ => false,
    }
}

/// The container name of [`SparseCoefficients`] in visitors and mappers.
pub(crate) const SPARSE: &str = "Struct:SparseCoefficients";
