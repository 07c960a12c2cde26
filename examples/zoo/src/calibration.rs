//! What the convolutions of a network see of training images.

use burn::data::dataloader::DataLoader;
use burn::tensor::Tensor;
use linearconv::Calibration;

use crate::Error;
use crate::data::ImageBatch;
use crate::models::Network;

/// Runs batches of at least so many images through a network in its validation state, or all there
/// are.
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

/// A network whose normalization layers have statistics of so many training images, without labels
/// and without a change of its weights: what compression has moved is normalized again.
///
/// Burn's running statistics forget a tenth at every batch, so forty batches leave a hundredth of
/// what was there before.
///
/// # Errors
/// [`Error::Training`] where a batch cannot be read.
pub fn normalize_again<N: Network>(
    network: N,
    batches: &dyn DataLoader<ImageBatch>,
) -> Result<N, Error> {
    let network = network.train();
    for batch in batches.iter().take(40) {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        network.forward(batch.images.autodiff());
    }
    // The last update is made on the way to validation.
    Ok(network.valid().train())
}

/// Images of the first batches, at least so many or all there are.
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
