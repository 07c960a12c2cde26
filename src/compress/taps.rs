//! Filters, or patches of images, as one matrix for each tap: rows by channels. A tap is one
//! position in the kernel. Only one tap at a time is converted to f64, to save memory.

use std::sync::Arc;
use std::vec::Vec;

use burn::tensor::{DType, Tensor, TensorData};
use faer::Mat;

/// Values of the shape `[rows, channels, taps]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taps {
    values: Arc<Values>,
    /// A factor for each row.
    weights: Option<Arc<Vec<f64>>>,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) taps: usize,
}

/// Half precision is kept in f32.
#[derive(Clone, Debug, PartialEq)]
enum Values {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Taps {
    /// # Shapes
    /// - weight: `[filters, channels, height, width]`
    pub(crate) fn of_weight(weight: Tensor<4>) -> Self {
        let [filters, channels, height, width] = weight.dims();
        let data = weight.detach().dequantize().into_data();
        Self::new(data, [filters, channels, height * width])
    }

    /// # Panics
    /// Panics unless the data has as many values as the shape, of a float type.
    pub(crate) fn new(data: TensorData, [rows, channels, taps]: [usize; 3]) -> Self {
        assert_eq!(data.num_elements(), rows * channels * taps, "values");
        let values = match data.dtype() {
            DType::F64 => Values::Double(data.try_into_vec().expect("values in f64")),
            _ => {
                let data = data.convert_dtype(DType::F32);
                Values::Single(data.try_into_vec().expect("values in f32"))
            }
        };
        Self {
            values: Arc::new(values),
            weights: None,
            rows,
            channels,
            taps,
        }
    }

    /// The same values with a factor for each row, without a copy.
    pub(crate) fn weighted(&self, weights: Vec<f64>) -> Self {
        Self {
            weights: Some(Arc::new(weights)),
            ..self.clone()
        }
    }

    fn weight(&self, row: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[row])
    }

    /// The first row with an infinite or NaN value.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        let index = match self.values.as_ref() {
            Values::Single(values) => values.iter().position(|value| !value.is_finite()),
            Values::Double(values) => values.iter().position(|value| !value.is_finite()),
        };
        index.map(|index| index / (self.channels * self.taps))
    }

    /// The values at one tap, `[rows, channels]`.
    pub(crate) fn tap(&self, tap: usize) -> Mat<f64> {
        let at = |row: usize, channel: usize| (row * self.channels + channel) * self.taps + tap;
        match self.values.as_ref() {
            Values::Single(values) => Mat::from_fn(self.rows, self.channels, |row, channel| {
                self.weight(row) * f64::from(values[at(row, channel)])
            }),
            Values::Double(values) => Mat::from_fn(self.rows, self.channels, |row, channel| {
                self.weight(row) * values[at(row, channel)]
            }),
        }
    }

    /// The sum of the squares of all values.
    pub(crate) fn energy(&self) -> f64 {
        let row = self.channels * self.taps;
        let square = |(index, value): (usize, f64)| (self.weight(index / row) * value).powi(2);
        match self.values.as_ref() {
            Values::Single(values) => {
                let values = values.iter().map(|value| f64::from(*value));
                values.enumerate().map(square).sum()
            }
            Values::Double(values) => values.iter().copied().enumerate().map(square).sum(),
        }
    }
}
