//! A network from a file, used as it is: tested, asked, or written in another format.

use std::fmt::Write as _;
use std::path::Path;

use burn::tensor::Device;
use burn::tensor::activation::softmax;
use linearconv::Inference;

use crate::Error;
use crate::cli::{Args, FileArgs};
use crate::data::{DatasetName, read_image};
use crate::models::{AnyNetwork, Network, NetworkName, trainable_parameters};
use crate::train::accuracy;
use crate::weights::{Loaded, Metadata, export, load};

/// How many classes are printed of an image.
const LIKELIEST: usize = 3;

/// Does what the command line asks of the network that it loads. Returns what there is to print.
///
/// # Errors
/// Names the file, and the tensor, the byte or the flag.
pub fn used(network: NetworkName, args: &Args) -> Result<String, Error> {
    let (files, training) = (&args.files, &args.training);
    files.check_export()?;
    let workplace = training.workplace()?;
    let device = workplace.main();
    let file = files.load.as_deref().unwrap_or(Path::new(""));
    let loaded = load_for(network, file, training.dataset, &device.clone().autodiff())?;
    let mut text = String::new();
    let mut metadata = loaded.metadata_of(network);
    let asked = Inference::new(loaded.network.clone());
    if files.evaluate {
        let loaders = super::load(training, &training.recipe(network), 0, device)?;
        let accuracy = accuracy(&*asked, loaders.test.as_ref())?;
        let parameters = trainable_parameters(&loaded.network);
        let _ = writeln!(text, "network       {network} of {}", file.display());
        let _ = writeln!(text, "parameters    {parameters}");
        let images = loaders.test.num_items();
        let _ = writeln!(text, "test accuracy {accuracy:.2} % of {images} images");
        metadata = metadata.with_test(training.dataset, accuracy);
    }
    for image in &files.predict {
        let answer = answer(&asked, image, training.dataset, device)?;
        let _ = writeln!(text, "{}: {answer}", image.display());
    }
    files.write_export(loaded, metadata)?;
    Ok(text)
}

/// A network from a file, for images of a data set.
///
/// # Errors
/// [`Error::Load`], and [`Error::Flags`] where the network has other channels or classes.
pub(crate) fn load_for(
    network: NetworkName,
    file: &Path,
    dataset: DatasetName,
    device: &Device,
) -> Result<Loaded, Error> {
    let loaded = load(network, file, device).map_err(|source| Error::Load {
        path: file.into(),
        source: Box::new(source),
    })?;
    let (channels, classes) = (loaded.channels, loaded.classes);
    if (channels, classes) != (dataset.channels(), dataset.classes()) {
        return Err(Error::Flags(format!(
            "{}: a network for images of {channels} channels in {classes} classes, {dataset} has {} \
             channels in {} classes; name the data set that it was made for by --dataset",
            file.display(),
            dataset.channels(),
            dataset.classes()
        )));
    }
    Ok(loaded)
}

/// The likeliest classes of an image.
fn answer(
    network: &AnyNetwork,
    image: &Path,
    dataset: DatasetName,
    device: &Device,
) -> Result<String, Error> {
    let image = read_image(image, dataset, device)?;
    let scores = network.forward(image);
    let shares = softmax(scores, 1).try_to_vec_as::<f32>();
    let shares = shares.map_err(|error| Error::Training(error.to_string()))?;
    let mut classes: Vec<(usize, f32)> = shares.into_iter().enumerate().collect();
    classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let words = classes
        .iter()
        .take(LIKELIEST)
        .map(|(class, share)| format!("{} {:.1} %", dataset.class_name(*class), share * 100.0));
    Ok(words.collect::<Vec<_>>().join(", "))
}

impl FileArgs {
    /// What can be known before a network is trained or read.
    ///
    /// # Errors
    /// [`Error::Flags`]
    pub(super) fn check_export(&self) -> Result<(), Error> {
        match &self.export {
            Some(path) => export::check(path, self.force).map_err(Error::Flags),
            None => Ok(()),
        }
    }

    /// Writes a network where the flags say.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn write_export(&self, loaded: Loaded, metadata: Metadata) -> Result<(), Error> {
        match &self.export {
            Some(path) => export::write(loaded, path, self.dense, &metadata),
            None => Ok(()),
        }
    }
}
