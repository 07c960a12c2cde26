//! All that decides a run, as its folder keeps it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::claim::LOCK;
use super::report::{self, Report};
use crate::Error;
use crate::cli::{ConvArgs, TrainingArgs};
use crate::files::{PART, read_json};
use crate::models::NetworkName;
use crate::train::{CHECKPOINTS, Recipe, TRAIN, VALID, last_checkpoint};

/// The name of the file in a run's folder.
pub(super) const FILE: &str = "config.json";

/// All that decides a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The network.
    pub network: NetworkName,
    /// Its convolutions.
    pub conv: ConvArgs,
    /// The weights that it starts from, and whose layers it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<PathBuf>,
    /// The data, the backend and the seed.
    pub training: TrainingArgs,
    /// How it is trained, with what the flags have changed.
    pub recipe: Recipe,
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
        load: Option<PathBuf>,
        mut training: TrainingArgs,
    ) -> Result<Self, Error> {
        training.data_dir = absolute(training.data_dir)?;
        Ok(Self {
            network,
            recipe: training.recipe(network),
            conv,
            load: absolute(load)?,
            training,
        })
    }

    /// The convolutions in a word, for the name of a folder and of a row.
    pub(crate) fn variant(&self) -> String {
        match self.load {
            Some(_) => "loaded".into(),
            None => self.conv.slug(),
        }
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
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let json = fs::read(folder.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        serde_json::from_slice(&json).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Whether there is nothing in a folder but what a run of these settings has left that was
    /// interrupted before its first epoch was finished.
    pub(super) fn left_nothing(&self, folder: &Path) -> bool {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let part = format!("{FILE}.{PART}");
        let known = [FILE, &part, LOCK, CHECKPOINTS, TRAIN, VALID];
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
