//! How the coefficients of a layer are stored. This is the only file that tells the variants
//! apart: to the rest of the crate, coefficients are a chain of matrices.

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
/// `A` has one row for each of the `n` secondary filters and one column for each of the `m`
/// primary filters (paper, section 3).
#[derive(Config, Debug, Copy, PartialEq)]
#[non_exhaustive]
pub enum CoefficientsConfig {
    /// All `n·m` coefficients.
    Full,
    /// `A = C·R` with `C` `[n, rank]` and `R` `[rank, m]`: `rank·(n + m)` coefficients.
    LowRank {
        /// The rank, between 1 and `min(n, m)`.
        rank: usize,
    },
    /// [`LowRank`](Self::LowRank) with `rank = max(1, floor(m·ratio))`: the rank follows the
    /// width of the layer.
    RankRatio {
        /// The rank as a share of the primary filters, in `(0, 1]`.
        ratio: f64,
    },
    /// All `n·m` coefficients, some of which [pruning](crate::pruning) masks out.
    Sparse {
        /// The share of coefficients that pruning is to mask out, in `[0, 1)`. It is checked, not
        /// stored: nothing is masked out until [pruning](crate::pruning) is called with it.
        sparsity: f64,
    },
}

impl CoefficientsConfig {
    /// The same configuration with a rank ratio resolved to the rank it stands for.
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

    /// The rank of low-rank coefficients of this size.
    pub(crate) fn rank(&self, secondary: usize, primary: usize) -> Result<Option<usize>, Error> {
        Ok(match self.resolve(secondary, primary)? {
            Self::LowRank { rank } => Some(rank),
            _ => None,
        })
    }

    /// Trainable coefficients of the given values, in the shapes of this configuration: a row is
    /// there where it has a rank. No sparse one is masked out.
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

    /// New coefficients, drawn from U(-0.1, 0.1) as the reference implementation does.
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

/// From what the reference implementation draws coefficients and biases.
pub(crate) const UNIFORM: Initializer = Initializer::Uniform {
    min: -0.1,
    max: 0.1,
};

/// The learned coefficients of a [`LinearConv2d`](crate::LinearConv2d): the matrix `A` that
/// combines its `m` primary filters to `n` secondary ones.
#[derive(Module, Debug)]
pub enum Coefficients {
    /// One matrix.
    Full(FullCoefficients),
    /// The product of two thin matrices.
    LowRank(LowRankCoefficients),
    /// One matrix and the mask of those of its entries that count.
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

/// Coefficients of which some are masked out.
///
/// The mask and the threshold are part of the record and never trained; [pruning](crate::pruning)
/// sets them. A masked coefficient keeps its value and may come back.
///
/// A masked coefficient counts as zero. That times a map that has overflowed to infinity is no number
/// in the factored evaluation, while the materialized one leaves the filter out.
#[derive(Module, Debug)]
pub struct SparseCoefficients {
    /// `A` before masking, of shape `[n, m]`.
    pub weight: Param<Tensor<2>>,
    /// The magnitude at or below which pruning masks a coefficient out, of shape `[1]`. Declared
    /// before the mask because pruning, which visits fields in order, needs it to set the mask.
    pub threshold: Param<Tensor<1>>,
    /// Which coefficients count, of shape `[n, m]`.
    pub mask: Param<Tensor<2, Bool>>,
}

impl LowRankCoefficients {
    fn rank(&self) -> usize {
        self.row.lazy_shape()[0]
    }
}

impl SparseCoefficients {
    /// All of them count.
    fn new(weight: Param<Tensor<2>>) -> Self {
        let (shape, device) = (weight.lazy_shape(), weight.lazy_device());
        Self {
            threshold: Param::initialized(ParamId::new(), Tensor::zeros([1], &device)),
            mask: Param::initialized(ParamId::new(), Tensor::full(shape, true, &device)),
            weight,
        }
    }

    fn masked(&self) -> Tensor<2> {
        // Filling, unlike multiplying by a float mask, works in any float type.
        let weight = self.weight.val().dequantize();
        weight.mask_fill(self.mask.val().bool_not(), 0.0)
    }
}

impl Coefficients {
    /// The matrix `A` as it acts: low-rank factors multiplied, the mask applied.
    ///
    /// # Shapes
    /// - output: `[n, m]`, secondary by primary filters
    pub fn matrix(&self) -> Tensor<2> {
        let Factors { row, column } = self.factors();
        match row {
            Some(row) => column.matmul(row),
            None => column,
        }
    }

    /// Coefficients of the same kind with the matrix `diag(rows) · A · diag(columns)`, as trainable
    /// parameters of their own. The mask and the threshold stay.
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

    /// The rank of low-rank coefficients, without initializing a lazy parameter.
    pub(crate) fn rank(&self) -> Option<usize> {
        match self {
            Self::LowRank(low_rank) => Some(low_rank.rank()),
            Self::Full(_) | Self::Sparse(_) => None,
        }
    }

    /// The variant in words, for display.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Full(_) => "Full".into(),
            Self::LowRank(low_rank) => format!("LowRank({})", low_rank.rank()),
            Self::Sparse(_) => "Sparse".into(),
        }
    }

    /// All filters, from the primary ones: `cat(P, A · P)`, put in `order` where there is one.
    ///
    /// # Shapes
    /// - primary: `[m, …]`
    /// - order: `[m + n]`, which filter of the primary and the secondary ones each is
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

    /// The matrices whose product is `A`, those of quantized coefficients as floats.
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

/// The filters of a weight, one in each row.
pub(crate) fn rows<const D: usize>(weight: Tensor<D>) -> Tensor<2> {
    let filters = weight.dims()[0] as i64;
    weight.reshape([filters, -1])
}

/// A weight whose slices along an axis are multiplied by these numbers, as a trainable parameter of
/// its own.
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

/// Coefficients `A = column · row`, or `A = column`, ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    /// `[rank, m]`
    pub(crate) row: Option<Tensor<2>>,
    /// `[n, rank]`, or `[n, m]` without a row.
    pub(crate) column: Tensor<2>,
}

impl Factors {
    /// `A · rows`: combines vectors, one for each primary filter.
    ///
    /// # Shapes
    /// - rows: `[m, length]`
    /// - output: `[n, length]`
    fn combine_rows(self, rows: Tensor<2>) -> Tensor<2> {
        self.into_iter()
            .fold(rows, |rows, factor| factor.matmul(rows))
    }

    /// `A` applied to the channels of every pixel: combines feature maps, one for each primary
    /// filter, by 1×1 convolutions.
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

    /// The one that acts first in front.
    fn into_iter(self) -> impl Iterator<Item = Tensor<2>> {
        self.row.into_iter().chain([self.column])
    }
}

/// The name under which visitors, records and paths meet coefficients beside a weight.
pub(crate) const REPARAMETERIZATION: &str = "linear_conv";

/// Whether visitors meet a matrix of coefficients under this container and field.
pub(crate) fn is_coefficient_matrix(container: &str, field: &str) -> bool {
    match container {
        "Struct:FullCoefficients" | "Struct:LowRankCoefficients" => true,
        SPARSE => field == "weight",
        _ => false,
    }
}

/// The container under which visitors and mappers meet the fields of [`SparseCoefficients`].
pub(crate) const SPARSE: &str = "Struct:SparseCoefficients";
