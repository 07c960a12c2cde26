//! The operands of the layer: tensors of the caller, and matrices of the kernel.

use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;

use super::gemm::Matrix;
use super::geometry::Geometry;
use super::real::Real;

/// One value for each operand: its tensor, its matrix, its gradient, or whether the gradient is
/// wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands<V> {
    /// `[batch_size, channels, height_in, width_in]`
    pub(super) input: V,
    /// The primary filters, `[m, channels, kernel_height, kernel_width]`.
    pub(super) filters: V,
    pub(super) coefficients: Option<Coefficients<V>>,
    /// `[m + n]`
    pub(super) bias: Option<V>,
}

/// The coefficients `A = column · row`, or `A = column`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coefficients<V> {
    /// `[rank, m]`
    pub(super) row: Option<V>,
    /// `[n, rank]`, or `[n, m]` without a row.
    pub(super) column: V,
}

impl<V> Operands<V> {
    pub(super) fn as_ref(&self) -> Operands<&V> {
        Operands {
            input: &self.input,
            filters: &self.filters,
            coefficients: self.coefficients.as_ref().map(|factors| Coefficients {
                row: factors.row.as_ref(),
                column: &factors.column,
            }),
            bias: self.bias.as_ref(),
        }
    }

    /// Maps the values, in the order of [`values`](Self::values).
    pub(super) fn map<W>(self, mut map: impl FnMut(V) -> W) -> Operands<W> {
        Operands {
            input: map(self.input),
            filters: map(self.filters),
            coefficients: self.coefficients.map(|factors| Coefficients {
                row: factors.row.map(&mut map),
                column: map(factors.column),
            }),
            bias: self.bias.map(map),
        }
    }

    /// Pairs the values of the same operands.
    ///
    /// # Panics
    /// Panics if `other` has fewer operands.
    pub(super) fn zip<W>(self, other: Operands<W>) -> Operands<(V, W)> {
        let mut other = other.values();
        self.map(|value| (value, other.next().expect("the same operands")))
    }

    /// The values of the operands that exist, at most [`MAX_OPERANDS`].
    pub(super) fn values(self) -> impl Iterator<Item = V> {
        let factors = self.coefficients.into_iter();
        [self.input, self.filters]
            .into_iter()
            .chain(factors.flat_map(|factors| factors.row.into_iter().chain([factors.column])))
            .chain(self.bias)
    }
}

/// The most operands that a layer can have.
pub(super) const MAX_OPERANDS: usize = 5;

/// The layer as the kernel computes it.
#[derive(Debug)]
pub(super) struct Layer<'a, T> {
    pub(super) geometry: Geometry,
    pub(super) operands: Operands<Matrix<'a, T>>,
    /// Output `i` shows filter `order[i]`, or filter `i` without an order.
    pub(super) order: Option<&'a [usize]>,
}

impl<'a, T: Real> Layer<'a, T> {
    /// Reads contiguous tensors of this element type.
    pub(super) fn new(
        tensors: &'a Operands<FlexTensor>,
        order: Option<&'a [usize]>,
        options: &ConvOptions<2>,
    ) -> Self {
        let shape = |tensor: &FlexTensor| tensor.layout().shape().dims();
        Self {
            geometry: Geometry::new(shape(&tensors.input), shape(&tensors.filters), options),
            operands: tensors.as_ref().map(Matrix::of),
            order,
        }
    }

    pub(super) fn batch_size(&self) -> usize {
        self.operands.input.rows()
    }

    /// Values of one image of the input.
    pub(super) fn image_in(&self) -> usize {
        self.operands.input.columns()
    }

    /// Values of one image of the output.
    pub(super) fn image_out(&self) -> usize {
        self.outputs() * self.geometry.output_plane()
    }

    /// Values of the primary maps of one image.
    pub(super) fn image_primary(&self) -> usize {
        self.operands.filters.rows() * self.geometry.output_plane()
    }

    /// The filter that an output shows.
    pub(super) fn shown(&self, output: usize) -> usize {
        self.order.map_or(output, |order| order[output])
    }

    /// Output channels, `m + n`.
    pub(super) fn outputs(&self) -> usize {
        let factors = self.operands.coefficients;
        self.operands.filters.rows() + factors.map_or(0, |factors| factors.column.rows())
    }

    /// The rank of the coefficients; 0 if they are not low-rank.
    pub(super) fn rank(&self) -> usize {
        let factors = self.operands.coefficients;
        let row = factors.and_then(|factors| factors.row);
        row.map_or(0, |row| row.rows())
    }

    /// Multiply-adds of the forward pass of one image.
    pub(super) fn multiply_adds(&self) -> usize {
        let Operands {
            filters,
            coefficients,
            ..
        } = self.operands;
        let combination = coefficients.map_or(0, |factors| {
            factors.column.len() + factors.row.map_or(0, |row| row.len())
        });
        let weights = filters.len().saturating_add(combination);
        self.geometry.output_plane().saturating_mul(weights)
    }
}
