//! Networks as ONNX: the operations, names and metadata of a file. That a runtime gives Burn's logits,
//! tests/interchange/check_onnx.py shows.
#![cfg(feature = "onnx")]

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use linearconv::{CoefficientsConfig, ConvConfig, LinearConv2dConfig};
use linearconv_zoo::models::{NetworkConfig, NetworkName};
use linearconv_zoo::weights::{Loaded, export, load};
use onnx_ir::{Message, ModelProto};

use tempfile::TempDir;

fn exported(loaded: Loaded, name: NetworkName, dense: bool) -> ModelProto {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("network.onnx");
    let metadata = loaded.metadata_of(name);
    export::write(loaded, &file, dense, true, &metadata).expect("written");
    ModelProto::parse_from_bytes(&std::fs::read(file).expect("read")).expect("a model")
}

fn operations(model: &ModelProto) -> BTreeMap<&str, usize> {
    let mut operations = BTreeMap::new();
    for node in &model.graph.node {
        *operations.entry(node.op_type.as_str()).or_default() += 1;
    }
    operations
}

#[test]
fn layers_are_factored_and_normalizations_folded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints");
    let model = |file: &str, dense| {
        let loaded = load(NetworkName::Base, &folder.join(file), &Device::flex());
        exported(loaded.expect("loaded"), NetworkName::Base, dense)
    };
    // Four layers: the primary filters, and one or two matrices of coefficients.
    for (file, convolutions) in [("base_sparse.ckpt", 8), ("base_rank_ratio_0.25.ckpt", 12)] {
        let factored = model(file, false);
        let found = operations(&factored);
        assert_eq!(found["Conv"], convolutions, "{file}");
        assert!(!found.contains_key("BatchNormalization"), "{found:?}");
        let dense = model(file, true);
        let found = operations(&dense);
        assert_eq!((found["Conv"], found["Relu"]), (4, 4), "{found:?}");
        assert!(!found.contains_key("BatchNormalization"), "{found:?}");
        for model in [factored, dense] {
            assert_eq!(model.graph.input[0].name, "images");
            assert_eq!(model.graph.output[0].name, "logits");
            let network = model
                .metadata_props
                .iter()
                .find(|entry| entry.key == "network");
            assert_eq!(network.expect("metadata").value, "base");
        }
    }
    // Two of its four layers are compressed, and combine their channels first.
    let two_sided = model("photos_two_sided.bpk", false);
    assert_eq!(operations(&two_sided)["Conv"], 4 + 2 * 2);
}

/// Of every family, in every kind, the exporter has all operations.
#[test]
fn every_network_is_carried() {
    let folder = TempDir::new().expect("folder");
    let two_sided = LinearConv2dConfig::new([0, 0], [0, 0]).with_channel_ratio(0.5);
    let kinds = [
        ConvConfig::dense(),
        ConvConfig::auto(CoefficientsConfig::LowRank { rank: 3 }),
        ConvConfig::Auto(two_sided),
    ];
    let networks = [
        NetworkName::AllConv,
        NetworkName::Base,
        NetworkName::MobileNetV2,
        NetworkName::ResNet18,
        NetworkName::ResNeXt29_2x64d,
        NetworkName::SqueezeNet,
    ];
    for name in networks {
        for conv in &kinds {
            let config = NetworkConfig {
                conv: conv.clone(),
                channels: 3,
                classes: 10,
            };
            let network = name.try_init(&config, &Device::flex()).expect("valid");
            let record = folder.path().join("record.bpk");
            burn::module::Module::save_file(network, &record).expect("saved");
            let loaded = load(name, &record, &Device::flex()).expect("loaded");
            let model = exported(loaded, name, false);
            assert!(
                !operations(&model).contains_key("BatchNormalization"),
                "{name}"
            );
        }
    }
}
