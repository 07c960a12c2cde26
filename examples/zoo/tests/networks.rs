//! Every network runs, records its layers and learns in every variant. One test does all, since what it checks depends
//! on random weights, and flex has one random generator for the process.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use linearconv::{CoefficientsConfig, ConvConfig, Error, correlation_loss};
use linearconv_zoo::models::{
    AllConvConfig, BaseConfig, Costs, MobileNetV2Config, Network, NetworkConfig, ResNeXtConfig,
    ResNetConfig, SqueezeNetConfig, VggConfig, trainable_parameters,
};

fn policies() -> [ConvConfig; 5] {
    [
        ConvConfig::dense(),
        ConvConfig::linear(CoefficientsConfig::Full),
        ConvConfig::linear(CoefficientsConfig::LowRank { rank: 2 }),
        ConvConfig::linear(CoefficientsConfig::RankRatio { ratio: 0.5 }),
        ConvConfig::linear(CoefficientsConfig::Sparse { sparsity: 0.5 }),
    ]
}

/// The values of the trainable parameters of a module.
#[derive(Default)]
struct Values(HashMap<ParamId, Vec<f32>>);

impl Values {
    fn of<M: Module>(module: &M) -> Self {
        let mut values = Self::default();
        module.visit(&mut values);
        values
    }
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let values = param.val().try_to_vec_as().expect("values");
            self.0.insert(param.id, values);
        }
    }
}

/// What parameters lack a gradient.
struct WithoutGradient<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for WithoutGradient<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() && self.gradients.get::<D>(param.id).is_none() {
            self.found.push(self.path.join("."));
        }
    }
}

/// What weights and coefficients a step has left as they were. A bias ahead of normalization may
/// stay: it has no effect.
struct Unchanged<'a> {
    before: &'a Values,
    found: usize,
}

impl ModuleVisitor for Unchanged<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D > 1 && param.is_require_grad() {
            let values: Vec<f32> = param.val().try_to_vec_as().expect("values");
            self.found += usize::from(self.before.0[&param.id] == values);
        }
    }
}

/// The parameters of a module's normalizations.
#[derive(Default)]
struct NormParameters {
    norm: bool,
    count: usize,
}

impl ModuleVisitor for NormParameters {
    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.norm = container_type == "Struct:BatchNorm";
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.norm && param.is_require_grad() {
            self.count += param.lazy_shape().num_elements();
        }
    }
}

/// Takes one optimizer step on two images of the given side.
fn learn<N: Network>(name: &str, network: N, channels: usize, side: usize, device: &Device) {
    let before = Values::of(&network);
    let images = Tensor::random([2, channels, side, side], Distribution::Default, device);
    let scores = network.forward(images);
    assert_eq!(scores.dims(), [2, 10], "{name}");

    let mut norms = NormParameters::default();
    network.visit(&mut norms);
    let recorded = Costs::of(&network, channels).parameters() + norms.count;
    assert_eq!(recorded, trainable_parameters(&network), "{name}");

    let loss = scores.square().sum() + correlation_loss(&network) * 0.01;
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let mut without = WithoutGradient {
        gradients: &gradients,
        path: Vec::new(),
        found: Vec::new(),
    };
    network.visit(&mut without);
    assert!(without.found.is_empty(), "{name}: {:?}", without.found);

    let network = AdamConfig::new().init().step(1e-3, network, gradients);
    let mut unchanged = Unchanged {
        before: &before,
        found: 0,
    };
    network.visit(&mut unchanged);
    assert_eq!(unchanged.found, 0, "{name}");
}

#[test]
fn every_network_learns_in_every_variant() {
    fn check<N: Network>(
        name: &str,
        side: usize,
        policies: &[ConvConfig],
        init: impl Fn(&NetworkConfig, &Device) -> Result<N, Error>,
    ) {
        let device = Device::flex().autodiff();
        device.seed(0);
        for conv in policies {
            for channels in [1, 3] {
                let config = NetworkConfig {
                    conv: conv.clone(),
                    channels,
                    classes: 10,
                };
                let network = init(&config, &device).expect("valid");
                let name = format!("{name} of {channels} channels, {conv:?}");
                learn(&name, network, channels, side, &device);
            }
        }
    }

    let all = policies();
    check("base", 32, &all, |config, device| {
        BaseConfig.try_init(config, device)
    });
    check("vgg11", 32, &all, |config, device| {
        VggConfig::Vgg11.try_init(config, device)
    });
    check("allconv", 32, &all, |config, device| {
        AllConvConfig.try_init(config, device)
    });
    check("resnet18", 32, &all, |config, device| {
        ResNetConfig::ResNet18.try_init(config, device)
    });
    check("resnext29", 32, &all, |config, device| {
        ResNeXtConfig::ResNeXt29_2x64d.try_init(config, device)
    });
    check("mobilenet_v2", 32, &all, |config, device| {
        MobileNetV2Config.try_init(config, device)
    });
    check("squeezenet", 32, &all, |config, device| {
        SqueezeNetConfig.try_init(config, device)
    });

    let low_rank = |rank| [ConvConfig::linear(CoefficientsConfig::LowRank { rank })];
    // Above the rank of its narrowest layers.
    check("mobilenet_v2", 32, &low_rank(10), |config, device| {
        MobileNetV2Config.try_init(config, device)
    });
    // The smallest ResNet of bottleneck blocks, on small images: there is much of it.
    check("resnet50", 8, &low_rank(2), |config, device| {
        ResNetConfig::ResNet50.try_init(config, device)
    });
}
