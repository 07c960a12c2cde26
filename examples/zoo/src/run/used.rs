//! Uses a network from a file without training: tests it, predicts with it, or exports it.

use std::fmt::Write as _;
use std::path::Path;

use burn::tensor::Device;
use burn::tensor::activation::softmax;
use clap::ValueEnum;
use linearconv::Inference;

use crate::Error;
use crate::cli::{Args, FileArgs};
use crate::data::{DatasetName, read_image};
use crate::models::{AnyNetwork, Network, NetworkName, trainable_parameters};
use crate::train::accuracy;
use crate::weights::{Loaded, Metadata, export, load};

/// The number of classes that are printed for an image.
const LIKELIEST: usize = 3;

/// Loads a network, and evaluates, predicts or exports as the command line says. Adds what it finds to `text`,
/// also where a later image or file is an error.
///
/// # Errors
/// [`Error`], which names the file or the flag; [`Error::Load`] also names the tensor.
pub fn used(network: NetworkName, args: &Args, text: &mut String) -> Result<(), Error> {
    let (files, training) = (&args.files, &args.training);
    files.check_export()?;
    let workplace = training.workplace()?;
    let device = workplace.main();
    let file = files.load.as_deref().unwrap_or(Path::new(""));
    let loaded = load_for(network, file, training.dataset, &device.clone().autodiff())?;
    let mut metadata = loaded.metadata_of(network);
    check_dataset(file, &metadata, training.dataset)?;
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
    files.write_export(loaded, metadata)
}

/// # Errors
/// [`Error::Flags`] if the file says that its network tells other classes apart.
fn check_dataset(file: &Path, metadata: &Metadata, dataset: DatasetName) -> Result<(), Error> {
    let known = metadata.entries().find(|(name, _)| *name == "dataset");
    let known = known.and_then(|(_, name)| DatasetName::from_str(name, false).ok());
    let classes = |dataset: DatasetName| -> Vec<String> {
        (0..dataset.classes())
            .map(|class| dataset.class_name(class))
            .collect()
    };
    match known.filter(|known| classes(*known) != classes(dataset)) {
        Some(known) => Err(Error::Flags(format!(
            "{}: the network was trained on {known}, not on {dataset}; give --dataset {known}",
            file.display()
        ))),
        None => Ok(()),
    }
}

/// Loads a network from a file, for images of a data set.
///
/// # Errors
/// [`Error::Load`] if the file does not hold the network, and [`Error::Flags`] if the network has other
/// numbers of channels or classes than the data set.
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
            "{}: the network is for images of {channels} channels in {classes} classes, but {dataset} \
             has {} channels in {} classes; give the data set of the network with --dataset",
            file.display(),
            dataset.channels(),
            dataset.classes()
        )));
    }
    Ok(loaded)
}

/// The likeliest classes of an image, with their probabilities, as text.
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
    /// Checks `--export` before a network is trained or loaded.
    ///
    /// # Errors
    /// [`Error::Flags`] if the network cannot be written to that file.
    pub(super) fn check_export(&self) -> Result<(), Error> {
        match &self.export {
            Some(path) => export::check(path, self.force).map_err(Error::Flags),
            None => Ok(()),
        }
    }

    /// Writes a network to the file of `--export`, if there is one.
    ///
    /// # Errors
    /// [`Error::Export`], which names the file.
    pub(super) fn write_export(&self, loaded: Loaded, metadata: Metadata) -> Result<(), Error> {
        match &self.export {
            Some(path) => export::write(loaded, path, self.dense, self.force, &metadata),
            None => Ok(()),
        }
    }
}
