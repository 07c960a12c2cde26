//! Data sets of labelled images.

mod batch;
mod error;
mod idx;
mod loaders;
mod mnist;

pub use batch::{ImageBatch, ImageBatcher};
pub use error::Error;
pub use loaders::Loaders;

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

/// A data set.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// A class-balanced subset of MNIST, part of the program.
    MnistMini,
    /// MNIST, from --data-dir.
    Mnist,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MnistMini => "mnist-mini",
            Self::Mnist => "mnist",
        })
    }
}

impl DatasetName {
    /// The number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::MnistMini | Self::Mnist => 10,
        }
    }

    /// The number of channels of an image.
    pub fn channels(self) -> usize {
        self.normalization().mean.len()
    }

    /// How images become numbers that networks take.
    pub fn normalization(self) -> Normalization {
        match self {
            // As the reference implementation, whose deviation is 0.3015 where 0.3081 is usual.
            Self::MnistMini | Self::Mnist => Normalization {
                mean: &[0.1307],
                deviation: &[0.3015],
                padding: 2,
            },
        }
    }

    /// Reads the data set.
    ///
    /// # Errors
    /// Names the file and what was expected of it, if one is missing or not what it should be.
    pub fn load(self, data_dir: Option<&Path>) -> Result<Dataset, Error> {
        match self {
            Self::MnistMini => mnist::mini(),
            Self::Mnist => mnist::read(data_dir),
        }
    }
}

/// How images become numbers that networks take: padded, then shifted and scaled by channel.
#[derive(Clone, Copy, Debug)]
pub struct Normalization {
    /// The mean of each channel, where white is 1.
    pub mean: &'static [f32],
    /// The standard deviation of each channel.
    pub deviation: &'static [f32],
    /// Black pixels added on every side, so that images are 32×32.
    pub padding: usize,
}

/// Images and labels to train on and to test on.
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
    /// Pixels by image, channel, row and column; 255 is white.
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

    /// The pixels of an image.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..(index + 1) * size]
    }
}
