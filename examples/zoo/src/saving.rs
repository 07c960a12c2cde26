//! Checkpoints that are written before training goes on.
//!
//! burn-train writes them beside training, from tensors that later steps change. Burn 0.22's fusion
//! lets those steps reuse the memory of tensors that another thread is still to read: a checkpoint
//! then holds moments of Adam that are weights (docs/backends.md). Here the next step waits.

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
    pub(crate) files: FileCheckpointer,
    pub(crate) pending: Pending,
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let saved = self.files.save(epoch, record);
        self.pending
            .change(|count| *count = count.saturating_sub(1));
        saved
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        Checkpointer::<R>::delete(&self.files, epoch)
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        self.files.restore(epoch)
    }
}
