//! Forward passes of training images through a network, before and after its compression.

use burn::data::dataloader::DataLoader;
use burn::tensor::Tensor;
use linearconv::Calibration;

use crate::Error;
use crate::data::ImageBatch;
use crate::models::Network;

/// Runs batches through a network in its validation state, and returns what its convolutions saw. Stops once
/// the batches held at least `images` images, or at the last batch.
///
/// # Errors
/// [`Error::Training`] where a batch cannot be read.
pub fn calibrate<N: Network>(
    network: &N,
    batches: &dyn DataLoader<ImageBatch>,
    images: usize,
) -> Result<Calibration, Error> {
    let mut calibration = Calibration::new();
    for batch in batches.iter() {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        calibration.observe(|| network.forward(batch.images));
        if calibration.images() >= images {
            break;
        }
    }
    Ok(calibration)
}

/// Estimates the statistics of all normalization layers anew, from up to 40 batches of training images. No
/// labels are needed, and no weights change. Compression shifts the outputs of layers; the new statistics
/// normalize the shifted outputs.
///
/// Burn's running statistics keep nine tenths of their value at each batch. After 40 batches, 0.9^40 or 1.5 %
/// of the old value is left.
///
/// # Errors
/// [`Error::Training`] where a batch cannot be read.
pub fn normalize_again<N: Network>(
    network: N,
    batches: &dyn DataLoader<ImageBatch>,
) -> Result<N, Error> {
    let network = network.train();
    // Burn frees the graph of a forward pass in a backward pass alone. Without gradients there is no graph.
    // The copy shares the running statistics.
    let observed = network.clone().no_grad();
    for batch in batches.iter().take(40) {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        observed.forward(batch.images.autodiff());
    }
    // Burn applies the last update of the statistics in `valid`.
    Ok(network.valid().train())
}

/// The images of the first batches as one tensor, `[count, channels, height, width]`: at least `images` of
/// them, or all if there are fewer.
///
/// # Errors
/// [`Error::Training`] where a batch cannot be read.
pub fn first_images(
    batches: &dyn DataLoader<ImageBatch>,
    images: usize,
) -> Result<Tensor<4>, Error> {
    let mut first = Vec::new();
    let mut count = 0;
    for batch in batches.iter() {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        count += batch.images.dims()[0];
        first.push(batch.images);
        if count >= images {
            break;
        }
    }
    Ok(Tensor::cat(first, 0))
}
