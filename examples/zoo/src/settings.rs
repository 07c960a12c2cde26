//! All that decides a run, and the folder that keeps it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::claim::{Claim, LOCK};
use crate::cli::{Args, ConvArgs, TrainingArgs};
use crate::logs;
use crate::models::NetworkName;
use crate::output::say;
use crate::recipe::Recipe;
use crate::report::{self, PART, Report, read_json, write_json};
use crate::saving::CHECKPOINTS;
use crate::session::last_checkpoint;

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
    /// The epochs that are behind it.
    pub finished_epochs: usize,
    /// Where its results are.
    claim: Claim,
}

impl Run {
    /// A new run as the command line describes it, or the one to resume. It has its folder from now on.
    ///
    /// # Errors
    /// - [`Error::OutDirInUse`] where the folder belongs to another run.
    /// - [`Error::Resume`] where there is no such run to continue.
    pub fn new(network: NetworkName, args: Args) -> Result<Self, Error> {
        if let Some(folder) = args.resume {
            return Self::resume(network, &folder, &args.training);
        }
        let settings = Settings::new(network, args.conv, args.training)?;
        let (variant, dataset) = (settings.conv.slug(), settings.training.dataset);
        let name = format!("{network}-{variant}-{dataset}");
        let name = settings.training.with_seed(name);
        let out_dir = settings.training.out_dir.as_deref();
        let claim = Claim::new(out_dir, &name, |folder| settings.left_nothing(folder))?;
        Ok(Self {
            claim,
            settings,
            finished_epochs: 0,
        })
    }

    fn resume(network: NetworkName, folder: &Path, flags: &TrainingArgs) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Resume {
            path: folder.into(),
            reason,
        };
        let mut settings = Settings::read(folder).map_err(refuse)?;
        if settings.network != network {
            return Err(refuse(format!(
                "it trains {}, not {network}",
                settings.network
            )));
        }
        let claim = Claim::of_existing(folder)?;
        let training = &mut settings.training;
        training.backend = flags.backend.clone().or(training.backend.take());
        training.devices = flags.devices.or(training.devices);
        training.parallel = flags.parallel.or(training.parallel);
        let epochs = settings.recipe.epochs;
        let last = last_checkpoint(folder, epochs);
        if last == epochs && folder.join(report::FILE).exists() {
            return Err(refuse(format!("all {epochs} epochs are done")));
        }
        if last == 0 {
            say!("no epoch was finished: the run starts over");
        }
        Ok(Self {
            settings,
            claim,
            finished_epochs: last,
        })
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        self.claim.path()
    }

    /// Writes the settings to the folder; a resumed run has them.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn write_settings(&self) -> Result<(), Error> {
        if self.finished_epochs > 0 {
            return Ok(());
        }
        write_json(&self.folder().join(FILE), &self.settings)
    }
}

/// What a folder has of a run.
pub(crate) enum State {
    /// Nothing that is worth keeping.
    Nothing,
    /// Epochs that a run can go on from.
    Begun,
    /// All.
    Finished(Box<Report>),
}

impl Settings {
    /// # Errors
    /// [`Error::Io`]: there is no present folder.
    pub(crate) fn new(
        network: NetworkName,
        conv: ConvArgs,
        mut training: TrainingArgs,
    ) -> Result<Self, Error> {
        training.data_dir = absolute(training.data_dir)?;
        Ok(Self {
            network,
            recipe: training.recipe(network),
            conv,
            training,
        })
    }

    /// What a folder has of the run of these settings.
    ///
    /// # Errors
    /// [`Error::OutDirInUse`]: it has something else.
    pub(crate) fn state(&self, folder: &Path) -> Result<State, Error> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        if names.all(|name| name == *LOCK) || self.left_nothing(folder) {
            return Ok(State::Nothing);
        }
        if !Self::read(folder).is_ok_and(|other| self.is_same(&other)) {
            return Err(Error::OutDirInUse {
                path: folder.into(),
            });
        }
        let report = folder.join(report::FILE);
        if report.exists() {
            return Ok(State::Finished(Box::new(read_json(&report)?)));
        }
        Ok(State::Begun)
    }

    /// Whether these decide the same run, wherever it computes.
    fn is_same(&self, other: &Self) -> bool {
        let [ours, theirs] = [self, other].map(|settings| {
            let mut settings = settings.clone();
            settings.training.backend = None;
            settings.training.out_dir = None;
            settings.training.download = false;
            serde_json::to_value(settings)
        });
        ours.is_ok_and(|ours| theirs.is_ok_and(|theirs| ours == theirs))
    }

    /// Those of the run in a folder, or why there are none.
    fn read(folder: &Path) -> Result<Self, String> {
        let json = fs::read(folder.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        serde_json::from_slice(&json).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Whether there is nothing in a folder but what a run of these settings has left that was
    /// interrupted before its first epoch was finished.
    fn left_nothing(&self, folder: &Path) -> bool {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let part = format!("{FILE}.{PART}");
        let known = [FILE, &part, LOCK, CHECKPOINTS, logs::TRAIN, logs::VALID];
        let mut names = entries.map(|entry| entry.file_name());
        names.all(|name| known.iter().any(|known| name == *known))
            && last_checkpoint(folder, self.recipe.epochs) == 0
            && Self::read(folder).is_ok_and(|other| self.is_same(&other))
    }
}

/// A path that holds wherever a run is resumed from.
///
/// # Errors
/// [`Error::Io`]: there is no present folder.
fn absolute(path: Option<PathBuf>) -> Result<Option<PathBuf>, Error> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })
    };
    path.map(absolute).transpose()
}
