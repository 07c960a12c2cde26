//! What one call of the kernel works on.

use super::geometry::Geometry;
use super::product::{Matrix, Real};

/// What the layer applies to its input.
#[derive(Debug)]
pub(super) struct Operands<'a, T> {
    pub(super) geometry: Geometry,
    /// `[m, filter_size]`
    pub(super) primary: Matrix<'a, T>,
    pub(super) mixing: Option<Mixing<'a, T>>,
    /// `[m + n]`
    pub(super) bias: Option<&'a [T]>,
}

/// The coefficients `A = column · row`, or `A = column`.
#[derive(Debug)]
pub(super) struct Mixing<'a, T> {
    /// `[rank, m]`
    pub(super) row: Option<Matrix<'a, T>>,
    /// `[n, rank]`, or `[n, m]` without a row.
    pub(super) column: Matrix<'a, T>,
}

/// One value for each operand of the layer: its tensor, its gradient, whether that is wanted.
#[derive(Clone, Debug)]
pub(super) struct PerOperand<V> {
    pub(super) input: V,
    pub(super) primary: V,
    pub(super) row: V,
    pub(super) column: V,
    pub(super) bias: V,
}

impl<V> PerOperand<V> {
    pub(super) fn as_ref(&self) -> PerOperand<&V> {
        PerOperand {
            input: &self.input,
            primary: &self.primary,
            row: &self.row,
            column: &self.column,
            bias: &self.bias,
        }
    }

    pub(super) fn map<W>(self, map: impl FnMut(V) -> W) -> PerOperand<W> {
        <[V; 5]>::from(self).map(map).into()
    }
}

impl<V> From<PerOperand<V>> for [V; 5] {
    fn from(values: PerOperand<V>) -> Self {
        let PerOperand {
            input,
            primary,
            row,
            column,
            bias,
        } = values;
        [input, primary, row, column, bias]
    }
}

impl<V> From<[V; 5]> for PerOperand<V> {
    fn from([input, primary, row, column, bias]: [V; 5]) -> Self {
        Self {
            input,
            primary,
            row,
            column,
            bias,
        }
    }
}

impl<T: Real> Operands<'_, T> {
    /// Output channels, `m + n`.
    pub(super) fn filters(&self) -> usize {
        let secondary = self
            .mixing
            .as_ref()
            .map_or(0, |mixing| mixing.column.rows());
        self.primary.rows() + secondary
    }

    /// Zero without low-rank coefficients.
    pub(super) fn rank(&self) -> usize {
        let row = self.mixing.as_ref().and_then(|mixing| mixing.row.as_ref());
        row.map_or(0, Matrix::rows)
    }

    /// Multiply-adds of one image forward.
    pub(super) fn multiply_adds(&self) -> usize {
        let mixing = self.mixing.as_ref().map_or(0, |mixing| {
            mixing.column.len() + mixing.row.as_ref().map_or(0, Matrix::len)
        });
        self.geometry.output_plane() * (self.primary.len() + mixing)
    }

    /// Values of one image of the input.
    pub(super) fn image_in(&self) -> usize {
        self.geometry.channels * self.geometry.input_plane()
    }

    /// Values of one image of the output.
    pub(super) fn image_out(&self) -> usize {
        self.filters() * self.geometry.output_plane()
    }

    pub(super) fn bias(&self, filter: usize) -> T {
        self.bias.map_or(T::zero(), |bias| bias[filter])
    }
}
