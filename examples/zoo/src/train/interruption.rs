//! Signals that stop a training after its batch: Ctrl-C and termination.

use std::process;
use std::sync::{Mutex, Once, PoisonError};

use burn::train::Interrupter;

use crate::output::say;

/// The training that a signal stops.
static RUNNING: Mutex<Option<Interrupter>> = Mutex::new(None);

/// The exit code of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// While this value exists, a signal stops the training after its batch.
pub(crate) struct StopsOnSignal(());

impl StopsOnSignal {
    pub(crate) fn new(interrupter: Interrupter) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            let handler = || {
                let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
                if !stop(running.as_ref()) {
                    process::exit(INTERRUPTED);
                }
            };
            if let Err(error) = ctrlc::set_handler(handler) {
                say!("Ctrl-C will end the training at once: {error}");
            }
        });
        set(Some(interrupter));
        Self(())
    }
}

impl Drop for StopsOnSignal {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(interrupter: Option<Interrupter>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = interrupter;
}

/// Stops the running training. Returns false if no training runs, or if it was stopped already.
fn stop(running: Option<&Interrupter>) -> bool {
    match running {
        Some(interrupter) if !interrupter.should_stop() => {
            say!("stopping after this batch; press Ctrl-C again to stop at once");
            interrupter.stop(Some("a signal"));
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_stops_what_runs_and_a_second_one_ends_the_program() {
        let interrupter = Interrupter::new();
        assert!(stop(Some(&interrupter)));
        assert!(interrupter.should_stop());
        assert!(!stop(Some(&interrupter)));
        assert!(!stop(None));
    }
}
