//! All that decides a run, and the folder that keeps it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cli::{Args, ConvArgs, TrainingArgs};
use crate::models::NetworkName;
use crate::recipe::Recipe;
use crate::report::{self, write_json};
use crate::session::has_checkpoint;

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
            return Self::resume(network, folder, &args.training);
        }
        let settings = Settings {
            network,
            recipe: args.training.recipe(network),
            conv: args.conv,
            training: args.training,
        };
        let (variant, dataset) = (settings.conv.slug(), settings.training.dataset);
        let name = format!("{network}-{variant}-{dataset}");
        Ok(Self {
            folder: results_folder(settings.training.out_dir.as_deref(), &name)?,
            settings,
            finished_epochs: 0,
        })
    }

    fn resume(network: NetworkName, folder: PathBuf, flags: &TrainingArgs) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Resume {
            path: folder.clone(),
            reason,
        };
        let path = folder.join(FILE);
        let json = fs::read(&path).map_err(|error| refuse(format!("{FILE}: {error}")))?;
        let mut settings: Settings =
            serde_json::from_slice(&json).map_err(|error| refuse(format!("{FILE}: {error}")))?;
        if settings.network != network {
            return Err(refuse(format!(
                "it trains {}, not {network}",
                settings.network
            )));
        }
        let training = &mut settings.training;
        training.backend = flags.backend.clone().or(training.backend.take());
        training.devices = flags.devices.or(training.devices);
        training.parallel = flags.parallel.or(training.parallel);
        let epochs = settings.recipe.epochs;
        match (1..=epochs)
            .rev()
            .find(|epoch| has_checkpoint(&folder, *epoch))
        {
            Some(last) if last == epochs && folder.join(report::FILE).exists() => {
                Err(refuse(format!("all {epochs} epochs are done")))
            }
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
        create_folder(&self.folder)?;
        write_json(&self.folder.join(FILE), &self.settings)
    }
}

/// Creates a folder and those around it.
///
/// # Errors
/// Names the folder.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}

/// The folder for results that a flag names, or a new one of that name under `runs`. Creates none.
///
/// # Errors
/// [`Error::OutDirInUse`]
pub(crate) fn results_folder(out_dir: Option<&Path>, name: &str) -> Result<PathBuf, Error> {
    let in_use = |path: &Path| {
        path.is_file() || fs::read_dir(path).is_ok_and(|mut files| files.next().is_some())
    };
    match out_dir {
        Some(path) if in_use(path) => Err(Error::OutDirInUse { path: path.into() }),
        Some(path) => Ok(path.into()),
        None => {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.into()).chain(numbered);
            let runs = Path::new("runs");
            let unused = names.find(|name| !runs.join(name).exists());
            Ok(runs.join(unused.unwrap_or_else(|| name.into())))
        }
    }
}
