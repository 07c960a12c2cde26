//! The flags of training.

use std::path::PathBuf;

use linearconv::ConvConfig;
use serde::{Deserialize, Serialize};

use super::values::{positive, share, weight};
use crate::Error;
use crate::backend::{DeviceName, DeviceNameParser, Parallel, Workplace};
use crate::data::DatasetName;
use crate::models::{NetworkConfig, NetworkName};
use crate::train::{Recipe, RecipeName};

/// How a network is trained, and on what.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
pub struct TrainingArgs {
    /// The data set.
    #[arg(long, value_enum, default_value = "mnist-mini")]
    pub dataset: DatasetName,

    /// Where the files of a data set that is not embedded are.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Fetch the files of the data set that are missing from --data-dir, which then defaults to
    /// data/DATASET.
    #[arg(long)]
    pub download: bool,

    /// Train on what there is of a data set, also where files are missing or hold fewer images than are
    /// published.
    #[arg(long, conflicts_with = "download")]
    #[serde(default)]
    pub partial: bool,

    /// Where to compute: flex, ndarray, wgpu, cuda, a device by its number as in wgpu:1, or
    /// remote:ws://HOST:PORT; `list` prints what is there [default: flex].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser)]
    pub backend: Option<DeviceName>,

    /// Train on N devices at once, from that of --backend on; each has its share of every batch
    /// [default: 1].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub devices: Option<usize>,

    /// How several devices train together [default: multi].
    #[arg(long, value_enum)]
    pub parallel: Option<Parallel>,

    /// Where the settings come from that no flag gives.
    #[arg(long, value_enum, default_value = "fast")]
    pub recipe: RecipeName,

    /// Passes over the training images [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,

    /// Images in a batch [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,

    /// The highest learning rate [default: the recipe's].
    #[arg(long, value_name = "RATE", value_parser = share)]
    pub lr: Option<f64>,

    /// The weight of the correlation loss [default: the recipe's].
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub correlation_weight: Option<f64>,

    /// What initial weights, the order of images and their augmentation are drawn from. On a CPU, sums
    /// are made in an order that the number of threads decides: only as many give the same digits.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Use N training images, drawn by the seed, validation included [default: the recipe's].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub train_limit: Option<usize>,

    /// Use the first N test images.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub test_limit: Option<usize>,

    /// Where results go [default: a new folder under `runs`].
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
}

impl TrainingArgs {
    /// Where to compute.
    pub fn device_name(&self) -> DeviceName {
        self.backend.clone().unwrap_or_default()
    }

    /// How many devices train.
    pub fn device_count(&self) -> usize {
        self.devices.unwrap_or(1)
    }

    /// Where to compute.
    ///
    /// # Errors
    /// Those of [`DeviceName::devices`], and [`Error::Flags`] where the devices cannot train together.
    pub(crate) fn workplace(&self) -> Result<Workplace, Error> {
        let parallel = self.parallel.unwrap_or(Parallel::Multi);
        Workplace::new(&self.device_name(), self.device_count(), parallel)
    }

    /// A name of results, with the seed where that is not the usual one.
    pub(crate) fn with_seed(&self, name: String) -> String {
        match self.seed {
            0 => name,
            seed => format!("{name}-seed-{seed}"),
        }
    }

    /// The network for the data set, with convolutions of this kind.
    pub fn network_config(&self, conv: ConvConfig) -> NetworkConfig {
        NetworkConfig {
            conv,
            channels: self.dataset.channels(),
            classes: self.dataset.classes(),
        }
    }

    /// The recipe that the flags name, changed by those that change one.
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
