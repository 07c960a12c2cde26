//! The flags that describe a training.

use std::path::PathBuf;

use linearconv::ConvConfig;
use serde::{Deserialize, Serialize};

use super::values::{check_count, count, positive, share, weight};
use crate::Error;
use crate::backend::{DeviceName, DeviceNameParser, Parallel, Workplace};
use crate::data::DatasetName;
use crate::models::{NetworkConfig, NetworkName};
use crate::train::{Recipe, RecipeName};

/// The data, the recipe and the devices of a training.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub struct TrainingArgs {
    /// The data set.
    #[arg(long, value_enum, default_value = "mnist-mini")]
    pub dataset: DatasetName,

    /// The folder with the files of the data set; not needed for mnist-mini.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Download the files of the data set that --data-dir lacks; --data-dir is then data/DATASET by
    /// default.
    #[arg(long)]
    pub download: bool,

    /// Use an incomplete copy of CIFAR: files may be missing, or hold fewer images than are published.
    #[arg(long, conflicts_with = "download")]
    #[serde(default)]
    pub partial: bool,

    /// The backend and its device: flex, ndarray, wgpu, cuda, a device by its number as in wgpu:1, or
    /// remote:ws://HOST:PORT; `list` prints all devices [default: flex].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser)]
    pub backend: Option<DeviceName>,

    /// Train on N devices at once: the device of --backend and the devices after it. Each device
    /// takes a part of every batch [default: 1].
    #[arg(long, value_name = "N", value_parser = count)]
    pub devices: Option<usize>,

    /// How several devices train together [default: multi].
    #[arg(long, value_enum)]
    pub parallel: Option<Parallel>,

    /// The recipe, which decides all settings that no flag changes.
    #[arg(long, value_enum, default_value = "fast")]
    pub recipe: RecipeName,

    /// Passes over the training images [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = count)]
    pub epochs: Option<usize>,

    /// Images in a batch [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch_size: Option<usize>,

    /// The highest learning rate [default: the recipe's].
    #[arg(long, value_name = "RATE", value_parser = share)]
    pub lr: Option<f64>,

    /// The weight of the correlation loss [default: the recipe's].
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub correlation_weight: Option<f64>,

    /// The seed of the initial weights, the order of the images and their augmentation. On a CPU the number
    /// of threads decides the order of sums: only the same number of threads gives the same digits.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Use N training images, drawn by the seed. The validation images are among them [default: the
    /// recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub train_limit: Option<usize>,

    /// Use the first N test images.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub test_limit: Option<usize>,

    /// The folder for the results [default: a new folder under `runs`].
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
}

impl TrainingArgs {
    /// The name of the first device.
    pub fn device_name(&self) -> DeviceName {
        self.backend.clone().unwrap_or_default()
    }

    /// Checks numbers that a file may hold, and that no command line can hold.
    ///
    /// # Errors
    /// A message that names the number.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_count(self.device_count()).map_err(|error| format!("devices: {error}"))?;
        if self.train_limit == Some(0) || self.test_limit == Some(0) {
            return Err("a limit of images must be at least 1".into());
        }
        Ok(())
    }

    /// The number of devices.
    pub fn device_count(&self) -> usize {
        self.devices.unwrap_or(1)
    }

    /// Opens the devices of the training.
    ///
    /// # Errors
    /// The errors of [`DeviceName::devices`], and [`Error::Flags`] if the devices cannot train together.
    pub(crate) fn workplace(&self) -> Result<Workplace, Error> {
        let parallel = self.parallel.unwrap_or(Parallel::Multi);
        Workplace::new(&self.device_name(), self.device_count(), parallel)
    }

    /// Appends the seed to a name, if the seed is not the default.
    pub(crate) fn with_seed(&self, name: String) -> String {
        match self.seed {
            0 => name,
            seed => format!("{name}-seed-{seed}"),
        }
    }

    /// The configuration of a network for the data set, with convolutions of this kind.
    pub fn network_config(&self, conv: ConvConfig) -> NetworkConfig {
        NetworkConfig {
            conv,
            channels: self.dataset.channels(),
            classes: self.dataset.classes(),
        }
    }

    /// The recipe that `--recipe` names, with the changes of the other flags.
    pub fn recipe(&self, network: NetworkName) -> Recipe {
        let recipe = Recipe::new(self.recipe, network, self.dataset);
        Recipe {
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            learning_rate: self.lr.unwrap_or(recipe.learning_rate),
            correlation_weight: self.correlation_weight.unwrap_or(recipe.correlation_weight),
            train_limit: self.train_limit.or(recipe.train_limit),
            ..recipe
        }
    }
}
