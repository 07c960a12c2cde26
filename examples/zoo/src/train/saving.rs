//! Checkpoints. A checkpoint file is complete, or it does not exist.
//!
//! The next training step waits until a checkpoint is written. burn-train would write it in other threads
//! while the training continues. Burn 0.22's fusion lets later steps reuse the memory of tensors that another
//! thread has not read yet. A checkpoint could then hold weights in the place of the moments of Adam
//! (docs/backends.md).

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burn::module::Module;
use burn::store::{BurnpackStore, ModuleSnapshot, RecordError};
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::MetricName;
use burn::train::metric::store::{Aggregate, Direction, EventStoreClient, Split};

use crate::Error;
use crate::weights::Metadata;

/// The folder of checkpoints in the folder of a run, and the parts of a checkpoint.
pub(crate) const CHECKPOINTS: &str = "checkpoint";
pub(crate) const MODEL: &str = "model";
pub(crate) const OPTIMIZER: &str = "optim";
pub(crate) const SCHEDULER: &str = "scheduler";
const PARTS: [&str; 3] = [MODEL, OPTIMIZER, SCHEDULER];

/// The file of a part of a checkpoint.
pub(crate) fn checkpoint(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(CHECKPOINTS).join(format!("{part}-{epoch}.bpk"))
}

/// Writes weights and their metadata to a file.
///
/// # Errors
/// [`Error::Weights`], which names the file.
pub(crate) fn save_weights<M: Module>(
    module: &M,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), Error> {
    let mut store = BurnpackStore::from_file(path)
        .clear_metadata()
        .overwrite(true);
    for (name, value) in metadata.entries() {
        store = store.metadata(name, value);
    }
    module
        .save_into(&mut store)
        .map_err(|source| Error::Weights {
            path: path.into(),
            source: source.into(),
        })
}

/// Reads the weights of a module from a file.
///
/// # Errors
/// [`Error::Weights`], which names the file.
pub fn load_weights<M: Module>(module: M, path: &Path) -> Result<M, Error> {
    // Burn 0.22 panics if the file has integers in the place of floats.
    let loaded = panic::catch_unwind(AssertUnwindSafe(|| module.try_load_file(path)));
    let other_type = || Err(RecordError::Validation("a tensor of another type".into()));
    let loaded = loaded.unwrap_or_else(|_| other_type());
    loaded.map_err(|source| Error::Weights {
        path: path.into(),
        source,
    })
}

/// Counts the files that are not yet written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<(Mutex<usize>, Condvar)>);

impl Pending {
    /// Waits until all files are written.
    pub(crate) fn wait(&self) {
        let (count, changed) = &*self.0;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let written = changed.wait_while(count, |count| *count > 0);
        drop(written.unwrap_or_else(PoisonError::into_inner));
    }

    fn change(&self, change: impl FnOnce(&mut usize)) {
        let (count, changed) = &*self.0;
        change(&mut count.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

/// Keeps the last two checkpoints and the best checkpoint. Of several equally good checkpoints, the first one
/// counts as the best.
///
/// The folder and the logs alone decide which checkpoints are kept. So a resumed run keeps the same
/// checkpoints as an uninterrupted run. The files to be saved are counted here, before burn-train's threads
/// write them.
pub(crate) struct LastAndBest {
    pub(crate) folder: PathBuf,
    /// The metric that decides which checkpoint is the best; a higher value is better.
    pub(crate) metric: MetricName,
    pub(crate) pending: Pending,
}

impl CheckpointingStrategy for LastAndBest {
    fn checkpointing(
        &mut self,
        epoch: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let (mean, highest) = (Aggregate::Mean, Direction::Highest);
        let best = store.find_epoch(&self.metric, mean, highest, &Split::Valid);
        let keep = |old: &usize| old + 1 == epoch || Some(*old) == best;
        let exists = |old: &usize| {
            let mut parts = PARTS.iter();
            parts.any(|part| checkpoint(&self.folder, part, *old).exists())
        };
        let old = (1..epoch).filter(|old| !keep(old)).filter(exists);
        let old = old.map(CheckpointingAction::Delete);
        self.pending.change(|count| *count += PARTS.len());
        std::iter::once(CheckpointingAction::Save)
            .chain(old)
            .collect()
    }
}

/// Writes one part of the checkpoints to files.
pub(crate) struct Part {
    folder: PathBuf,
    name: &'static str,
    pending: Pending,
}

/// The folder for files that are not complete yet.
const PARTIAL: &str = "partial";

impl Part {
    /// The part `name` of the checkpoints in the folder of a run.
    pub(crate) fn new(folder: PathBuf, name: &'static str, pending: Pending) -> Self {
        Self {
            folder,
            name,
            pending,
        }
    }

    /// Writes the file to another folder first, so that a checkpoint that exists is complete.
    fn write<R: Checkpoint>(&self, path: &Path, record: R) -> Result<(), CheckpointerError> {
        let folder = self.folder.join(CHECKPOINTS).join(PARTIAL);
        let created = fs::create_dir_all(&folder).map_err(CheckpointerError::IOError);
        created.map_err(|error| named(&folder, error))?;
        let partial = folder.join(path.file_name().unwrap_or_default());
        let written = record
            .save(partial.clone())
            .and_then(|()| fs::rename(&partial, path).map_err(CheckpointerError::IOError));
        written.map_err(|error| {
            // On a full disk, the incomplete file may be what fills it.
            let _ = fs::remove_file(&partial);
            named(path, error)
        })
    }
}

/// Adds the name of the file to an error.
fn named(path: &Path, error: CheckpointerError) -> CheckpointerError {
    let reason = match error {
        CheckpointerError::IOError(error) => error.to_string(),
        CheckpointerError::Record(error) => error.to_string(),
        CheckpointerError::Unknown(reason) => reason,
    };
    CheckpointerError::Unknown(format!("{}: {reason}", path.display()))
}

/// Counts a file as written when this value is dropped, also after a panic. So no thread waits for ever.
struct Written<'a>(&'a Pending);

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.0.change(|count| *count = count.saturating_sub(1));
    }
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let _written = Written(&self.pending);
        self.write(&checkpoint(&self.folder, self.name, epoch), record)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        let path = checkpoint(&self.folder, self.name, epoch);
        match fs::remove_file(&path) {
            // A run that was killed may have deleted some of the parts already.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(named(&path, CheckpointerError::IOError(error)))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        let path = checkpoint(&self.folder, self.name, epoch);
        R::load(path.clone()).map_err(|error| named(&path, error))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn left(pending: &Pending) -> usize {
        let (count, _) = &*pending.0;
        *count.lock().expect("nobody panics with the lock")
    }

    #[test]
    fn nobody_waits_for_what_is_written_or_has_failed() {
        let pending = Pending::default();
        pending.change(|count| *count = 2);
        let waiting = pending.clone();
        let waiting = thread::spawn(move || {
            waiting.wait();
            left(&waiting)
        });
        drop(Written(&pending));
        assert_eq!(left(&pending), 1);

        let failing = pending.clone();
        let failed = thread::spawn(move || {
            let _written = Written(&failing);
            panic!("a disk that is full");
        });
        assert!(failed.join().is_err());
        assert_eq!(waiting.join().expect("it waits no longer"), 0);
    }
}
