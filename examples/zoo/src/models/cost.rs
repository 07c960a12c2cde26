//! Parameters and multiply-adds of a network.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use linearconv::{Calibration, Evaluation, LayerCost, Pixels};

use super::{IMAGE_SIDE, Network};

/// A calibration that knows only the sizes of the feature maps, from one image of `channels` channels.
pub fn sizes<N: Network>(network: &N, channels: usize) -> Calibration {
    let device = network.devices().into_iter().next().unwrap_or_default();
    let image = Tensor::zeros([1, channels, IMAGE_SIDE, IMAGE_SIDE], &device);
    let mut calibration = Calibration::sizes();
    calibration.observe(|| network.forward(image));
    calibration
}

/// The cost of each layer of a network, and the number of pixels that the layer computes for an image.
pub struct Costs(Vec<(LayerCost, Pixels)>);

impl Costs {
    /// The costs for images of `channels` channels, found by a forward pass.
    pub fn of<N: Network>(network: &N, channels: usize) -> Self {
        let mut layers: Vec<_> = sizes(network, channels).layers().collect();
        let mut linear = LinearLayers::default();
        network.visit(&mut linear);
        layers.extend(linear.found.into_iter().map(|cost| (cost, 1.into())));
        Self(layers)
    }

    /// The parameters of the convolutions and linear layers.
    pub fn parameters(&self) -> usize {
        self.0.iter().map(|(cost, _)| cost.parameters()).sum()
    }

    /// The parameters that these layers would have if they were dense.
    pub fn dense_parameters(&self) -> usize {
        let dense = self.0.iter().map(|(cost, _)| cost.dense());
        dense.map(|cost| cost.parameters()).sum()
    }

    /// The multiply-adds for an image. Grouped layers are always materialized.
    pub fn multiply_adds(&self, evaluation: Evaluation) -> u64 {
        self.sum(|cost, pixels| match (evaluation, cost.groups) {
            (Evaluation::Factored, 2..) => cost.multiply_adds(Evaluation::Materialized, pixels),
            _ => cost.multiply_adds(evaluation, pixels),
        })
    }

    /// The multiply-adds for an image if the layers were dense.
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

/// Linear layers. A linear layer costs as much as a 1×1 convolution of one pixel.
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

/// The number of trainable parameters of a module on an autodiff device. Lazy parameters are counted, but not
/// initialized.
///
/// Burn's `num_params` also counts running statistics and thresholds. Papers do not count them.
pub fn trainable_parameters<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Only trainable parameters are lazy here. `is_require_grad` would initialize a lazy
            // parameter, so it is not called for them.
            if !param.is_initialized() || param.is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
