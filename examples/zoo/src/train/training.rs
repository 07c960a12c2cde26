//! The training step of a network for burn-train: the loss, the regularization and the pruning.

use std::fmt;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use linearconv::pruning::{AdaptiveThreshold, CubicRamp};
use linearconv::{CoefficientsConfig, coefficient_l1, correlation_loss};

use super::answers::{Answers, correct};
use super::recipe::{PruningSchedule, Recipe};
use super::saving::Pending;
use crate::Error;
use crate::data::ImageBatch;
use crate::models::Network;

/// The losses that are added to the cross-entropy, and the batches on which they are added.
#[derive(Clone, Debug)]
struct Regularization {
    /// The weight of the correlation loss; 0 leaves it out.
    correlation_weight: f64,
    /// The weight of the coefficients' L1 norm; 0 leaves it out.
    coefficient_l1_weight: f64,
    /// The losses are added once in so many batches, first on the first batch.
    interval: usize,
}

impl Regularization {
    /// The losses that a recipe has for these coefficients. Dense networks have none. Only sparse
    /// coefficients have the L1 norm.
    fn new(recipe: &Recipe, coefficients: Option<CoefficientsConfig>) -> Self {
        let weight_if = |condition, weight| if condition { weight } else { 0.0 };
        let sparse = matches!(coefficients, Some(CoefficientsConfig::Sparse { .. }));
        Self {
            correlation_weight: weight_if(coefficients.is_some(), recipe.correlation_weight),
            coefficient_l1_weight: weight_if(sparse, recipe.coefficient_l1_weight),
            interval: recipe.regularization_interval,
        }
    }

    /// The sum of the weighted losses for a batch, `[1]`; none if nothing is added. The first batch has
    /// number 0.
    fn loss<M: Module>(&self, module: &M, batch: usize) -> Option<Tensor<1>> {
        if !batch.is_multiple_of(self.interval) {
            return None;
        }
        let correlation = (self.correlation_weight > 0.0)
            .then(|| correlation_loss(module) * self.correlation_weight);
        let l1 = (self.coefficient_l1_weight > 0.0)
            .then(|| coefficient_l1(module) * self.coefficient_l1_weight);
        match (correlation, l1) {
            (Some(correlation), Some(l1)) => Some(correlation + l1),
            (correlation, l1) => correlation.or(l1),
        }
    }
}

/// How the coefficients of the sparse variant are pruned.
#[derive(Clone, Debug)]
enum Pruning {
    Ramp(CubicRamp),
    Threshold(AdaptiveThreshold),
}

impl Pruning {
    /// The pruning that a recipe has for these coefficients, and the number of steps between two prunings.
    /// None if the coefficients are not sparse.
    fn new(
        recipe: &Recipe,
        coefficients: Option<CoefficientsConfig>,
        steps: usize,
    ) -> Result<Option<(Self, usize)>, linearconv::Error> {
        let Some(CoefficientsConfig::Sparse { sparsity }) = coefficients else {
            return Ok(None);
        };
        Ok(Some(match recipe.pruning {
            PruningSchedule::Ramp { interval } => {
                let (begin, end) = (steps / 4, (steps * 3 / 4).max(steps / 4 + 1));
                (Self::Ramp(CubicRamp::new(sparsity, begin, end)?), interval)
            }
            PruningSchedule::Threshold { interval, step } => {
                let threshold = AdaptiveThreshold::new(sparsity, step)?;
                (Self::Threshold(threshold), interval)
            }
        }))
    }

    fn prune<M: Module>(&self, module: M, step: usize) -> M {
        match self {
            Self::Ramp(ramp) => ramp.prune(module, step),
            Self::Threshold(threshold) => threshold.prune(module),
        }
    }
}

/// A trained network whose scores another network learns. The teacher is not trained and not saved.
#[derive(Clone)]
pub struct Teacher(Arc<dyn Fn(Tensor<4>) -> Tensor<2> + Send + Sync>);

impl Teacher {
    /// Makes a teacher of a network in its validation state.
    pub fn new<N: Network>(network: N) -> Self {
        // The teacher stays on its device. Images are moved to that device.
        let device = network.devices().into_iter().next().unwrap_or_default();
        Self(Arc::new(move |images| {
            network.forward(images.to_device(&device))
        }))
    }

    /// The scores of the teacher for images, `[batch_size, classes]`, without a gradient.
    fn answer(&self, images: &Tensor<4>) -> Tensor<2> {
        let scores = (self.0)(images.clone().inner());
        Tensor::from_inner(scores.to_device(&images.device().inner()))
    }
}

impl fmt::Debug for Teacher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teacher")
    }
}

/// A network, and the state of its training.
#[derive(Module, Debug)]
pub struct Classifier<N: Network> {
    /// The network.
    pub network: N,
    steps: usize,
    steps_per_epoch: usize,
    label_smoothing: f32,
    #[module(skip)]
    regularization: Regularization,
    #[module(skip)]
    pruning: Option<(Pruning, usize)>,
    /// The network whose scores are learned in place of the labels, if there is one.
    #[module(skip)]
    teacher: Option<Teacher>,
    /// The checkpoint files that a step must wait for.
    #[module(skip)]
    pub(crate) checkpoints: Pending,
}

impl<N: Network> Classifier<N> {
    /// A classifier that has finished the given number of epochs.
    ///
    /// # Errors
    /// [`Error::LinearConv`] if the recipe's pruning schedule is not valid.
    pub fn new(
        network: N,
        recipe: &Recipe,
        coefficients: Option<CoefficientsConfig>,
        steps_per_epoch: usize,
        finished_epochs: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            network,
            steps: finished_epochs * steps_per_epoch,
            steps_per_epoch,
            label_smoothing: recipe.label_smoothing,
            regularization: Regularization::new(recipe, coefficients),
            pruning: Pruning::new(recipe, coefficients, recipe.epochs * steps_per_epoch)?,
            teacher: None,
            checkpoints: Pending::default(),
        })
    }

    /// Sets the teacher, whose scores are learned in place of the labels.
    pub fn with_teacher(self, teacher: Option<Teacher>) -> Self {
        Self { teacher, ..self }
    }

    /// Counts a step of the optimizer, and prunes if it is time.
    fn stepped(mut self) -> Self {
        self.steps += 1;
        if let Some((pruning, interval)) = &self.pruning
            && self.steps.is_multiple_of(*interval)
        {
            self.network = pruning.prune(self.network, self.steps);
        }
        if self.steps.is_multiple_of(self.steps_per_epoch) {
            // Burn applies the last update of the running statistics only in `valid`. It is applied here, so
            // that the checkpoint has it and a resumed run starts with it.
            self.network = self.network.valid().train();
        }
        self
    }
}

/// The accuracy of a network on the images of a loader, in percent. The network must be in its validation
/// state.
///
/// # Errors
/// [`Error::Training`] if a batch or a result cannot be read.
pub fn accuracy<N: Network>(
    network: &N,
    loader: &dyn DataLoader<ImageBatch>,
) -> Result<f64, Error> {
    // The sum is made on the device and read only once, because reading waits for the device.
    let mut right: Option<Tensor<1, Int>> = None;
    for batch in loader.iter() {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        let new = correct(network.forward(batch.images), batch.labels);
        right = Some(match right {
            Some(right) => right + new,
            None => new,
        });
    }
    let right = right.map_or(Ok(0), Tensor::try_into_scalar::<i64>);
    let right = right.map_err(|error| Error::Training(error.to_string()))?;
    Ok(100.0 * right as f64 / loader.num_items() as f64)
}

/// The temperature of the softmax over the scores of teacher and network.
const TEMPERATURE: f64 = 4.0;

/// The distance of scores from the scores of a teacher (Hinton, Vinyals and Dean 2015,
/// [arXiv 1503.02531](https://arxiv.org/abs/1503.02531)): the cross-entropy at a temperature, times the
/// square of the temperature. With that factor the size of the gradients depends little on the temperature.
fn distillation(scores: &Tensor<2>, expected: Tensor<2>) -> Tensor<1> {
    let expected = softmax(expected / TEMPERATURE, 1);
    let found = log_softmax(scores.clone() / TEMPERATURE, 1);
    let sums = (expected * found).sum_dim(1);
    sums.mean() * -(TEMPERATURE * TEMPERATURE)
}

fn cross_entropy(scores: &Tensor<2>, labels: &Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .with_smoothing((smoothing > 0.0).then_some(smoothing))
        .init(&scores.device())
        .forward(scores.clone(), labels.clone())
}

impl<N: Network> TrainStep for Classifier<N> {
    type Input = ImageBatch;
    type Output = Answers;

    fn step(&self, batch: ImageBatch) -> TrainOutput<Answers> {
        self.checkpoints.wait();
        let expected = self.teacher.as_ref();
        let expected = expected.map(|teacher| teacher.answer(&batch.images));
        let scores = self.network.forward(batch.images);
        // The logs show the plain cross-entropy, so that the curves of all recipes and variants can be
        // compared.
        let plain = cross_entropy(&scores, &batch.labels, 0.0);
        let mut loss = match (expected, self.label_smoothing) {
            (Some(expected), _) => distillation(&scores, expected),
            (None, 0.0) => plain.clone(),
            (None, smoothing) => cross_entropy(&scores, &batch.labels, smoothing),
        };
        if let Some(regularization) = self.regularization.loss(&self.network, self.steps) {
            loss = loss + regularization;
        }
        if batch.share < 1.0 {
            // The gradients of several devices are added up, so each loss is weighted by its number of
            // images.
            loss = loss * batch.share;
        }
        let answers = Answers::new(plain, scores, batch.labels);
        TrainOutput::new(self, loss.backward(), answers)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        learning_rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        optimizer.step(learning_rate, self, gradients).stepped()
    }

    fn optimize_multi(
        self,
        optimizer: &mut ModuleOptimizer,
        learning_rate: ModuleLearningRate,
        gradients: MultiGradientsParams,
    ) -> Self {
        let stepped = optimizer.step_multi(learning_rate, self, gradients);
        stepped.stepped()
    }
}

impl<N: Network> InferenceStep for Classifier<N> {
    type Input = ImageBatch;
    type Output = Answers;

    fn step(&self, batch: ImageBatch) -> Answers {
        let scores = self.network.forward(batch.images);
        let loss = cross_entropy(&scores, &batch.labels, 0.0);
        Answers::new(loss, scores, batch.labels)
    }
}
