//! The settings of a run, which its folder keeps.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claim::LOCK;
use super::report::{self, Report};
use crate::Error;
use crate::cli::{ConvArgs, TrainingArgs};
use crate::files::{PART, read_json};
use crate::models::NetworkName;
use crate::train::{CHECKPOINTS, LostLogs, Recipe, TRAIN, VALID, last_checkpoint};

/// The name of the file in the folder of a run.
pub(super) const FILE: &str = "config.json";

/// The settings that decide a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The network.
    pub network: NetworkName,
    /// The flags of its convolutions.
    pub conv: ConvArgs,
    /// The file whose weights and layers the run starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<PathBuf>,
    /// The flags of the training: the data, the backend and the seed.
    pub training: TrainingArgs,
    /// The recipe, with the changes that the flags make.
    pub recipe: Recipe,
}

/// How far the run in a folder is.
pub(crate) enum State {
    /// Nothing that is worth keeping.
    Nothing,
    /// Finished epochs, from which the run can continue.
    Begun,
    /// The report: the run is finished.
    Finished(Box<Report>),
}

impl Settings {
    /// The settings that the command line describes, with absolute paths.
    ///
    /// # Errors
    /// [`Error::Io`]: the process has no working directory.
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

    /// The variant in one word, for the name of a folder or of a row.
    pub(crate) fn variant(&self) -> String {
        match self.load {
            Some(_) => "loaded".into(),
            None => self.conv.slug(),
        }
    }

    /// How far the run of these settings is in a folder.
    ///
    /// # Errors
    /// [`Error::OutDirInUse`]: the folder holds something else.
    pub(crate) fn state(&self, folder: &Path) -> Result<State, Error> {
        if folder.is_file() {
            return Err(Error::OutDirInUse {
                path: folder.into(),
            });
        }
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

    /// Whether both are the settings of the same run. The backend, the folder for results and `--download` do
    /// not matter.
    fn is_same(&self, other: &Self) -> bool {
        let [ours, theirs] = [self, other].map(|settings| {
            let mut settings = settings.clone();
            settings.training.backend = None;
            settings.training.out_dir = None;
            settings.training.download = false;
            serde_json::to_value(settings)
        });
        ours.is_ok_and(|ours| theirs.is_ok_and(|theirs| are_equal(&ours, &theirs)))
    }

    /// The settings of the run in a folder. The error is a message.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let json = fs::read(folder.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        let settings: Self =
            serde_json::from_slice(&json).map_err(|error| format!("{FILE}: {error}"))?;
        let checked = settings.training.check().and(settings.recipe.check());
        checked.map_err(|error| format!("{FILE}: {error}"))?;
        Ok(settings)
    }

    /// Whether a folder holds nothing but the files of a run with these settings that was interrupted before
    /// its first epoch was finished.
    pub(super) fn left_nothing(&self, folder: &Path) -> bool {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let part = format!("{FILE}.{PART}");
        let known = [FILE, &part, LOCK, CHECKPOINTS, TRAIN, VALID];
        let mut names = entries.map(|entry| entry.file_name());
        names.all(|name| known.iter().any(|known| name == *known))
            && LostLogs::of(folder, self.recipe.epochs).is_none()
            && last_checkpoint(folder, self.recipe.epochs) == 0
            && Self::read(folder).is_ok_and(|other| self.is_same(&other))
    }
}

/// Whether two values are equal. A number that was read from text may have lost its last digit.
fn are_equal(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() && theirs.is_f64() => {
            let [ours, theirs] = [ours, theirs].map(|number| number.as_f64().unwrap_or(f64::NAN));
            (ours - theirs).abs() <= 4.0 * f64::EPSILON * ours.abs()
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let equal = |(name, value)| {
                theirs
                    .get(name)
                    .is_some_and(|other| are_equal(value, other))
            };
            ours.len() == theirs.len() && ours.iter().all(equal)
        }
        _ => ours == theirs,
    }
}

/// Makes a path absolute, so that it is valid wherever the run is resumed from.
///
/// # Errors
/// [`Error::Io`]: the process has no working directory.
fn absolute(path: Option<PathBuf>) -> Result<Option<PathBuf>, Error> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })
    };
    path.map(absolute).transpose()
}
