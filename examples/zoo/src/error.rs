//! What can go wrong in a run.

use std::path::PathBuf;

use thiserror::Error;

use crate::train::Diverged;

/// Why a run ended without a result.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A layer or a compression refused its configuration.
    #[error(transparent)]
    LinearConv(#[from] linearconv::Error),

    /// Flags that do not go together, or not with the network.
    #[error("{0}")]
    Flags(String),

    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::Error),

    /// The backend is not part of this binary.
    #[error(
        "backend `{name}` is not compiled in; run with `--features {name}`; \
         compiled in: {compiled_in}"
    )]
    BackendNotCompiled {
        /// The backend, which is also the name of its feature.
        name: String,
        /// Those that are.
        compiled_in: String,
    },

    /// The machine has fewer devices.
    #[error("{}; there are\n{list}", absent(name, *count))]
    DeviceAbsent {
        /// The device that was asked for, the first of several.
        name: String,
        /// How many were asked for.
        count: usize,
        /// Those that are there, a line for each.
        list: String,
    },

    /// A device is there and does not work.
    #[error("`{name}` does not work: {reason}")]
    Device {
        /// The device.
        name: String,
        /// What its driver or its server said.
        reason: String,
    },

    /// The folder for results belongs to another run.
    #[error(
        "{} holds the results of another run, or one is at work there; give another --out-dir, \
         go on with that run by --resume, or remove the folder",
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
        /// Why not.
        reason: String,
    },

    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// Weights could not be written or read.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What Burn said.
        source: burn::store::RecordError,
    },

    /// A file does not give the weights of the network.
    #[error("{}: {source}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<crate::weights::Error>,
    },

    /// A network could not be written for others.
    #[error("{}: {reason}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// An image could not be read.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: image::ImageError,
    },

    /// The optimizer or its schedule refused its configuration.
    #[error("invalid recipe: {0}")]
    Recipe(String),

    /// The loss has grown beyond what any later step comes back from, or is no number.
    #[error(
        "training has diverged in epoch {epoch}: {diverged}; {}",
        match kept {
            Some(path) => format!("{} is from before; try a lower --lr", path.display()),
            None => "no epoch was finished before; try a lower --lr".into(),
        }
    )]
    Diverged {
        /// The epoch.
        epoch: usize,
        /// The loss, and the learning rate.
        diverged: Diverged,
        /// The weights of the last epoch that was finished.
        kept: Option<PathBuf>,
    },

    /// Training was stopped from outside.
    #[error("training was interrupted")]
    Interrupted,

    /// Training ended early.
    #[error("training ended early: {0}")]
    Training(String),

    /// A figure could not be drawn.
    #[error("{}: the curves could not be drawn: {reason}", path.display())]
    Figure {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

fn absent(name: &str, count: usize) -> String {
    match count {
        1 => format!("`{name}` is not there"),
        count => format!("there are not {count} devices from `{name}` on"),
    }
}
