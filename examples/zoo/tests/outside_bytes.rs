//! No bytes from outside break a reader: files and command lines that are valid but for some random
//! changes are read or refused, and what is read is whole.
//!
//! `PROPTEST_CASES=50000 cargo test -p linearconv-zoo --test outside_bytes` tries more of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::Device;
use clap::Parser;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use linearconv::{
    Choice, CoefficientsConfig, Compression, LinearConv2dConfig, Plan, Search, Sensitivity,
};
use linearconv_zoo::Report;
use linearconv_zoo::cli::Args;
use linearconv_zoo::commands::CompareArgs;
use linearconv_zoo::commands::CompressArgs;
use linearconv_zoo::data::{Dataset, DatasetName, Images};
use linearconv_zoo::models::NetworkName;
use linearconv_zoo::train::load_weights;
use linearconv_zoo::{Run, Settings};
use proptest::prelude::*;
use proptest::sample::Index;

/// A change of a file, at a random place.
#[derive(Clone, Debug)]
enum Change {
    Bit(Index, u8),
    Byte(Index, u8),
    /// Four bytes: many sizes and offsets are that long.
    Number(Index, u32),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        any::<u32>(),
        0..300u32,
        Just(u32::MAX),
        Just(i32::MAX as u32),
        Just(1 << 31)
    ];
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), number).prop_map(|(at, number)| Change::Number(at, number)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, to)| Change::Remove(at, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, to)| Change::Repeat(at, to)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..6)
}

fn changed(valid: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let place = |at: &Index| at.index(bytes.len());
        let range = |at: &Index, to: &Index| {
            let (at, to) = (place(at), place(to));
            at.min(to)..at.max(to)
        };
        match change {
            Change::Bit(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Change::Byte(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Change::Number(at, number) => {
                let at = place(at);
                let number = if at % 2 == 0 {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                };
                let length = number.len().min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&number[..length]);
            }
            Change::Cut(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
            Change::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, to) => {
                let range = range(at, to);
                bytes.drain(range);
            }
            Change::Repeat(at, to) => {
                let range = range(at, to);
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, part);
            }
        }
    }
    bytes
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn idx(magic: u32, sizes: &[u32], content: &[u8]) -> Vec<u8> {
    let numbers = [&[magic], sizes].concat();
    let header: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    [&header, content].concat()
}

fn pixels(count: usize) -> Vec<u8> {
    (0..count).map(|place| place as u8).collect()
}

type DataFile = (DatasetName, &'static str, Vec<u8>);

/// The files of data sets, with the data set that they belong to.
static DATA_FILES: LazyLock<Vec<DataFile>> = LazyLock::new(data_files);

fn data_files() -> Vec<DataFile> {
    use DatasetName::{Cifar10, Cifar100, Mnist, Svhn};
    let images = idx(0x803, &[2, 28, 28], &pixels(2 * 784));
    let labels = idx(0x801, &[2], &[3, 9]);
    let record = |labels: &[u8]| [labels, &pixels(3072)].concat();
    let records = [record(&[3]), record(&[9])].concat();
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(records.len() as u64);
        let path = format!("cifar-10-batches-bin/{name}");
        archive
            .append_data(&mut header, path, &records[..])
            .expect("memory");
    }
    let archive = archive.into_inner().expect("memory");
    vec![
        (Mnist, "train-images-idx3-ubyte", images.clone()),
        (Mnist, "train-labels-idx1-ubyte", labels.clone()),
        (Mnist, "t10k-images-idx3-ubyte", images.clone()),
        (Mnist, "t10k-labels-idx1-ubyte", labels.clone()),
        (Mnist, "train-images-idx3-ubyte.gz", gzip(&images)),
        (Mnist, "t10k-labels-idx1-ubyte.gz", gzip(&labels)),
        (Cifar10, "data_batch_1.bin", records.clone()),
        (Cifar10, "test_batch.bin", records),
        (
            Cifar100,
            "train.bin",
            [record(&[3, 99]), record(&[9, 0])].concat(),
        ),
        (Cifar100, "test.bin", record(&[3, 99])),
        (Cifar10, "cifar-10-binary.tar.gz", gzip(&archive)),
        (
            Svhn,
            "train_32x32.mat",
            include_bytes!("fixtures/two-digits.mat").to_vec(),
        ),
        (
            Svhn,
            "test_32x32.mat",
            include_bytes!("fixtures/two-digits-compressed.mat").to_vec(),
        ),
    ]
}

/// A folder of a whole data set but for one file, whose content is given.
fn read(dataset: DatasetName, name: &str, content: &[u8], folder: &Path) -> Option<Dataset> {
    // One that is packed stands for the one that is not, and an archive for all.
    let stands_for =
        |other: &str| name.ends_with(".tar.gz") || other == name.trim_end_matches(".gz");
    for (of, other, valid) in DATA_FILES.iter() {
        if *of == dataset && !other.ends_with(".gz") && !stands_for(other) {
            fs::write(folder.join(other), valid).expect("written");
        }
    }
    fs::write(folder.join(name), content).expect("written");
    dataset.load_partial(Some(folder)).ok()
}

fn check(images: &Images, dataset: DatasetName) {
    let size: usize = images.shape.iter().product();
    assert_eq!(images.pixels.len(), images.labels.len() * size);
    let classes = dataset.classes();
    assert!(
        images
            .labels
            .iter()
            .all(|label| usize::from(*label) < classes)
    );
}

fn model() -> Conv2d {
    Conv2dConfig::new([4, 8], [3, 3]).init(&Device::flex())
}

fn plan(model: &Conv2d) -> Plan {
    Compression::to_parameters(0.5).plan(model).expect("a plan")
}

fn settings() -> Settings {
    let words = "base --variant sparse --epochs 3 --seed 4 --train-limit 90".split(' ');
    let args = Args::try_parse_from(words).expect("flags");
    Settings {
        load: None,
        network: NetworkName::Base,
        recipe: args.training.recipe(NetworkName::Base),
        conv: args.conv,
        training: args.training,
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value")
}

/// Words of a command line, some of which belong together.
fn words() -> impl Strategy<Value = Vec<String>> {
    const FLAGS: &[&str] = &[
        "--variant",
        "--rank",
        "--sparsity",
        "--channel-ratio",
        "--layers",
        "--evaluation",
        "--dataset",
        "--data-dir",
        "--backend",
        "--devices",
        "--parallel",
        "--recipe",
        "--epochs",
        "--batch-size",
        "--lr",
        "--correlation-weight",
        "--seed",
        "--train-limit",
        "--test-limit",
        "--out-dir",
        "--resume",
        "--partial",
        "--download",
        "--network",
        "--variants",
        "--parameters",
        "--error",
        "--uniform",
        "--multiply-adds",
        "--lose",
        "--search",
        "--data-aware",
        "--measure",
        "--normalize",
        "--targets",
        "--fine-tune",
        "--fine-tune-lr",
        "--calibration-images",
        "--csv",
    ];
    const VALUES: &[&str] = &[
        "dense",
        "full",
        "rank",
        "low-rank",
        "sparse",
        "all",
        "auto",
        "paper",
        "fast",
        "base",
        "vgg11",
        "mnist-mini",
        "cifar10",
        "flex",
        "wgpu:1",
        "remote:",
        "0",
        "1",
        "-1",
        "0.5",
        "1e308",
        "-0.0",
        "NaN",
        "inf",
        "18446744073709551616",
        "4294967296",
        "",
    ];
    let flag = prop::sample::select(FLAGS).prop_map(String::from);
    let value = prop::sample::select(VALUES).prop_map(String::from);
    let any_word = prop::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter);
    let word = prop_oneof![4 => flag, 4 => value, 1 => any_word];
    prop::collection::vec(word, 0..7)
}

/// What a random change once made of a file of weights.
#[test]
fn integers_in_the_place_of_weights_are_an_error() {
    let model = model();
    let mut bytes = model
        .clone()
        .into_record()
        .into_bytes()
        .expect("memory")
        .to_vec();
    let floats = bytes
        .windows(3)
        .position(|word| word == b"F32")
        .expect("their type");
    bytes[floats] = b'U';
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bpk");
    fs::write(&path, bytes).expect("written");
    let error = load_weights(model, &path)
        .expect_err("integers")
        .to_string();
    assert!(error.contains("a tensor of another type"), "{error}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}

proptest! {
    #[test]
    fn data_sets(file in any::<Index>(), changes in changes()) {
        let (dataset, name, valid) = file.get(&DATA_FILES);
        let folder = tempfile::tempdir().expect("a folder");
        let found = read(*dataset, name, &changed(valid, &changes), folder.path());
        if let Some(found) = found {
            check(&found.train, *dataset);
            check(&found.test, *dataset);
        } else {
            prop_assert!(!changes.is_empty(), "{name} is valid");
        }
    }

    #[test]
    fn weights(changes in changes()) {
        let model = model();
        let valid = model.clone().into_record().into_bytes().expect("memory");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.bpk");
        fs::write(&path, changed(&valid, &changes)).expect("written");
        if let Ok(loaded) = load_weights(model, &path) {
            prop_assert_eq!(loaded.weight.val().dims(), [8, 4, 3, 3]);
            let _ = loaded.weight.val().into_data();
        }
    }

    #[test]
    fn plans(changes in changes()) {
        let model = model();
        if let Ok(plan) = serde_json::from_slice::<Plan>(&changed(&json(&plan(&model)), &changes)) {
            let _ = (plan.to_string(), plan.parameters(), plan.error());
            let _ = plan.prepare(model.clone());
            if let Ok(small) = plan.apply(model) {
                prop_assert_eq!(small.weight.val().dims(), [8, 4, 3, 3]);
            }
        }
    }

    #[test]
    fn choices(changes in changes()) {
        let model = model();
        let valid = json(&plan(&model).choices());
        let choices: Result<BTreeMap<String, Choice>, _> = serde_json::from_slice(&changed(&valid, &changes));
        if let Ok(choices) = choices
            && let Ok(plan) = Compression::per_layer(choices).plan(&model)
        {
            prop_assert!(plan.apply(model).is_ok());
        }
    }

    #[test]
    fn layers(changes in changes()) {
        let coefficients = CoefficientsConfig::LowRank { rank: 2 };
        let valid = LinearConv2dConfig::new([4, 8], [3, 3]).with_coefficients(coefficients);
        let config = serde_json::from_slice::<LinearConv2dConfig>(&changed(&json(&valid), &changes));
        if let Ok(config) = config
            && let Ok(cost) = config.cost()
            && cost.dense().parameters() < 1 << 20
        {
            let layer = config.try_init(&Device::flex()).expect("it has a cost");
            prop_assert_eq!(layer.cost(), cost);
        }
    }

    #[test]
    fn what_a_run_has_written(changes in changes(), which in 0..4) {
        let bytes = |valid| changed(valid, &changes);
        match which {
            0 => {
                let folder = tempfile::tempdir().expect("a folder");
                fs::write(folder.path().join("config.json"), bytes(&json(&settings()))).expect("written");
                let args = format!("base --resume {}", folder.path().display());
                let args = Args::try_parse_from(args.split(' ')).expect("flags");
                if let Ok(run) = Run::new(NetworkName::Base, args) {
                    prop_assert_eq!(run.finished_epochs, 0);
                }
            }
            1 => {
                let valid = include_bytes!("fixtures/report.json");
                if let Ok(report) = serde_json::from_slice::<Report>(&bytes(valid)) {
                    let _ = report.to_string();
                    let folder = tempfile::tempdir().expect("a folder");
                    let _ = report.write(folder.path());
                }
            }
            2 => {
                if let Ok(search) = serde_json::from_slice::<Search>(&bytes(&json(&Search::default()))) {
                    let _ = search.to_string();
                }
            }
            _ => {
                let valid = json(&Sensitivity::default());
                if let Ok(sensitivity) = serde_json::from_slice::<Sensitivity>(&bytes(&valid)) {
                    let _ = sensitivity.to_string();
                    let compression = Compression::to_parameters(0.5).with_sensitivity(sensitivity);
                    let _ = compression.plan(&model());
                }
            }
        }
    }

    #[test]
    fn command_lines(words in words()) {
        let words = || ["program".to_string()].into_iter().chain(words.clone());
        if let Ok(args) = Args::try_parse_from(words()) {
            for network in [NetworkName::Base, NetworkName::MobileNetV2] {
                let recipe = args.training.recipe(network);
                prop_assert!(recipe.epochs > 0 && recipe.batch_size > 0);
                let _ = (recipe.to_string(), args.conv.policy(network), args.conv.slug());
            }
        }
        let _ = CompressArgs::try_parse_from(words());
        let _ = CompareArgs::try_parse_from(words());
    }
}
