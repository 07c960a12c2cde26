//! Checkpoints that others made: read whole, with the logits that their network gives, or refused with
//! the tensor named.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, Tensor};
use linearconv_zoo::models::{Network, NetworkName};
use linearconv_zoo::weights::{Loaded, load};

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints");
    folder.join(name)
}

fn tensor<const D: usize>(file: &Path, name: &str) -> Tensor<D> {
    let mut store = SafetensorsStore::from_file(file);
    let tensors = store.get_all_tensors().expect("tensors");
    let data = bridge::to_data(&tensors[name]).expect("data");
    Tensor::from_data(data, &Device::flex())
}

/// The largest difference, relative to the largest logit.
fn difference(loaded: &Loaded, expected: &Path) -> f32 {
    let network = loaded.network.valid();
    let logits = network.forward(tensor::<4>(expected, "input"));
    let right = tensor::<2>(expected, "logits");
    let largest = right.clone().abs().max().into_scalar::<f32>();
    (logits - right).abs().max().into_scalar::<f32>() / largest
}

#[test]
fn checkpoints_of_the_reference_implementation_give_its_logits() {
    for name in ["base_rank_ratio_0.25", "base_sparse"] {
        let device = Device::flex().autodiff();
        let file = fixture(&format!("{name}.ckpt"));
        let loaded = load(NetworkName::Base, &file, &device).expect(name);
        assert_eq!((loaded.channels, loaded.classes), (3, 10));
        let difference = difference(&loaded, &fixture(&format!("{name}.safetensors")));
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

/// Where LINEARCONV_CHECKPOINTS names a folder, all that it holds: what
/// tests/interchange/checkpoints.py has made.
#[test]
fn checkpoints_of_a_folder() {
    let Ok(folder) = std::env::var("LINEARCONV_CHECKPOINTS") else {
        return;
    };
    use clap::ValueEnum;
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "ckpt") {
            continue;
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let mut names = NetworkName::value_variants().to_vec();
        names.sort_by_key(|name| std::cmp::Reverse(name.to_string().len()));
        let name = names.into_iter().find(|n| stem.starts_with(&n.to_string())).expect("name");
        match load(name, &path, &Device::flex().autodiff()) {
            Ok(loaded) => println!(
                "{stem}: {} {} linear {}: {}",
                loaded.channels,
                loaded.classes,
                loaded.is_linear,
                difference(&loaded, &path.with_extension("safetensors"))
            ),
            Err(error) => println!("{stem}: {error}"),
        }
    }
}
