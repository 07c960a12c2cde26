//! Ends a training whose loss has diverged.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::train::Interrupter;

/// The largest mean cross-entropy of a batch that does not end a training. An untrained network has about the
/// logarithm of the number of classes, which is below 5 for 100 classes.
const LARGEST: f64 = 1e4;

/// Watches the losses of a training, and stops the training when a loss is too large.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) interrupter: Interrupter,
    found: Arc<Mutex<Option<Diverged>>>,
}

/// The loss that has diverged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diverged {
    /// The loss.
    pub loss: f64,
    /// The learning rate of the step; none if the loss is not of a training step.
    pub learning_rate: Option<f64>,
}

impl Watch {
    /// Checks the mean loss of some images.
    pub(crate) fn see(&self, loss: f64, learning_rate: Option<f64>) {
        if loss.is_finite() && loss <= LARGEST {
            return;
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get_or_insert(Diverged {
            loss,
            learning_rate,
        });
        self.interrupter.stop(Some("the loss has diverged"));
    }

    /// The first loss that was too large.
    pub(crate) fn found(&self) -> Option<Diverged> {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a loss of {:.4e}", self.loss)?;
        if let Some(rate) = self.learning_rate {
            write!(f, " at a learning rate of {rate:.4e}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_or_explodes_stops_a_training() {
        for (loss, stops) in [
            (0.0, false),
            (2.3, false),
            (9e3, false),
            (1e20, true),
            (f64::INFINITY, true),
            (f64::NAN, true),
        ] {
            let watch = Watch::default();
            watch.see(loss, Some(0.1));
            watch.see(f64::MAX, None);
            let first = watch.found().expect("the second at the latest");
            assert_eq!(first.learning_rate.is_some(), stops, "{loss}");
            assert!(watch.interrupter.should_stop());
            let watch = Watch::default();
            watch.see(loss, None);
            assert_eq!(watch.interrupter.should_stop(), stops, "{loss}");
        }
    }
}
