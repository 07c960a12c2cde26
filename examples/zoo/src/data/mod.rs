//! Data sets of labelled images.

mod augmentation;
mod batch;
mod cifar;
mod classes;
mod download;
mod error;
mod folder;
mod idx;
mod image;
mod loaders;
mod mnist;
mod svhn;

pub use augmentation::Augmentation;
#[cfg(test)]
pub(crate) use augmentation::split_mix;
pub use batch::{ImageBatch, ImageBatcher, Sample};
pub use error::Error;
pub use image::{read_image, square};
pub use loaders::{LoaderConfig, Loaders};

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use folder::Folder;

use crate::value_name::value_name;

/// A data set.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// A class-balanced subset of MNIST, part of the program.
    MnistMini,
    /// MNIST: digits, 28×28 grey pixels.
    Mnist,
    /// Fashion-MNIST: clothes, 28×28 grey pixels.
    FashionMnist,
    /// CIFAR-10: photographs in 10 classes, 32×32 pixels.
    Cifar10,
    /// CIFAR-100: photographs in 100 classes, 32×32 pixels.
    Cifar100,
    /// SVHN: digits of house numbers, 32×32 pixels.
    Svhn,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value_name(self))
    }
}

impl DatasetName {
    /// The number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar100 => 100,
            _ => 10,
        }
    }

    /// The name of a class.
    pub fn class_name(self, class: usize) -> String {
        let names: &[&str] = match self {
            Self::MnistMini | Self::Mnist | Self::Svhn => &[],
            Self::FashionMnist => &classes::FASHION_MNIST,
            Self::Cifar10 => &classes::CIFAR10,
            Self::Cifar100 => &classes::CIFAR100,
        };
        names
            .get(class)
            .map_or_else(|| class.to_string(), |name| (*name).into())
    }

    /// The number of channels of an image.
    pub fn channels(self) -> usize {
        self.normalization().mean.len()
    }

    /// How images become inputs of networks, as in the reference implementation.
    pub fn normalization(self) -> Normalization {
        let (mean, deviation, padding): (&[f32], &[f32], usize) = match self {
            // The deviation of the reference implementation. Others use 0.3081.
            Self::MnistMini | Self::Mnist => (&[0.1307], &[0.3015], 2),
            Self::FashionMnist => (&[0.2860], &[0.3205], 2),
            Self::Cifar10 => (&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010], 0),
            Self::Cifar100 => (&[0.5071, 0.4866, 0.4409], &[0.2009, 0.1984, 0.2023], 0),
            Self::Svhn => (&[0.4377, 0.4438, 0.4728], &[0.1201, 0.1231, 0.1052], 0),
        };
        Normalization {
            mean,
            deviation,
            padding,
        }
    }

    /// How training images are varied, as in the reference implementation.
    pub fn augmentation(self) -> Augmentation {
        let (crop, flip) = match self {
            Self::MnistMini | Self::Mnist => (0, false),
            Self::FashionMnist => (0, true),
            Self::Cifar10 | Self::Cifar100 => (4, true),
            Self::Svhn => (4, false),
        };
        Augmentation { crop, flip }
    }

    /// Reads the data set. With `download`, missing files are downloaded first.
    ///
    /// Without a folder, downloads go to `data/` and the name of the data set, because some data sets have
    /// files of the same names.
    ///
    /// # Errors
    /// [`Error`], which names a file that is missing or wrong, and what was expected.
    pub fn load(self, data_dir: Option<&Path>, download: bool) -> Result<Dataset, Error> {
        self.read(|| Folder::new(self, data_dir, download))
    }

    /// Reads the data set, whose files may be missing or hold fewer images than are published. Only CIFAR is
    /// read in this way; the other data sets are read as by [`load`](Self::load).
    ///
    /// # Errors
    /// The errors of [`load`](Self::load); [`Error::Empty`] without training images or without test images.
    pub fn load_partial(self, data_dir: Option<&Path>) -> Result<Dataset, Error> {
        self.read(|| Ok(Folder::new(self, data_dir, false)?.partial()))
    }

    fn read(self, folder: impl Fn() -> Result<Folder, Error>) -> Result<Dataset, Error> {
        let data = match self {
            Self::MnistMini => mnist::mini(),
            Self::Mnist => mnist::read(&folder()?, &mnist::MNIST),
            Self::FashionMnist => mnist::read(&folder()?, &mnist::FASHION_MNIST),
            Self::Cifar10 => cifar::CIFAR10.read(&folder()?),
            Self::Cifar100 => cifar::CIFAR100.read(&folder()?),
            Self::Svhn => svhn::read(&folder()?),
        }?;
        let [train, test] = [data.train.len(), data.test.len()];
        if train == 0 || test == 0 {
            return Err(Error::Empty {
                dataset: self,
                train,
                test,
            });
        }
        Ok(data)
    }
}

/// How images become inputs of networks: they are padded, then each channel is shifted and scaled.
#[derive(Clone, Copy, Debug)]
pub struct Normalization {
    /// The mean of each channel, where white is 1.
    pub mean: &'static [f32],
    /// The standard deviation of each channel.
    pub deviation: &'static [f32],
    /// The number of black pixels that are added on every side, so that images are 32×32.
    pub padding: usize,
}

/// Training images and test images with their labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The training set.
    pub train: Images,
    /// The test set.
    pub test: Images,
}

/// Labelled images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Pixels, `[images, channels, height, width]`; 255 is white.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u8>,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
}

impl Images {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of an image, `[channels, height, width]`.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..(index + 1) * size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_and_in_reports_agree() {
        let names: Vec<String> = DatasetName::value_variants()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = "mnist-mini mnist fashion-mnist cifar10 cifar100 svhn";
        assert_eq!(names.join(" "), expected);
        for (dataset, name) in DatasetName::value_variants().iter().zip(names) {
            let written = serde_json::to_value(dataset).expect("a string");
            assert_eq!(written, name);
        }
    }

    #[test]
    fn every_set_makes_images_of_32_by_32_pixels() {
        for dataset in DatasetName::value_variants() {
            let normalization = dataset.normalization();
            let (side, channels) = match dataset.channels() {
                1 => (28, 1),
                _ => (32, 3),
            };
            assert_eq!(side + 2 * normalization.padding, 32, "{dataset}");
            assert_eq!(normalization.deviation.len(), channels, "{dataset}");
        }
    }
}
