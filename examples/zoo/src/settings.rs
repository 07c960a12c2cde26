//! All that decides a run, and the folder that keeps it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cli::{Args, ConvArgs, TrainingArgs};
use crate::models::NetworkName;
use crate::recipe::Recipe;
use crate::report::write_json;

/// The name of the file in a run's folder.
const FILE: &str = "config.json";

/// All that decides a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The network.
    pub network: NetworkName,
    /// Its convolutions.
    pub conv: ConvArgs,
    /// The data, the backend and the seed.
    pub training: TrainingArgs,
    /// How it is trained, with what the flags have changed.
    pub recipe: Recipe,
}

/// A run with its place.
pub struct Run {
    /// All that decides it.
    pub settings: Settings,
    /// Where its results are.
    pub folder: PathBuf,
    /// The epochs that are behind it.
    pub finished_epochs: usize,
}

impl Run {
    /// A new run as the command line describes it, or the one to resume. Creates no folder yet.
    ///
    /// # Errors
    /// - [`Error::OutDirInUse`] where the folder belongs to another run.
    /// - [`Error::Resume`] where there is no such run to continue.
    pub fn new(network: NetworkName, args: Args) -> Result<Self, Error> {
        if let Some(folder) = args.resume {
            return Self::resume(network, folder);
        }
        let settings = Settings {
            network,
            recipe: args.training.recipe(network),
            conv: args.conv,
            training: args.training,
        };
        let folder = match &settings.training.out_dir {
            Some(path) if in_use(path) => return Err(Error::OutDirInUse { path: path.clone() }),
            Some(path) => path.clone(),
            None => unused_folder(&settings),
        };
        Ok(Self {
            settings,
            folder,
            finished_epochs: 0,
        })
    }

    fn resume(network: NetworkName, folder: PathBuf) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Resume {
            path: folder.clone(),
            reason,
        };
        let path = folder.join(FILE);
        let json = fs::read(&path).map_err(|error| refuse(format!("{FILE}: {error}")))?;
        let settings: Settings =
            serde_json::from_slice(&json).map_err(|error| refuse(format!("{FILE}: {error}")))?;
        if settings.network != network {
            return Err(refuse(format!(
                "it trains {}, not {network}",
                settings.network
            )));
        }
        let epochs = settings.recipe.epochs;
        match (1..=epochs)
            .rev()
            .find(|epoch| has_checkpoint(&folder, *epoch))
        {
            Some(last) if last == epochs => Err(refuse(format!("all {epochs} epochs are done"))),
            Some(last) => Ok(Self {
                settings,
                folder,
                finished_epochs: last,
            }),
            None => Err(refuse("it has no checkpoint yet".into())),
        }
    }

    /// Creates the folder and writes the settings to it; a resumed run has both.
    ///
    /// # Errors
    /// Names the folder or file that could not be written.
    pub fn create_folder(&self) -> Result<(), Error> {
        if self.finished_epochs > 0 {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(|source| Error::Io {
            path: self.folder.clone(),
            source,
        })?;
        write_json(&self.folder.join(FILE), &self.settings)
    }

    /// The weights that a finished epoch left, unless a later and better one has replaced them.
    pub fn checkpoint(&self, epoch: usize) -> PathBuf {
        checkpoint(&self.folder, "model", epoch)
    }
}

/// Where burn-train keeps a part of its state.
fn checkpoint(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(format!("checkpoint/{part}-{epoch}.bpk"))
}

fn has_checkpoint(folder: &Path, epoch: usize) -> bool {
    let parts = ["model", "optim", "scheduler"];
    parts
        .iter()
        .all(|part| checkpoint(folder, part, epoch).exists())
}

fn in_use(path: &Path) -> bool {
    path.is_file() || fs::read_dir(path).is_ok_and(|mut files| files.next().is_some())
}

fn unused_folder(settings: &Settings) -> PathBuf {
    let (network, dataset) = (settings.network, settings.training.dataset);
    let name = format!("{network}-{}-{dataset}", settings.conv.slug());
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    let runs = Path::new("runs");
    let unused = names.find(|name| !runs.join(name).exists());
    runs.join(unused.unwrap_or(name))
}
