//! Loss and accuracy of batches, and their means over an epoch. They are added up on the device, and read
//! only when they are shown, because reading a value from a GPU waits for the GPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{ExecutionError, Int, Tensor, TensorReadError};
use burn::train::ItemLazy;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};

use super::divergence::Watch;

/// Loss and number of correct answers of a batch.
#[derive(Clone)]
pub struct Answers {
    /// The sum of the cross-entropy over the images, `[1]`.
    loss: Tensor<1>,
    /// The number of images whose class has the highest score, `[1]`.
    correct: Tensor<1, Int>,
    images: usize,
}

impl Answers {
    /// The answers for a batch. `loss` is the mean cross-entropy of the batch.
    ///
    /// # Shapes
    /// - loss: `[1]`
    /// - scores: `[batch_size, classes]`
    /// - labels: `[batch_size]`
    pub fn new(loss: Tensor<1>, scores: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        let [images] = labels.dims();
        Self {
            loss: loss.without_autodiff() * images as f64,
            correct: correct(scores.without_autodiff(), labels.without_autodiff()),
            images,
        }
    }
}

/// The number of images whose class has the highest score, as a tensor of one value.
///
/// # Shapes
/// - scores: `[batch_size, classes]`
/// - labels: `[batch_size]`
pub fn correct(scores: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1, Int> {
    let answers = scores.argmax(1).flatten::<1>(0, 1);
    answers.equal(labels).int().sum()
}

impl ItemLazy for Answers {
    fn sync(self) -> Result<Self, ExecutionError> {
        // Only sends the work to the device. The metrics decide when a value is read.
        self.loss.device().flush()?;
        Ok(self)
    }
}

impl Adaptor<Answers> for Answers {
    fn adapt(&self) -> Answers {
        self.clone()
    }
}

/// Counts how often values were read from devices.
#[derive(Clone, Default)]
pub struct Reads(Arc<AtomicUsize>);

impl Reads {
    /// The number of readings so far.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A mean over the images of an epoch.
#[derive(Clone)]
pub struct ImageMean {
    quantity: Quantity,
    reads: Reads,
    /// The shortest time between two readings.
    interval: Duration,
    read_at: Instant,
    /// The sum since the last reading.
    pending: Option<Tensor<1>>,
    pending_images: usize,
    state: NumericMetricState,
    /// Whether the last update has read the value.
    fresh: bool,
    /// Watches the losses that are read, if there is one.
    watch: Option<Watch>,
}

#[derive(Clone, Copy)]
enum Quantity {
    Loss,
    Accuracy,
}

impl ImageMean {
    /// The mean cross-entropy. It is read at most once in an interval, and at the end of an epoch.
    pub fn loss(interval: Duration, reads: Reads) -> Self {
        Self::new(Quantity::Loss, interval, reads)
    }

    /// The accuracy in percent. It is read as often as the [`loss`](Self::loss).
    pub fn accuracy(interval: Duration, reads: Reads) -> Self {
        Self::new(Quantity::Accuracy, interval, reads)
    }

    fn new(quantity: Quantity, interval: Duration, reads: Reads) -> Self {
        Self {
            quantity,
            reads,
            interval,
            read_at: Instant::now(),
            pending: None,
            pending_images: 0,
            state: NumericMetricState::new(),
            fresh: false,
            watch: None,
        }
    }

    /// Adds a watch, which sees every value that is read.
    pub(crate) fn with_watch(self, watch: Watch) -> Self {
        Self {
            watch: Some(watch),
            ..self
        }
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name()).precision(2);
        match self.quantity {
            Quantity::Loss => options,
            Quantity::Accuracy => options.unit("%"),
        }
    }

    fn read(&mut self, learning_rate: Option<f64>) -> Result<(), TensorReadError> {
        if let Some(pending) = self.pending.take() {
            let sum: f64 = pending.try_into_scalar()?;
            let mean = sum / self.pending_images as f64;
            if let Some(watch) = &self.watch {
                watch.see(mean, learning_rate);
            }
            self.state.update(mean, self.pending_images);
            self.pending_images = 0;
            self.reads.add();
        }
        self.read_at = Instant::now();
        Ok(())
    }
}

impl Metric for ImageMean {
    type Input = Answers;

    fn name(&self) -> MetricName {
        let name = match self.quantity {
            Quantity::Loss => "Loss",
            Quantity::Accuracy => "Accuracy",
        };
        Arc::new(name.into())
    }

    fn attributes(&self) -> MetricAttributes {
        let (unit, higher_is_better) = match self.quantity {
            Quantity::Loss => (None, false),
            Quantity::Accuracy => (Some("%".into()), true),
        };
        let attributes = NumericAttributes {
            unit,
            higher_is_better,
        };
        attributes.into()
    }

    fn update(
        &mut self,
        answers: &Answers,
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let sum = match self.quantity {
            Quantity::Loss => answers.loss.clone(),
            Quantity::Accuracy => answers.correct.clone().float() * 100.0,
        };
        self.pending = Some(match self.pending.take() {
            // With several devices, the next batch may come from another device.
            Some(pending) => sum.to_device(&pending.device()) + pending,
            None => sum,
        });
        self.pending_images += answers.images;
        self.fresh = self.read_at.elapsed() >= self.interval;
        if self.fresh {
            self.read(metadata.lr.as_ref().map(|rate| rate.base()))?;
            return Ok(self.state.compute_update(self.format()));
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        self.read(None)?;
        self.fresh = true;
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.pending = None;
        self.pending_images = 0;
        self.state.reset();
        self.fresh = false;
    }
}

impl Numeric for ImageMean {
    fn value(&self) -> Option<NumericEntry> {
        self.fresh.then(|| self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.fresh.then(|| self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

#[cfg(test)]
mod tests {
    use burn::data::dataloader::Progress;
    use burn::tensor::Device;

    use super::*;

    /// The answers for two batches. Their cross-entropies are 1 and 4. In the first batch one image of two is
    /// right, in the second batch one of one.
    fn batches() -> [Answers; 2] {
        let device = Device::flex();
        let answers = |loss: f32, scores: Tensor<2>, labels: &[i32]| {
            let loss = Tensor::from_floats([loss], &device);
            Answers::new(loss, scores, Tensor::from_ints(labels, &device))
        };
        let wrong_and_right = Tensor::from_floats([[0.1, 0.9], [0.7, 0.3]], &device);
        let right = Tensor::from_floats([[0.2, 0.8]], &device);
        [
            answers(1.0, wrong_and_right, &[0, 0]),
            answers(4.0, right, &[1]),
        ]
    }

    fn update(metric: &mut ImageMean, answers: &Answers) -> SerializedEntry {
        let metadata = MetricMetadata {
            progress: Progress::new(1, 2, None),
            iteration: None,
            lr: None,
        };
        metric.update(answers, &metadata).expect("readable")
    }

    #[test]
    fn means_weigh_images_and_not_batches() {
        for interval in [Duration::ZERO, Duration::MAX] {
            let mut loss = ImageMean::loss(interval, Reads::default());
            let mut accuracy = ImageMean::accuracy(interval, Reads::default());
            for answers in batches() {
                update(&mut loss, &answers);
                update(&mut accuracy, &answers);
            }
            assert_eq!(loss.compute().expect("read").serialized, "2,final");
            let percent: f64 = accuracy
                .compute()
                .map(|_| accuracy.final_value().current())
                .expect("read");
            assert!((percent - 200.0 / 3.0).abs() < 1e-5, "{percent}");
        }
    }

    #[test]
    fn nothing_is_read_before_somebody_looks() {
        let reads = Reads::default();
        let mut loss = ImageMean::loss(Duration::MAX, reads.clone());
        for answers in batches() {
            assert!(update(&mut loss, &answers).is_not_available());
            assert!(loss.value().is_none());
        }
        assert_eq!(reads.count(), 0);
        loss.compute().expect("read");
        assert_eq!(reads.count(), 1);

        // The next epoch starts from zero.
        loss.clear();
        update(&mut loss, &batches()[1]);
        assert_eq!(loss.compute().expect("read").serialized, "4,final");
    }

    #[test]
    fn without_an_interval_every_batch_is_read() {
        let reads = Reads::default();
        let mut loss = ImageMean::loss(Duration::ZERO, reads.clone());
        for (answers, mean) in batches().iter().zip(["1,2", "4,1"]) {
            assert_eq!(update(&mut loss, answers).serialized, mean);
            assert!(loss.value().is_some());
        }
        assert_eq!(reads.count(), 2);
    }
}
