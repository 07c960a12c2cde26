//! Files that are whole or not there, and checkpoints that are written before training goes on.
//!
//! burn-train writes them beside training, from tensors that later steps change. Burn 0.22's fusion
//! lets those steps reuse the memory of tensors that another thread is still to read: a checkpoint
//! then holds moments of Adam that are weights (docs/backends.md). Here the next step waits.

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

/// Where checkpoints are in a run's folder, and their parts.
pub(crate) const CHECKPOINTS: &str = "checkpoint";
pub(crate) const MODEL: &str = "model";
pub(crate) const OPTIMIZER: &str = "optim";
pub(crate) const SCHEDULER: &str = "scheduler";
const PARTS: [&str; 3] = [MODEL, OPTIMIZER, SCHEDULER];

/// The file of a part.
pub(crate) fn checkpoint(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(CHECKPOINTS).join(format!("{part}-{epoch}.bpk"))
}

/// Writes weights to a file, and what is to be known of them.
///
/// # Errors
/// Names the file.
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
/// Names the file.
pub fn load_weights<M: Module>(module: M, path: &Path) -> Result<M, Error> {
    // Burn 0.22 panics on integers in the place of floats.
    let loaded = panic::catch_unwind(AssertUnwindSafe(|| module.try_load_file(path)));
    let other_type = || Err(RecordError::Validation("a tensor of another type".into()));
    let loaded = loaded.unwrap_or_else(|_| other_type());
    loaded.map_err(|source| Error::Weights {
        path: path.into(),
        source,
    })
}

/// The files that are still to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<(Mutex<usize>, Condvar)>);

impl Pending {
    /// Waits until all is written.
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

/// Keeps the last two checkpoints and the best one, the first of several that are equally good.
///
/// What it keeps follows from the folder and the logs alone, so that a run which was interrupted keeps
/// what it would have kept. It counts what it asks to be saved, ahead of burn-train's threads.
pub(crate) struct LastAndBest {
    pub(crate) folder: PathBuf,
    /// The metric of which more is better.
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

/// One of the parts, written to files.
pub(crate) struct Part {
    folder: PathBuf,
    name: &'static str,
    pending: Pending,
}

/// Where files are until they are whole.
const PARTIAL: &str = "partial";

impl Part {
    /// A part in the folder of a run.
    pub(crate) fn new(folder: PathBuf, name: &'static str, pending: Pending) -> Self {
        Self {
            folder,
            name,
            pending,
        }
    }

    /// Writes beside the checkpoints first, so that one that is there is whole.
    fn write<R: Checkpoint>(&self, path: &Path, record: R) -> Result<(), CheckpointerError> {
        let folder = self.folder.join(CHECKPOINTS).join(PARTIAL);
        let created = fs::create_dir_all(&folder).map_err(CheckpointerError::IOError);
        created.map_err(|error| named(&folder, error))?;
        let partial = folder.join(path.file_name().unwrap_or_default());
        let written = record
            .save(partial.clone())
            .and_then(|()| fs::rename(&partial, path).map_err(CheckpointerError::IOError));
        written.map_err(|error| {
            // It may be what fills the disk.
            let _ = fs::remove_file(&partial);
            named(path, error)
        })
    }
}

/// The error of a file.
fn named(path: &Path, error: CheckpointerError) -> CheckpointerError {
    let reason = match error {
        CheckpointerError::IOError(error) => error.to_string(),
        CheckpointerError::Record(error) => error.to_string(),
        CheckpointerError::Unknown(reason) => reason,
    };
    CheckpointerError::Unknown(format!("{}: {reason}", path.display()))
}

/// Counts a file as written when it is dropped, so that nobody waits for one that panicked.
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
            // A run that was killed may have deleted some of the parts.
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
