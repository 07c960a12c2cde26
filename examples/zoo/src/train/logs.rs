//! The logs of a training, for every epoch.
//!
//! The files are those of burn-train's logger. If a file cannot be written, burn-train's logger panics in its
//! own thread. This logger ends the training with an error.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use burn::train::checkpoint::CheckpointerError;
use burn::train::logger::{FileMetricLogger, MetricLogger};
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};

use crate::Error;

/// The folders for the logs of the training images and of the validation images.
pub(crate) const TRAIN: &str = "train";
pub(crate) const VALID: &str = "valid";

/// Writes the logs to the folder of a run: one file for each epoch, each split and each metric.
pub(crate) struct Logs {
    folder: PathBuf,
    interrupter: Interrupter,
    names: HashMap<MetricId, String>,
    files: HashMap<PathBuf, File>,
}

impl Logs {
    /// Logs for the epochs after the finished epochs. Logs that an interrupted run has left of later epochs
    /// are removed.
    ///
    /// # Errors
    /// [`Error::Io`], which names a folder that cannot be removed.
    pub(crate) fn new(
        folder: &Path,
        finished_epochs: usize,
        interrupter: Interrupter,
    ) -> Result<Self, Error> {
        for split in [TRAIN, VALID] {
            let epochs = fs::read_dir(folder.join(split));
            for entry in epochs.into_iter().flatten().flatten() {
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix("epoch-"));
                let number = number.and_then(|number| number.parse::<usize>().ok());
                if number.is_some_and(|number| number > finished_epochs) {
                    let path = entry.path();
                    fs::remove_dir_all(&path).map_err(|source| Error::Io { path, source })?;
                }
            }
        }
        Ok(Self {
            folder: folder.into(),
            interrupter,
            names: HashMap::new(),
            files: HashMap::new(),
        })
    }

    fn write(&mut self, path: PathBuf, line: &str) -> io::Result<()> {
        let file = match self.files.entry(path) {
            Entry::Occupied(file) => file.into_mut(),
            Entry::Vacant(place) => {
                let path = place.key();
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                let file = File::create(path)?;
                place.insert(file)
            }
        };
        // One call writes the line, so that no other process reads half of it.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

impl MetricLogger for Logs {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let numeric = update.entries_numeric.iter().map(|update| &update.entry);
        for entry in update.entries.iter().chain(numeric) {
            let Some(name) = self.names.get(&entry.metric_id) else {
                continue;
            };
            if entry.serialized_entry.is_not_available() || self.interrupter.should_stop() {
                continue;
            }
            let folder = self.folder.join(split.to_string());
            let path = folder.join(format!("epoch-{epoch}/{name}.log"));
            let written = self.write(path.clone(), &entry.serialized_entry.serialized);
            if let Err(error) = written {
                let error = format!("{}: {error}", path.display());
                self.interrupter.fail(CheckpointerError::Unknown(error));
            }
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let read = FileMetricLogger::new(&self.folder).read_numeric(name, epoch, split);
        // burn-train would panic on an error. An incomplete line has already ended the training.
        Ok(read.unwrap_or_default())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        let name = definition.name.replace(' ', "_");
        self.names.insert(definition.metric_id, name);
    }

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {
        self.files.clear();
    }
}
