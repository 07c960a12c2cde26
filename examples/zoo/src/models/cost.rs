//! What a network costs.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use linearconv::{Calibration, Evaluation, LayerCost, Pixels};

use super::{IMAGE_SIDE, Network};

/// The sizes that the convolutions of a network have for an image, and nothing else.
pub fn sizes<N: Network>(network: &N, channels: usize) -> Calibration {
    let device = network.devices().into_iter().next().unwrap_or_default();
    let image = Tensor::zeros([1, channels, IMAGE_SIDE, IMAGE_SIDE], &device);
    let mut calibration = Calibration::sizes();
    calibration.observe(|| network.forward(image));
    calibration
}

/// The layers of a network with the pixels that each takes of an image.
pub struct Costs(Vec<(LayerCost, Pixels)>);

impl Costs {
    /// Those for images of so many channels, seen in a forward pass.
    pub fn of<N: Network>(network: &N, channels: usize) -> Self {
        let mut layers: Vec<_> = sizes(network, channels).layers().collect();
        let mut linear = LinearLayers::default();
        network.visit(&mut linear);
        layers.extend(linear.found.into_iter().map(|cost| (cost, 1.into())));
        Self(layers)
    }

    /// Parameters of the layers.
    pub fn parameters(&self) -> usize {
        self.0.iter().map(|(cost, _)| cost.parameters()).sum()
    }

    /// Parameters of the layers if they were dense.
    pub fn dense_parameters(&self) -> usize {
        let dense = self.0.iter().map(|(cost, _)| cost.dense());
        dense.map(|cost| cost.parameters()).sum()
    }

    /// Multiply-adds of an image; grouped layers are materialized in any case.
    pub fn multiply_adds(&self, evaluation: Evaluation) -> u64 {
        self.sum(|cost, pixels| match (evaluation, cost.groups) {
            (Evaluation::Factored, 2..) => cost.multiply_adds(Evaluation::Materialized, pixels),
            _ => cost.multiply_adds(evaluation, pixels),
        })
    }

    /// Multiply-adds of an image if the layers were dense.
    pub fn dense_multiply_adds(&self) -> u64 {
        self.sum(|cost, pixels| cost.dense().multiply_adds(Evaluation::Materialized, pixels))
    }

    fn sum(&self, term: impl Fn(&LayerCost, Pixels) -> u64) -> u64 {
        self.0
            .iter()
            .map(|(cost, pixels)| term(cost, *pixels))
            .sum()
    }
}

/// Linear layers, each of which costs what a 1×1 convolution of one pixel does.
#[derive(Default)]
struct LinearLayers {
    inside: bool,
    found: Vec<LayerCost>,
}

impl ModuleVisitor for LinearLayers {
    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.inside = container_type == "Struct:Linear";
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape();
        match (self.inside, D) {
            (true, 2) => self.found.push(LayerCost {
                primary: shape[1],
                secondary: 0,
                filter_size: shape[0],
                primary_channels: shape[0],
                secondary_channels: 0,
                groups: 1,
                rank: None,
                bias: false,
            }),
            (true, _) => {
                if let Some(layer) = self.found.last_mut() {
                    layer.bias = true;
                }
            }
            _ => {}
        }
    }
}

/// The trainable parameters of a module on an autodiff device, without drawing those that are
/// still lazy.
///
/// Burn's `num_params` also counts running statistics and thresholds, which no paper does.
pub fn trainable_parameters<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Only what an initializer is yet to draw is lazy, and that trains. To ask it would
            // draw it.
            if !param.is_initialized() || param.is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
