//! The times of training steps, and lines of progress.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use super::answers::Reads;
use crate::output::say;

/// Measures the times of training steps. A device may finish a step later than the call returns, so times are
/// taken from one reading of the device to the next, and divided by the number of steps. The median of all
/// steps is reported.
#[derive(Clone)]
pub struct StepTimes {
    times: Arc<Mutex<Vec<Duration>>>,
    reads: Reads,
    /// The number of devices that train together. burn-train reports the part of each device.
    devices: usize,
    window: Option<Window>,
}

/// The steps since the last reading.
#[derive(Clone)]
struct Window {
    started: Instant,
    reads: usize,
    parts: usize,
}

impl StepTimes {
    /// Step times of a training on `devices` devices. `reads` counts the readings of its metrics.
    pub fn new(reads: Reads, devices: usize) -> Self {
        Self {
            times: Arc::default(),
            reads,
            devices,
            window: None,
        }
    }

    /// The number of steps whose times were measured.
    pub fn steps(&self) -> usize {
        self.times.lock().map_or(0, |times| times.len())
    }

    /// Ends the window if the device was read since the window began. Always ends it at the end of a split.
    fn close(&mut self, split_ends: bool) {
        let Some(window) = &mut self.window else {
            return;
        };
        let reads = self.reads.count();
        let whole = window.parts.is_multiple_of(self.devices);
        if !split_ends && (reads == window.reads || !whole) {
            return;
        }
        let steps = window.parts / self.devices;
        if steps > 0
            && let Ok(mut times) = self.times.lock()
        {
            let each = window.started.elapsed() / steps as u32;
            times.extend(std::iter::repeat_n(each, steps));
        }
        *window = Window {
            started: Instant::now(),
            reads,
            parts: 0,
        };
    }

    /// The median time of a step in seconds; none before the first step.
    pub fn median(&self) -> Option<f64> {
        let mut times = self
            .times
            .lock()
            .map(|times| times.clone())
            .unwrap_or_default();
        times.sort();
        times.get(times.len() / 2).map(Duration::as_secs_f64)
    }
}

impl TrainingProgressLogger for StepTimes {
    fn start_split(&mut self, split: &str, _total_items: usize) {
        self.window = (split == "train").then(|| Window {
            started: Instant::now(),
            reads: self.reads.count(),
            parts: 0,
        });
    }

    fn update_split(&mut self, _items_processed: usize) {
        if let Some(window) = &mut self.window {
            window.parts += 1;
        }
        self.close(false);
    }

    fn end_split(&mut self) {
        self.close(true);
        self.window = None;
    }

    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _epoch: usize) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

/// The shortest time between two lines of progress within a split.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Prints a line at the end of every split of an epoch, and lines of progress in between.
pub struct Lines {
    epoch: usize,
    epochs: usize,
    split: String,
    items: usize,
    started: Instant,
    printed: Instant,
    names: HashMap<MetricId, String>,
    /// The latest value of every metric in this split. At the end of the split, it is the mean.
    metrics: BTreeMap<String, f64>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            epoch: 1,
            epochs: 1,
            split: String::new(),
            items: 0,
            started: Instant::now(),
            printed: Instant::now(),
            names: HashMap::new(),
            metrics: BTreeMap::new(),
        }
    }
}

impl Lines {
    fn print(&mut self, what: String) {
        let (epoch, epochs, split) = (self.epoch, self.epochs, &self.split);
        let seconds = self.started.elapsed().as_secs_f64();
        say!("epoch {epoch}/{epochs} {split}: {what} ({seconds:.1} s)");
        self.printed = Instant::now();
    }

    fn update(&mut self, state: MetricState) {
        if let MetricState::Numeric(entry, Some(value)) = state
            && let Some(name) = self.names.get(&entry.metric_id)
        {
            self.metrics.insert(name.to_lowercase(), value.current());
        }
    }
}

impl TrainingProgressLogger for Lines {
    fn start(&mut self, epochs: usize, epoch: usize, _: Option<usize>, _: Option<&str>) {
        (self.epochs, self.epoch) = (epochs, epoch);
    }

    fn start_split(&mut self, split: &str, items: usize) {
        (self.split, self.items) = (split.into(), items);
        (self.started, self.printed) = (Instant::now(), Instant::now());
        self.metrics.clear();
    }

    fn update_split(&mut self, items: usize) {
        if self.printed.elapsed() >= LINE_INTERVAL {
            self.print(format!("{items}/{} images", self.items));
        }
    }

    fn end_split(&mut self) {
        let metrics = self.metrics.iter();
        let values: Vec<String> = metrics
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        self.print(values.join(", "));
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.update(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update(state);
    }
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let name = definition.name.to_string();
        self.names.insert(definition.metric_id, name);
    }
}

/// Nothing to print: a run does not use burn-train's evaluator for its test.
impl EvaluationProgressLogger for Lines {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of measured steps before and after the end of a split. `reads_after` tells whether the
    /// device was read after each part.
    fn steps(devices: usize, reads_after: &[bool]) -> (usize, usize) {
        let reads = Reads::default();
        let mut times = StepTimes::new(reads.clone(), devices);
        times.start_split("train", reads_after.len());
        for (items, read) in reads_after.iter().enumerate() {
            if *read {
                reads.add();
            }
            times.update_split(items);
        }
        let before_the_end = times.steps();
        times.end_split();
        (before_the_end, times.steps())
    }

    #[test]
    fn steps_are_timed_from_reading_to_reading() {
        assert_eq!(steps(1, &[true; 4]), (4, 4));
        assert_eq!(steps(1, &[false, false, true, false]), (3, 4));
        assert_eq!(steps(1, &[]), (0, 0));
    }

    #[test]
    fn the_parts_of_several_devices_are_one_step() {
        assert_eq!(steps(2, &[true; 6]), (3, 3));
        // A reading between the parts of a step waits for the step.
        assert_eq!(steps(2, &[true, false, false, false]), (1, 2));
    }

    #[test]
    fn validation_is_not_timed() {
        let mut times = StepTimes::new(Reads::default(), 1);
        times.start_split("valid", 1);
        times.update_split(1);
        times.end_split();
        assert_eq!((times.steps(), times.median()), (0, None));
    }
}
