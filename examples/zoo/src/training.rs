//! A network as a learner of burn-train: the loss, its regularization and pruning.

use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use linearconv::pruning::CubicRamp;
use linearconv::{coefficient_l1, correlation_loss};

use crate::Error;
use crate::data::ImageBatch;
use crate::models::Network;

/// What is added to the cross-entropy, and on which batches.
#[derive(Clone, Debug)]
pub struct Regularization {
    /// The weight of the correlation loss; 0 leaves it out.
    pub correlation_weight: f64,
    /// The weight of the coefficients' L1 norm; 0 leaves it out.
    pub coefficient_l1_weight: f64,
    /// Batches between two that add them. The first batch does.
    pub interval: usize,
}

impl Regularization {
    /// The weighted losses that a batch adds, the first being number 0.
    pub fn loss<M: Module>(&self, module: &M, batch: usize) -> Option<Tensor<1>> {
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

/// When the coefficients of the sparse variant are pruned, and how far.
#[derive(Clone, Debug)]
pub struct Pruning {
    /// The sparsity at each optimizer step.
    pub ramp: CubicRamp,
    /// Optimizer steps between two prunings.
    pub interval: usize,
}

/// A network with all that its training needs.
#[derive(Module, Debug)]
pub struct Classifier<N: Network> {
    /// The network.
    pub network: N,
    steps: usize,
    #[module(skip)]
    regularization: Regularization,
    #[module(skip)]
    pruning: Option<Pruning>,
}

impl<N: Network> Classifier<N> {
    /// A classifier that has not trained yet.
    pub fn new(network: N, regularization: Regularization, pruning: Option<Pruning>) -> Self {
        Self {
            network,
            steps: 0,
            regularization,
            pruning,
        }
    }

    /// Correct answers among the images of a loader, in percent. The network must be in its
    /// validation state.
    ///
    /// # Errors
    /// [`Error::Training`] where a batch or a result cannot be read.
    pub fn accuracy(&self, loader: &Arc<dyn DataLoader<ImageBatch>>) -> Result<f64, Error> {
        let mut correct = 0;
        for batch in loader.iter() {
            let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
            let scores = self.network.forward(batch.images);
            let answers = scores.argmax(1).flatten::<1>(0, 1);
            let right = answers.equal(batch.labels).int().sum();
            correct += right
                .try_into_scalar::<i64>()
                .map_err(|error| Error::Training(error.to_string()))?;
        }
        Ok(100.0 * correct as f64 / loader.num_items() as f64)
    }

    fn classify(&self, batch: ImageBatch) -> ClassificationOutput {
        let scores = self.network.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&scores.device())
            .forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl<N: Network> TrainStep for Classifier<N> {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        // The output keeps the plain cross-entropy, so that curves of all variants compare.
        let loss = match self.regularization.loss(&self.network, self.steps) {
            Some(regularization) => output.loss.clone() + regularization,
            None => output.loss.clone(),
        };
        TrainOutput::new(self, loss.backward(), output)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        learning_rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let mut stepped = optimizer.step(learning_rate, self, gradients);
        stepped.steps += 1;
        if let Some(pruning) = &stepped.pruning
            && stepped.steps.is_multiple_of(pruning.interval)
        {
            stepped.network = pruning.ramp.prune(stepped.network, stepped.steps);
        }
        stepped
    }
}

impl<N: Network> InferenceStep for Classifier<N> {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}
