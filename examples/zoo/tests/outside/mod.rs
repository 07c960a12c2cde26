//! The readers of outside bytes. Each reader comes with bytes that it reads, and with what must hold for any
//! other bytes: they are read or refused without a panic, and what is read is whole.
//!
//! `outside_bytes.rs` changes the bytes at random. The fuzz targets in `fuzz/` start from the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::LazyLock;

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use clap::Parser;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use image::ImageFormat;
use linearconv::{
    Choice, CoefficientsConfig, Compression, LinearConv2dConfig, Plan, Search, Sensitivity,
};
use linearconv_zoo::cli::Args;
use linearconv_zoo::commands::{CompareArgs, CompressArgs, FiguresArgs, SummaryArgs};
use linearconv_zoo::data::{DatasetName, Images, read_image};
use linearconv_zoo::models::{Network, NetworkName};
use linearconv_zoo::train::load_weights;
use linearconv_zoo::weights::{export, load};
use linearconv_zoo::{Report, Run, Settings};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Reads bytes, with a folder for files. Returns whether the bytes were accepted. Panics if what was read is
/// not whole.
type Read = dyn Fn(&[u8], &Path) -> bool + Send + Sync;

/// A reader of outside bytes.
pub struct Reader {
    /// What the bytes are.
    pub name: &'static str,
    /// Bytes that are accepted.
    pub valid: Vec<u8>,
    read: Box<Read>,
}

impl Reader {
    fn new(
        name: &'static str,
        valid: impl Into<Vec<u8>>,
        read: impl Fn(&[u8], &Path) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            valid: valid.into(),
            read: Box::new(read),
        }
    }

    /// Reads bytes. A folder that this reader has used before may be given again; no other reader may have
    /// used it. Returns whether the bytes were accepted.
    ///
    /// # Panics
    /// If what was read is not whole.
    pub fn reads(&self, bytes: &[u8], folder: &Path) -> bool {
        (self.read)(bytes, folder)
    }
}

/// The name of a group of readers, and what makes them.
type Group = (&'static str, fn() -> Vec<Reader>);

/// All readers, by what they read.
pub const READERS: [Group; 8] = [
    ("idx", idx),
    ("cifar", cifar),
    ("svhn", svhn),
    ("checkpoint", checkpoint),
    ("plan", plan),
    ("config", config),
    ("image", image),
    ("command_line", command_line),
];

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn pixels(count: usize) -> Vec<u8> {
    (0..count).map(|place| place as u8).collect()
}

/// A reader for each file of a data set. The other files are valid.
fn data_set(dataset: DatasetName, files: &[(&'static str, Vec<u8>)]) -> Vec<Reader> {
    let reader = |(name, valid): &(&'static str, Vec<u8>)| {
        let name = *name;
        // A file that is packed stands for the file that is not, and an archive for all files.
        let stands_for =
            |other: &str| name.ends_with(".tar.gz") || other == name.trim_end_matches(".gz");
        let others = files
            .iter()
            .filter(|(other, _)| !other.ends_with(".gz") && !stands_for(other));
        let others: Vec<_> = others.cloned().collect();
        Reader::new(name, valid.clone(), move |bytes, folder| {
            for (other, valid) in &others {
                let path = folder.join(other);
                if !path.exists() {
                    fs::write(path, valid).expect("written");
                }
            }
            fs::write(folder.join(name), bytes).expect("written");
            let read = dataset.load_partial(Some(folder));
            if let Ok(read) = &read {
                check(&read.train, dataset);
                check(&read.test, dataset);
            }
            read.is_ok()
        })
    };
    files.iter().map(reader).collect()
}

fn check(images: &Images, dataset: DatasetName) {
    let side = 32 - 2 * dataset.normalization().padding;
    assert_eq!(images.shape, [dataset.channels(), side, side]);
    assert!(!images.is_empty());
    let size: usize = images.shape.iter().product();
    assert_eq!(images.pixels.len(), images.labels.len() * size);
    let classes = dataset.classes();
    assert!((images.labels.iter()).all(|label| usize::from(*label) < classes));
}

/// The files of MNIST.
pub fn idx() -> Vec<Reader> {
    let idx = |magic: u32, sizes: &[u32], content: &[u8]| {
        let numbers = [&[magic], sizes].concat();
        let header = numbers.into_iter().flat_map(u32::to_be_bytes);
        header.chain(content.iter().copied()).collect::<Vec<u8>>()
    };
    let images = idx(0x803, &[2, 28, 28], &pixels(2 * 784));
    let labels = idx(0x801, &[2], &[3, 9]);
    data_set(
        DatasetName::Mnist,
        &[
            ("train-images-idx3-ubyte", images.clone()),
            ("train-labels-idx1-ubyte", labels.clone()),
            ("t10k-images-idx3-ubyte", images.clone()),
            ("t10k-labels-idx1-ubyte", labels.clone()),
            ("train-images-idx3-ubyte.gz", gzip(&images)),
            ("t10k-labels-idx1-ubyte.gz", gzip(&labels)),
        ],
    )
}

/// The files of CIFAR-10 and CIFAR-100.
pub fn cifar() -> Vec<Reader> {
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
    let ten = [
        ("data_batch_1.bin", records.clone()),
        ("test_batch.bin", records),
        ("cifar-10-binary.tar.gz", gzip(&archive)),
    ];
    let hundred = [
        ("train.bin", [record(&[3, 99]), record(&[9, 0])].concat()),
        ("test.bin", record(&[3, 99])),
    ];
    let mut readers = data_set(DatasetName::Cifar10, &ten);
    readers.extend(data_set(DatasetName::Cifar100, &hundred));
    readers
}

/// The files of SVHN.
pub fn svhn() -> Vec<Reader> {
    let plain = include_bytes!("../fixtures/two-digits.mat");
    let compressed = include_bytes!("../fixtures/two-digits-compressed.mat");
    data_set(
        DatasetName::Svhn,
        &[
            ("train_32x32.mat", plain.to_vec()),
            ("test_32x32.mat", compressed.to_vec()),
        ],
    )
}

/// A layer that has a record, and that is compressed.
pub fn model() -> Conv2d {
    Conv2dConfig::new([4, 8], [3, 3]).init(&Device::flex())
}

/// The record of the layer.
pub fn record() -> Vec<u8> {
    let record = model().into_record().into_bytes();
    record.expect("memory").to_vec()
}

/// What `--load` and `--resume` read.
pub fn checkpoint() -> Vec<Reader> {
    let layer = Reader::new("the record of a layer", record(), |bytes, folder| {
        let path = folder.join("model.bpk");
        fs::write(&path, bytes).expect("written");
        let loaded = load_weights(model(), &path);
        if let Ok(loaded) = &loaded {
            assert_eq!(loaded.weight.val().dims(), [8, 4, 3, 3]);
            let _ = loaded.weight.val().into_data();
        }
        loaded.is_ok()
    });
    let mut readers = vec![layer];
    readers.extend(networks());
    readers.extend(resumed());
    readers
}

/// Whether a file is a checkpoint of the network `base`.
fn is_base(bytes: &[u8], folder: &Path) -> bool {
    let path = folder.join("checkpoint");
    fs::write(&path, bytes).expect("written");
    let device = Device::flex();
    let loaded = load(NetworkName::Base, &path, &device);
    if let Ok(loaded) = &loaded {
        // The channels are those of the file: any number of them would take any time.
        if loaded.channels <= 8 {
            let images = Tensor::zeros([1, loaded.channels, 32, 32], &device);
            let scores = loaded.network.forward(images);
            assert_eq!(scores.dims(), [1, loaded.classes]);
        }
    }
    loaded.is_ok()
}

/// Checkpoints of the network `base`. What is not compressed has the weights at its end. There only the bytes
/// before the weights are changed: the rest, a megabyte of floats, is the same in all cases.
fn networks() -> Vec<Reader> {
    let before_weights = |name, file: Vec<u8>, header: usize| {
        let (header, weights) = file.split_at(header);
        let weights = weights.to_vec();
        Reader::new(name, header, move |bytes, folder| {
            is_base(&[bytes, &weights].concat(), folder)
        })
    };
    let burnpack = include_bytes!("../fixtures/checkpoints/digits_full.bpk").to_vec();
    let burnpack_header = 10 + u32::from_le_bytes(burnpack[6..10].try_into().expect("4")) as usize;
    let safetensors = safetensors();
    let length = u64::from_le_bytes(safetensors[..8].try_into().expect("8"));
    let safetensors_header = 8 + length as usize;

    let pickle = pickle();
    let archive = pytorch(&pickle);
    vec![
        before_weights("a burnpack file", burnpack, burnpack_header),
        before_weights("a SafeTensors file", safetensors, safetensors_header),
        Reader::new("the pickle of a PyTorch file", pickle, |bytes, folder| {
            is_base(&pytorch(bytes), folder)
        }),
        Reader::new("a PyTorch file", archive, is_base),
    ]
}

/// A checkpoint of PyTorch, exported.
fn safetensors() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("base.ckpt");
    let pytorch = include_bytes!("../fixtures/checkpoints/base_rank_ratio_0.25.ckpt");
    fs::write(&path, pytorch).expect("written");
    let loaded = load(NetworkName::Base, &path, &Device::flex()).expect("valid");
    let metadata = loaded.metadata_of(NetworkName::Base);
    let path = folder.path().join("base.safetensors");
    export::write(loaded, &path, false, true, &metadata).expect("written");
    fs::read(&path).expect("it was written")
}

const PYTORCH: &[u8] = include_bytes!("../fixtures/checkpoints/base_sparse.ckpt");
const PICKLE: &str = "base_sparse/data.pkl";

/// The pickle of a file of PyTorch.
pub fn pickle() -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(PYTORCH)).expect("an archive");
    let mut entry = archive.by_name(PICKLE).expect("a pickle");
    let mut pickle = Vec::new();
    std::io::copy(&mut entry, &mut pickle).expect("memory");
    pickle
}

/// A file of PyTorch with another pickle. Its weights are zeros, compressed, so that the file is small.
pub fn pytorch(pickle: &[u8]) -> Vec<u8> {
    static WITHOUT_PICKLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut archive = ZipArchive::new(Cursor::new(PYTORCH)).expect("an archive");
        let mut zeros = ZipWriter::new(Cursor::new(Vec::new()));
        for index in 0..archive.len() {
            let entry = archive.by_index(index).expect("an entry");
            let name = entry.name().expect("a name").into_owned();
            let options = SimpleFileOptions::default();
            if name.contains("/data/") {
                let deflated = options.compression_method(CompressionMethod::Deflated);
                let content = vec![0; entry.size() as usize];
                zeros.start_file(name, deflated).expect("memory");
                zeros.write_all(&content).expect("memory");
            } else if name != PICKLE {
                zeros.raw_copy_file(entry).expect("memory");
            }
        }
        zeros.finish().expect("memory").into_inner()
    });
    let mut archive = ZipWriter::new_append(Cursor::new(WITHOUT_PICKLE.clone())).expect("valid");
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file(PICKLE, stored).expect("memory");
    archive.write_all(pickle).expect("memory");
    archive.finish().expect("memory").into_inner()
}

/// The three files of a checkpoint from which a run goes on. The reader of a record does not ask what model
/// the record is of.
fn resumed() -> Vec<Reader> {
    let device = Device::flex().autodiff();
    let layer: Conv2d = Conv2dConfig::new([4, 8], [3, 3]).init(&device);
    let output = layer.forward(Tensor::ones([1, 4, 3, 3], &device));
    let gradients = GradientsParams::from_grads(output.sum().backward(), &layer);
    let mut optimizer = AdamConfig::new().init();
    let _ = optimizer.step(0.1, layer, gradients);
    let optimizer = optimizer.to_record().into_bytes().expect("memory").to_vec();
    let rates = CosineAnnealingLrSchedulerConfig::new(0.1, 9).init();
    let rates = rates.expect("rates").to_record().into_bytes();
    let rates = rates.expect("memory").to_vec();
    let parts = [
        ("model-1.bpk", record()),
        ("optim-1.bpk", optimizer),
        ("scheduler-1.bpk", rates),
    ];
    let reader = |(name, valid): &(&'static str, Vec<u8>)| {
        let (name, parts) = (*name, parts.clone());
        Reader::new(name, valid.clone(), move |bytes, folder| {
            let checkpoints = folder.join("checkpoint");
            if !checkpoints.exists() {
                fs::create_dir(&checkpoints).expect("created");
                for (part, valid) in &parts {
                    fs::write(checkpoints.join(part), valid).expect("written");
                }
                for split in ["train", "valid"] {
                    let logs = folder.join(split).join("epoch-1");
                    fs::create_dir_all(&logs).expect("created");
                    for log in ["Loss.log", "Accuracy.log"] {
                        fs::write(logs.join(log), "0.5,50\n0.5,final\n").expect("written");
                    }
                }
                fs::write(folder.join("config.json"), json(&settings())).expect("written");
            }
            fs::write(checkpoints.join(name), bytes).expect("written");
            resume(folder).expect("the settings are valid") == 1
        })
    };
    parts.iter().map(reader).collect()
}

/// The number of epochs after which the run in a folder goes on.
fn resume(folder: &Path) -> Option<usize> {
    let words = [Path::new("base"), Path::new("--resume"), folder];
    let args = Args::try_parse_from(words).expect("flags");
    let run = Run::new(NetworkName::Base, args).ok()?;
    Some(run.finished_epochs)
}

/// What compression has saved.
pub fn plan() -> Vec<Reader> {
    let planned = Compression::to_parameters(0.5).plan(&model());
    let planned = planned.expect("a plan");
    let choices = json(&planned.choices());
    let plan = Reader::new("a plan", json(&planned), |bytes, _| {
        let Ok(plan) = serde_json::from_slice::<Plan>(bytes) else {
            return false;
        };
        let _ = (plan.to_string(), plan.parameters(), plan.error());
        let _ = plan.prepare(model());
        let small = plan.apply(model());
        if let Ok(small) = &small {
            assert_eq!(small.weight.val().dims(), [8, 4, 3, 3]);
        }
        small.is_ok()
    });
    let choices = Reader::new("choices", choices, |bytes, _| {
        let choices: Result<BTreeMap<String, Choice>, _> = serde_json::from_slice(bytes);
        let Ok(choices) = choices else {
            return false;
        };
        let model = model();
        let plan = Compression::per_layer(choices).plan(&model);
        if let Ok(plan) = &plan {
            plan.apply(model).expect("it was planned");
        }
        plan.is_ok()
    });
    vec![plan, choices]
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value")
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

/// The configuration of a layer, and what a run and a compression have written.
pub fn config() -> Vec<Reader> {
    let coefficients = CoefficientsConfig::LowRank { rank: 2 };
    let layer = LinearConv2dConfig::new([4, 8], [3, 3]).with_coefficients(coefficients);
    let layer = Reader::new("a layer", json(&layer), |bytes, _| {
        let config = serde_json::from_slice::<LinearConv2dConfig>(bytes);
        let Some((config, cost)) = config.ok().and_then(|config| {
            let cost = config.cost().ok()?;
            Some((config, cost))
        }) else {
            return false;
        };
        if cost.dense().parameters() < 1 << 20 {
            let layer = config.try_init(&Device::flex()).expect("it has a cost");
            assert_eq!(layer.cost(), cost);
        }
        true
    });
    let settings = Reader::new("config.json", json(&settings()), |bytes, folder| {
        fs::write(folder.join("config.json"), bytes).expect("written");
        let epochs = resume(folder);
        assert!(matches!(epochs, None | Some(0)));
        epochs.is_some()
    });
    let report = include_bytes!("../fixtures/report.json");
    let report = Reader::new("report.json", report, |bytes, folder| {
        let report = serde_json::from_slice::<Report>(bytes);
        if let Ok(report) = &report {
            let _ = report.to_string();
            let _ = report.write(folder);
        }
        report.is_ok()
    });
    let search = Reader::new("a search", json(&Search::default()), |bytes, _| {
        let search = serde_json::from_slice::<Search>(bytes);
        if let Ok(search) = &search {
            let _ = search.to_string();
        }
        search.is_ok()
    });
    let sensitivity = json(&Sensitivity::default());
    let sensitivity = Reader::new("a sensitivity", sensitivity, |bytes, _| {
        let Ok(sensitivity) = serde_json::from_slice::<Sensitivity>(bytes) else {
            return false;
        };
        let _ = sensitivity.to_string();
        let compression = Compression::to_parameters(0.5).with_sensitivity(sensitivity);
        let _ = compression.plan(&model());
        true
    });
    vec![layer, settings, report, search, sensitivity]
}

/// Images of a user.
pub fn image() -> Vec<Reader> {
    let colours = include_bytes!("../fixtures/images/zero_64x48_rgb.png");
    let decoded = image::load_from_memory(colours).expect("an image");
    let mut jpeg = Cursor::new(Vec::new());
    decoded
        .write_to(&mut jpeg, ImageFormat::Jpeg)
        .expect("memory");
    let files = [
        (
            "a grey PNG",
            include_bytes!("../fixtures/images/seven_28x28_grey.png").to_vec(),
        ),
        ("a PNG", colours.to_vec()),
        (
            "a PNG with transparency",
            include_bytes!("../fixtures/images/four_200x200_rgba.png").to_vec(),
        ),
        ("a JPEG", jpeg.into_inner()),
    ];
    let reader = |(name, valid)| {
        Reader::new(name, valid, |bytes, folder| {
            let path = folder.join("image");
            fs::write(&path, bytes).expect("written");
            let dataset = match bytes.len() % 2 {
                0 => DatasetName::Mnist,
                _ => DatasetName::Cifar10,
            };
            let image = read_image(&path, dataset, &Device::flex());
            if let Ok(image) = &image {
                assert_eq!(image.dims(), [1, dataset.channels(), 32, 32]);
                let values: Vec<f32> = image.to_data().try_to_vec().expect("floats");
                // Black and white are less than 3 deviations from the mean.
                assert!(values.iter().all(|value| value.abs() < 3.0));
            }
            image.is_ok()
        })
    };
    files.into_iter().map(reader).collect()
}

/// Command lines, a word in each line.
pub fn command_line() -> Vec<Reader> {
    let reader = |valid: &'static str| {
        Reader::new(valid, valid.replace(' ', "\n"), |bytes, _| {
            let text = String::from_utf8_lossy(bytes);
            are_flags(text.split('\n'))
        })
    };
    let lines = [
        "--variant rank --rank 0.25 --layers all --evaluation factored",
        "--variant sparse --sparsity 0.5 --epochs 3 --lr 0.001 --seed 4",
        "--dataset cifar10 --data-dir data --partial --backend flex:0 --devices 2",
        "--load model.bpk --predict one.png two.png --export model.safetensors",
        "--resume runs/base --backend wgpu:1",
        "--network base --variants dense full --csv",
        "--network base --parameters 0.5 --data-aware --fine-tune 2",
    ];
    lines.into_iter().map(reader).collect()
}

/// Whether words are the flags of a program.
pub fn are_flags<'a>(words: impl Iterator<Item = &'a str> + Clone) -> bool {
    let words = || ["program"].into_iter().chain(words.clone());
    let network = Args::try_parse_from(words());
    if let Ok(args) = &network {
        for network in [NetworkName::Base, NetworkName::MobileNetV2] {
            let recipe = args.training.recipe(network);
            assert!(recipe.epochs > 0 && recipe.batch_size > 0);
            let _ = (
                recipe.to_string(),
                args.conv.policy(network),
                args.conv.slug(),
            );
        }
    }
    let others = [
        CompressArgs::try_parse_from(words()).is_ok(),
        CompareArgs::try_parse_from(words()).is_ok(),
        SummaryArgs::try_parse_from(words()).is_ok(),
        FiguresArgs::try_parse_from(words()).is_ok(),
    ];
    network.is_ok() || others.contains(&true)
}
