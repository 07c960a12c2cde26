//! Combines input channels, as the coefficients of a layer combine filters.

use alloc::vec;

use burn::module::Param;
use burn::tensor::{Int, Tensor};

use crate::error::Error;

/// The matrix `[I, B]` that maps all `c` input channels to the `s` primary channels. A primary
/// channel keeps its values. The other channels are added to the primary channels, weighted by `B`.
///
/// # Shapes
/// - coefficients: `B`, `[s, c - s]`
/// - order: `[c]`; input channel `i` has column `order[i]` of `[I, B]`
/// - output: `[s, c]`, the columns in the order of the input channels
pub(crate) fn channel_matrix(
    coefficients: &Param<Tensor<2>>,
    order: Option<&Param<Tensor<1, Int>>>,
) -> Tensor<2> {
    let coefficients = coefficients.val().dequantize();
    let [primary, _] = coefficients.dims();
    let identity = Tensor::<2>::eye(primary, &coefficients.device()).cast(coefficients.dtype());
    let matrix = Tensor::cat(vec![identity, coefficients], 1);
    match order {
        Some(order) => matrix.select(1, order.val()),
        None => matrix,
    }
}

/// Turns filters of the primary channels into filters of all channels. It multiplies the channels
/// of each filter by the matrix.
///
/// # Shapes
/// - filters: `[filters, s, height, width]`
/// - matrix: `[s, c]`
/// - output: `[filters, c, height, width]`
pub(crate) fn expand_channels<const D: usize>(filters: Tensor<D>, matrix: Tensor<2>) -> Tensor<D> {
    let [primary, channels] = matrix.dims();
    let mut shape = filters.dims();
    let taps: usize = shape[2..].iter().product();
    let filters = filters.reshape([shape[0], primary, taps]).swap_dims(1, 2);
    let filters = filters.reshape([shape[0] * taps, primary]).matmul(matrix);
    let filters = filters.reshape([shape[0], taps, channels]).swap_dims(1, 2);
    shape[1] = channels;
    filters.reshape(shape)
}

/// The number of primary channels, `floor(ratio · channels)`.
///
/// # Errors
/// - [`Error::ChannelRatio`]: the ratio is outside `(0, 1]`, or leaves no primary channel.
/// - [`Error::ChannelGroups`]: there are several groups, and not all channels are primary.
pub(crate) fn primary_channels(ratio: f64, channels: usize, groups: usize) -> Result<usize, Error> {
    let primary = (ratio * channels as f64) as usize;
    if !(ratio > 0.0 && ratio <= 1.0 && primary > 0) {
        Err(Error::ChannelRatio { ratio, channels })
    } else if groups > 1 && primary < channels {
        Err(Error::ChannelGroups { groups, ratio })
    } else {
        Ok(primary)
    }
}
