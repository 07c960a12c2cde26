//! Errors of a run.

use std::path::PathBuf;

use thiserror::Error;

use crate::train::Diverged;

/// The reason why a run ended without a result.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A layer or a compression does not accept its configuration.
    #[error(transparent)]
    LinearConv(#[from] linearconv::Error),

    /// Flags exclude each other, or the network does not accept them.
    #[error("{0}")]
    Flags(String),

    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::Error),

    /// The program was built without the backend.
    #[error(
        "backend `{name}` is not compiled in; run with `--features {name}`; \
         compiled in: {compiled_in}"
    )]
    BackendNotCompiled {
        /// The name of the backend, which is also the name of its feature.
        name: String,
        /// The backends that the program was built with.
        compiled_in: String,
    },

    /// The machine has fewer devices.
    #[error("{}; there are\n{list}", absent(name, *count))]
    DeviceAbsent {
        /// The device that was asked for, or the first of several.
        name: String,
        /// The number of devices that were asked for.
        count: usize,
        /// The devices that the machine has, one on each line.
        list: String,
    },

    /// The machine has the device, but the device does not work.
    #[error("`{name}` does not work: {reason}")]
    Device {
        /// The device.
        name: String,
        /// The message of its driver or its server.
        reason: String,
    },

    /// The folder for results holds another run.
    #[error(
        "{} holds the results of another run, or another run writes to it; give another --out-dir, \
         continue that run with --resume, or remove the folder",
        path.display()
    )]
    OutDirInUse {
        /// The folder.
        path: PathBuf,
    },

    /// A run cannot be continued.
    #[error("the run in {} cannot be resumed: {reason}", path.display())]
    Resume {
        /// The folder of the run.
        path: PathBuf,
        /// The reason.
        reason: String,
    },

    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// Weights could not be written or read.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The error of Burn.
        source: burn::store::RecordError,
    },

    /// A file does not hold the weights of the network.
    #[error("{}: {source}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<crate::weights::Error>,
    },

    /// A network could not be exported.
    #[error("{}: {reason}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },

    /// An image could not be read.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The error of the image decoder.
        source: image::ImageError,
    },

    /// The optimizer or its schedule does not accept its configuration.
    #[error("invalid recipe: {0}")]
    Recipe(String),

    /// The loss has grown too large for training to recover, or the loss is not a number.
    #[error(
        "training has diverged in epoch {epoch}: {diverged}; {}",
        match kept {
            Some(path) => format!(
                "{} holds the weights of the epoch before; try a lower --lr",
                path.display()
            ),
            None => "no epoch was finished before; try a lower --lr".into(),
        }
    )]
    Diverged {
        /// The epoch in which the loss diverged.
        epoch: usize,
        /// The loss, and the learning rate.
        diverged: Diverged,
        /// The file with the weights of the last finished epoch.
        kept: Option<PathBuf>,
    },

    /// The user or the system stopped the training.
    #[error("training was interrupted")]
    Interrupted,

    /// Training ended with an error.
    #[error("training ended early: {0}")]
    Training(String),

    /// A figure could not be drawn.
    #[error("{}: the curves could not be drawn: {reason}", path.display())]
    Figure {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

fn absent(name: &str, count: usize) -> String {
    match count {
        1 => format!("`{name}` is not there"),
        count => format!("there are fewer than {count} devices, counted from `{name}`"),
    }
}
