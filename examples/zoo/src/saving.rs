//! Checkpoints that are written before training goes on.
//!
//! burn-train writes them beside training, from tensors that later steps change. Burn 0.22's fusion
//! lets those steps reuse the memory of tensors that another thread is still to read: a checkpoint
//! then holds moments of Adam that are weights (docs/backends.md). Here the next step waits.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
    FileCheckpointer,
};
use burn::train::metric::store::EventStoreClient;

/// Of a model, its optimizer and the schedule of its learning rate.
const PARTS: usize = 3;

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

/// A strategy that counts what it asks to be saved, ahead of burn-train's threads.
pub(crate) struct Announced<S> {
    pub(crate) strategy: S,
    pub(crate) pending: Pending,
}

impl<S: CheckpointingStrategy> CheckpointingStrategy for Announced<S> {
    fn checkpointing(
        &mut self,
        epoch: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let actions = self.strategy.checkpointing(epoch, store);
        let saves = actions.iter();
        let saves = saves.filter(|action| matches!(action, CheckpointingAction::Save));
        self.pending.change(|count| *count += PARTS * saves.count());
        actions
    }
}

/// One of the parts, written to files.
pub(crate) struct Part {
    files: FileCheckpointer,
    folder: PathBuf,
    name: &'static str,
    pending: Pending,
}

/// Where files are until they are whole.
const PARTIAL: &str = "partial";

impl Part {
    pub(crate) fn new(folder: PathBuf, name: &'static str, pending: Pending) -> Self {
        Self {
            files: FileCheckpointer::new(&folder, name),
            folder,
            name,
            pending,
        }
    }
}

/// Counts a file as written when it is dropped, so that nobody waits for one that panicked.
struct Written<'a>(&'a Pending);

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.0.change(|count| *count = count.saturating_sub(1));
    }
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    /// Writes beside the checkpoints first, so that one that is there is whole.
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let _written = Written(&self.pending);
        let name = format!("{}-{epoch}.bpk", self.name);
        let partial = self.folder.join(PARTIAL);
        fs::create_dir_all(&partial).map_err(CheckpointerError::IOError)?;
        let partial = partial.join(&name);
        record.save(partial.clone())?;
        fs::rename(partial, self.folder.join(name)).map_err(CheckpointerError::IOError)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        Checkpointer::<R>::delete(&self.files, epoch)
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        self.files.restore(epoch)
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
