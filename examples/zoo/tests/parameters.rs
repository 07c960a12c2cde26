//! The networks are as large as those of the reference implementation, and begin with useful values.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use linearconv::{CoefficientsConfig, Conv, ConvConfig, Error, Evaluation};
use linearconv_zoo::cli::ConvArgs;
use linearconv_zoo::commands::paper_costs;
use linearconv_zoo::models::{
    AllConvConfig, BaseConfig, Costs, Layer, Layered, Layers, MobileNetV2Config, NetworkConfig,
    NetworkName, ResNeXtConfig, ResNetConfig, SqueezeNetConfig, Variant, VggConfig,
    trainable_parameters,
};

/// A network for RGB images of 10 classes.
fn config(conv: ConvConfig) -> NetworkConfig {
    NetworkConfig {
        conv,
        channels: 3,
        classes: 10,
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn dense<N: Module>(init: impl Fn(&NetworkConfig, &Device) -> Result<N, Error>) -> usize {
    trainable_parameters(&init(&config(ConvConfig::dense()), &device()).expect("valid"))
}

/// The paper's table, as counted on the reference implementation's code.
#[test]
fn parameters_are_those_of_the_paper() {
    assert_eq!(paper_costs().count(), 18);
    for row in paper_costs() {
        let conv = ConvArgs {
            layers: Layers::All,
            ..ConvArgs::new(row.variant)
        }
        .policy(row.network)
        .expect("valid");
        let network = row
            .network
            .try_init(&config(conv), &device())
            .expect("valid");
        assert_eq!(trainable_parameters(&network), row.parameters, "{row:?}");
    }
}

/// The variants of VGG11 that the README lists beside those of the paper.
#[test]
fn parameters_of_vgg11_are_those_of_the_readme() {
    let count = |coefficients| {
        let config = config(ConvConfig::linear(coefficients));
        trainable_parameters(
            &VggConfig::Vgg11
                .try_init(&config, &device())
                .expect("valid"),
        )
    };
    assert_eq!(
        count(CoefficientsConfig::RankRatio { ratio: 0.25 }),
        4_772_266
    );
    assert_eq!(
        count(CoefficientsConfig::Sparse { sparsity: 0.25 }),
        4_922_282
    );
}

/// Half of the filters, of half of the channels; the channels of the images stay. By hand: four
/// layers of `m·s·9 + n·m + s·(c − s)`, and 11,690 parameters of biases, normalization and head.
#[test]
fn both_sides_of_base_have_the_parameters_of_the_formula() {
    let conv = ConvArgs {
        layers: Layers::All,
        channel_ratio: Some(0.5),
        ..ConvArgs::new(Variant::Full)
    };
    let policy = conv.policy(NetworkName::Base).expect("valid");
    let network = NetworkName::Base
        .try_init(&config(policy), &device())
        .expect("valid");
    let sizes = [
        [16, 3, 16, 0],
        [32, 16, 32, 16],
        [64, 32, 64, 32],
        [128, 64, 128, 64],
    ];
    let layers = sizes.map(|[m, s, n, rest]| m * s * 9 + n * m + s * rest);
    assert_eq!(
        trainable_parameters(&network),
        layers.iter().sum::<usize>() + 11_690
    );
    assert_eq!(trainable_parameters(&network), 136_026);
}

/// The dense counts of the networks of kuangliu/pytorch-cifar, which the reference implementation
/// follows.
#[test]
fn parameters_are_those_of_pytorch_cifar() {
    let vgg = |vgg: VggConfig| dense(|config, device| vgg.try_init(config, device));
    assert_eq!(vgg(VggConfig::Vgg13), 9_416_010);
    assert_eq!(vgg(VggConfig::Vgg16), 14_728_266);
    assert_eq!(vgg(VggConfig::Vgg19), 20_040_522);

    let resnet = |resnet: ResNetConfig| dense(|config, device| resnet.try_init(config, device));
    assert_eq!(resnet(ResNetConfig::ResNet34), 21_282_122);
    assert_eq!(resnet(ResNetConfig::ResNet50), 23_520_842);
    assert_eq!(resnet(ResNetConfig::ResNet101), 42_512_970);
    assert_eq!(resnet(ResNetConfig::ResNet152), 58_156_618);

    let resnext = |resnext: ResNeXtConfig| dense(|config, device| resnext.try_init(config, device));
    assert_eq!(resnext(ResNeXtConfig::ResNeXt29_4x64d), 27_104_586);
    assert_eq!(resnext(ResNeXtConfig::ResNeXt29_8x64d), 89_598_282);
    assert_eq!(resnext(ResNeXtConfig::ResNeXt29_32x4d), 4_774_218);
}

/// torchvision's 1,235,496 of SqueezeNet 1.1 for 1000 classes; in place of each filter's bias,
/// normalization has a scale and a shift.
#[test]
fn squeezenet_has_the_parameters_of_the_original() {
    let config = NetworkConfig {
        classes: 1000,
        ..config(ConvConfig::dense())
    };
    let network = SqueezeNetConfig.try_init(&config, &device());
    let filters = 64 + 2 * (16 + 128 + 32 + 256 + 48 + 384 + 64 + 512);
    let parameters = trainable_parameters(&network.expect("valid"));
    assert_eq!(parameters - filters, 1_235_496);
}

/// How many layers the reference implementation replaces.
#[test]
fn the_layers_of_the_reference_are_linearconv() {
    fn layers<N: Module>(init: impl Fn(&NetworkConfig, &Device) -> Result<N, Error>) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn enter_module(&mut self, name: &str, container_type: &str) {
                if (container_type, name) == ("Struct:LinearConv2d", "primary") {
                    self.0 += 1;
                }
            }
        }
        let mut count = Count(0);
        let network = init(
            &config(ConvConfig::linear(CoefficientsConfig::Full)),
            &device(),
        );
        network.expect("valid").visit(&mut count);
        count.0
    }
    let rows = [
        (
            "base",
            layers(|config, device| BaseConfig.try_init(config, device)),
            4,
        ),
        (
            "vgg11",
            layers(|config, device| VggConfig::Vgg11.try_init(config, device)),
            8,
        ),
        (
            "allconv",
            layers(|config, device| AllConvConfig.try_init(config, device)),
            8,
        ),
        (
            "resnet18",
            layers(|config, device| ResNetConfig::ResNet18.try_init(config, device)),
            20,
        ),
        (
            "resnext29",
            layers(|config, device| ResNeXtConfig::ResNeXt29_2x64d.try_init(config, device)),
            30,
        ),
        (
            "mobilenet_v2",
            layers(|config, device| MobileNetV2Config.try_init(config, device)),
            57,
        ),
    ];
    for (name, actual, expected) in rows {
        assert_eq!(actual, expected, "{name}");
    }
}

/// Output pixels × filters × weights of a filter, layer by layer.
#[test]
fn vgg11_records_the_multiply_adds_of_its_layers() {
    let network = VggConfig::Vgg11.try_init(&config(ConvConfig::dense()), &Device::flex());
    let costs = Costs::of(&network.expect("valid"), 3);
    let layers = [
        32 * 32 * 64 * 9 * 3,
        16 * 16 * 128 * 9 * 64,
        8 * 8 * 256 * 9 * 128,
        8 * 8 * 256 * 9 * 256,
        4 * 4 * 512 * 9 * 256,
        4 * 4 * 512 * 9 * 512,
        2 * 2 * 512 * 9 * 512,
        2 * 2 * 512 * 9 * 512,
        10 * 512,
    ];
    let multiply_adds = layers.iter().sum::<usize>() as u64;
    assert_eq!(costs.multiply_adds(Evaluation::Auto), multiply_adds);
    assert_eq!(multiply_adds, 152_769_536);
}

#[test]
fn counting_draws_nothing_and_is_the_same_after_drawing() {
    struct Drawn(usize);
    impl ModuleVisitor for Drawn {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D > 1 {
                self.0 += usize::from(param.is_initialized());
            }
        }
    }
    let sparse = ConvConfig::linear(CoefficientsConfig::Sparse { sparsity: 0.5 });
    let network = BaseConfig
        .try_init(&config(sparse), &device())
        .expect("valid");
    let parameters = trainable_parameters(&network);
    let mut drawn = Drawn(0);
    network.visit(&mut drawn);
    assert_eq!(drawn.0, 0);
    assert_eq!(trainable_parameters(&network.materialize()), parameters);
}

#[test]
fn a_rank_that_does_not_fit_is_an_error() {
    let config = |rank| config(ConvConfig::linear(CoefficientsConfig::LowRank { rank }));
    let vgg = |rank| VggConfig::Vgg11.try_init(&config(rank), &device()).err();
    assert_eq!(vgg(32), None);
    assert!(matches!(
        vgg(33),
        Some(Error::Rank {
            rank: 33,
            primary: 32,
            ..
        })
    ));

    // MobileNetV2 makes an exception of its layers of 16 filters, and of no others.
    let mobilenet = |rank| MobileNetV2Config.try_init(&config(rank), &device()).err();
    assert_eq!(mobilenet(12), None);
    assert!(matches!(
        mobilenet(13),
        Some(Error::Rank {
            rank: 13,
            primary: 12,
            ..
        })
    ));
    assert!(matches!(mobilenet(0), Some(Error::Rank { rank: 0, .. })));
}

/// By default every network has at most the parameters of its dense twin, MobileNetV2 among them,
/// which the paper's way makes larger.
#[test]
fn no_network_grows_by_default() {
    for network in NetworkName::value_variants() {
        let count = |conv| {
            let network = network.try_init(&config(conv), &device()).expect("valid");
            trainable_parameters(&network)
        };
        let dense = count(ConvConfig::dense());
        for variant in [Variant::Full, Variant::LowRank, Variant::Sparse] {
            let auto = ConvArgs::new(variant).policy(*network).expect("valid");
            assert!(count(auto) < dense, "{network} {variant:?}");
        }
    }
    let mobilenet = |conv| {
        let network = MobileNetV2Config.try_init(&config(conv), &device());
        trainable_parameters(&network.expect("valid"))
    };
    let full = CoefficientsConfig::Full;
    assert!(mobilenet(ConvConfig::linear(full)) > mobilenet(ConvConfig::dense()));
}

/// Without normalization, nothing else keeps the maps of AllConv from shrinking. He initialization gives each weight
/// the mean square 2 / fan-in.
#[test]
fn the_primary_filters_of_allconv_have_he_initialization() {
    let device = Device::flex();
    for conv in [
        ConvConfig::linear(CoefficientsConfig::Full),
        ConvConfig::auto(CoefficientsConfig::LowRank { rank: 2 }),
    ] {
        let network = AllConvConfig.try_init(&config(conv), &device);
        let mut network = network.expect("valid");
        let mut found = 0;
        for layer in network.layers() {
            if let Layer::Conv {
                conv: Conv::Linear(conv),
                ..
            } = layer
            {
                let filters = conv.primary.val();
                let [_, channels, height, width] = filters.dims();
                let fan_in = (channels * height * width) as f32;
                let ratio = filters.square().mean().into_scalar::<f32>() * fan_in / 2.0;
                // The first layer has the fewest weights, 48·27: a standard deviation of 0.025.
                assert!((ratio - 1.0).abs() < 0.15, "{ratio} of {fan_in} inputs");
                found += 1;
            }
        }
        assert!(found >= 7, "{found} layers");
    }
}
