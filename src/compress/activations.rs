//! What filters answer to a calibration batch.

use std::string::ToString;

use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use crate::error::Error;

/// What the filters of a convolution answer to a calibration batch: its outputs without bias, for
/// [`Compression::with_responses`](crate::Compression::with_responses).
///
/// # Shapes
/// - input: `[batch_size, channels_in, height_in, width_in]`
/// - output: `[channels_out, pixels]`, one column for each pixel of each output. Columns of several
///   batches can be concatenated, and be left out: eight times as many as filters are plenty.
///
/// # Panics
/// As [`Conv2d::forward`], and with the message of [`Error::GroupedResponses`] on more than one
/// group.
///
/// # Example
/// ```
/// use std::collections::HashMap;
///
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Distribution, Tensor, activation::relu};
/// use linearconv::{Compression, responses};
///
/// let device = Device::default();
/// let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
/// let model = vec![conv([8, 16]), conv([16, 32])];
///
/// // A forward pass by hand, since the inputs of every layer are needed.
/// let mut x: Tensor<4> = Tensor::random([4, 8, 12, 12], Distribution::Default, &device);
/// let mut of_layers = HashMap::new();
/// for conv in &model {
///     of_layers.insert(conv.weight.id, responses(conv, x.clone()));
///     x = relu(conv.forward(x));
/// }
/// let plan = Compression::to_parameters(0.5).with_responses(of_layers).plan(&model).unwrap();
/// assert!(plan.error() < 1.0);
/// ```
pub fn responses(conv: &Conv2d, input: Tensor<4>) -> Tensor<2> {
    try_responses(conv, input).unwrap_or_else(|error| panic!("{error}"))
}

/// # Errors
/// [`Error::GroupedResponses`]
pub(crate) fn try_responses(conv: &Conv2d, input: Tensor<4>) -> Result<Tensor<2>, Error> {
    let groups = conv.groups;
    if groups != 1 {
        return Err(Error::GroupedResponses { groups });
    }
    let unbiased = Conv2d {
        bias: None,
        ..conv.clone()
    };
    let output = unbiased.forward(input).detach();
    Ok(output.swap_dims(0, 1).flatten(1, 3))
}

/// # Errors
/// - [`Error::Responses`]: not one row for each filter.
/// - [`Error::TooFewResponses`]: fewer columns than filters, which any of them could combine.
pub(crate) fn check(path: &str, filters: usize, responses: &Tensor<2>) -> Result<(), Error> {
    let [rows, columns] = responses.dims();
    if rows != filters {
        Err(Error::Responses {
            path: path.to_string(),
            filters,
            responses: rows,
        })
    } else if columns < filters {
        Err(Error::TooFewResponses {
            path: path.to_string(),
            filters,
            columns,
        })
    } else {
        Ok(())
    }
}
