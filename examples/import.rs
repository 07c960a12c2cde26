//! Loads a PyTorch checkpoint into a network of your own definition, and compresses the network:
//! `cargo run --example import -- [FILE] --parameters 0.25 --out small.safetensors`.
//!
//! docs/import.md walks through it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::store::{
    KeyRemapper, ModuleSnapshot, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore,
};
use burn::tensor::{Device, Tensor, activation::relu};
use clap::Parser;
use linearconv::{Calibration, Compression, Conv, Plan};
use linearconv_zoo::data::{DatasetName, ImageBatch, LoaderConfig, Loaders};
use safetensors::SafeTensors;

/// A checkpoint that is part of the repository. Its tensors have PyTorch's names, feat.0.0.weight to fc.bias.
pub const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../import/digits.safetensors");

/// The network of the checkpoint. Its fields may have any names.
#[derive(Module, Debug)]
pub struct Network {
    stages: [Stage; 4],
    pool: MaxPool2d,
    head: Linear,
}

/// A convolution and its normalization. The normalization must be the field right after the convolution:
/// compression looks for it there, to learn which filters it scales up.
#[derive(Module, Debug)]
struct Stage {
    conv: Conv, // in place of Conv2d, so that the compressed layer is also fast
    norm: BatchNorm,
}

impl Network {
    pub fn new(device: &Device) -> Self {
        let stage = |channels: [usize; 2]| Stage {
            conv: Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
                .into(),
            norm: BatchNormConfig::new(channels[1]).init(device),
        };
        Self {
            stages: [[1, 32], [32, 64], [64, 128], [128, 256]].map(stage),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            head: LinearConfig::new(1024, 10).init(device),
        }
    }

    /// Maps images, `[batch, 1, 32, 32]`, to class scores, `[batch, 10]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.stages.iter().fold(images, |x, stage| {
            let x = relu(stage.norm.forward(stage.conv.forward(x)));
            self.pool.forward(x)
        });
        self.head.forward(features.flatten(1, 3))
    }
}

/// The network with the weights of a PyTorch checkpoint: a .safetensors file, or a .pt, .pth or .ckpt file.
pub fn import(path: &Path, device: &Device) -> Result<Network, Box<dyn Error>> {
    // These patterns change the names of the file to the names of the fields above. They apply in this order.
    let names = KeyRemapper::from_patterns(vec![
        // The prefix state_dict. is of a checkpoint that holds more than weights, and the prefix module. is
        // of a network that was trained on several devices.
        (r"^(state_dict\.)?(module\.)?", ""),
        (r"^feat\.(\d+)\.0\.", "stages.$1.conv."),
        (r"^feat\.(\d+)\.1\.", "stages.$1.norm."),
        (r"^fc\.", "head."),
    ])?;
    // A store that fails may leave a network with some of its tensors loaded. That is harmless here, because
    // this network is new and is dropped on an error.
    let mut network = Network::new(device);
    // The numbers in the names are already those of the fields, so Burn must not renumber them. `Conv` is an
    // enum, and the file does not name its variants. `PytorchStore` skips variants by default.
    let loaded = if path.extension().is_some_and(|kind| kind == "safetensors") {
        let store = SafetensorsStore::from_file(path).remap(names);
        let store = store.with_from_adapter(PyTorchToBurnAdapter);
        let store = store.skip_enum_variants(true).map_indices_contiguous(false);
        network.load_from(&mut { store })?
    } else {
        let store = PytorchStore::from_file(path).remap(names);
        network.load_from(&mut store.map_indices_contiguous(false))?
    };
    // Burn returns an error for a missing tensor, but not for a tensor that the network has no place for.
    // Such a tensor shows that the file is of another network. The exception is PyTorch's count of batches,
    // which Burn does not need.
    let is_count = |name: &String| name.ends_with("num_batches_tracked");
    match loaded.unused.iter().find(|name| !is_count(name)) {
        Some(name) => Err(format!("the network has no place for {name}").into()),
        None => Ok(network),
    }
}

/// A plan that keeps a share of the weights of the convolutions, and fits their outputs for images.
pub fn plan(
    network: &Network,
    images: &dyn DataLoader<ImageBatch>,
    share: f64,
) -> Result<Plan, Box<dyn Error>> {
    let mut calibration = Calibration::new();
    for batch in images.iter().take(10) {
        let images = batch?.images;
        calibration.observe(|| network.forward(images));
    }
    let compression = Compression::to_parameters(share).with_calibration(calibration);
    Ok(compression.plan(network)?)
}

/// The name of the plan in the metadata of a file.
const PLAN: &str = "plan";

/// Writes a compressed network with its plan to one file. It is an error if the file exists.
pub fn save(network: &Network, plan: &Plan, path: &Path) -> Result<(), Box<dyn Error>> {
    let plan = serde_json::to_string(plan)?;
    let mut store = SafetensorsStore::from_file(path).metadata(PLAN, plan);
    Ok(network.save_into(&mut store)?)
}

/// Reads a network that [`save`] wrote. The plan gives the layers their sizes, so that the weights fit.
pub fn load(path: &Path, device: &Device) -> Result<Network, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let plan = header.metadata().as_ref().and_then(|all| all.get(PLAN));
    let plan: Plan = serde_json::from_str(plan.ok_or("the file has no plan")?)?;
    let mut network = plan.prepare(Network::new(device))?;
    network.load_from(&mut SafetensorsStore::from_bytes(Some(bytes)))?;
    Ok(network)
}

/// The accuracy in percent, and the time that the network takes for all images.
pub fn test(
    network: &Network,
    images: &dyn DataLoader<ImageBatch>,
) -> Result<(f64, Duration), Box<dyn Error>> {
    let (mut right, mut time) = (0, Duration::ZERO);
    for batch in images.iter() {
        let batch = batch?;
        let start = Instant::now();
        let classes = network.forward(batch.images).argmax(1).flatten(0, 1);
        // Reading a number waits until the device has computed it.
        right += classes.equal(batch.labels).int().sum().into_scalar::<i64>();
        time += start.elapsed();
    }
    Ok((100.0 * right as f64 / images.num_items() as f64, time))
}

/// The digits of mnist-mini: the training images of the network, and its test images.
pub fn digits(device: &Device) -> Result<Loaders, Box<dyn Error>> {
    let config = LoaderConfig {
        batch_size: 50,
        validation_share: 0.1,
        train_limit: None,
        test_limit: None,
        seed: 0,
        first_epoch: 1,
        devices: 1,
    };
    let name = DatasetName::MnistMini;
    Ok(Loaders::new(
        name,
        name.load(None, false)?,
        &config,
        device,
    )?)
}

/// Import a network and compress it.
#[derive(Parser)]
struct Args {
    /// A checkpoint: .safetensors, .pt, .pth or .ckpt.
    #[arg(default_value = DIGITS, hide_default_value = true)]
    file: PathBuf,
    /// Keep this share of the weights of the convolutions.
    #[arg(long, default_value_t = 0.25)]
    parameters: f64,
    /// Write the compressed network to FILE, which must not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    linearconv_zoo::exit(run(&Args::parse()).map(|()| ""))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let data = digits(&device)?;
    let report = |stage: &str, network: &Network| -> Result<(), Box<dyn Error>> {
        // Other programs can slow a pass down, so the fastest of three passes is reported.
        let (accuracy, mut time) = test(network, &*data.test)?;
        for _again in 0..2 {
            time = time.min(test(network, &*data.test)?.1);
        }
        let parameters = network.num_params();
        println!("{stage:<10} {parameters:>6} parameters, {accuracy:.1} % right in {time:.0?}");
        Ok(())
    };

    if let Some(file) = args.out.as_ref().filter(|file| file.exists()) {
        return Err(named(file)("the file exists; give another name".into()));
    }
    let network = import(&args.file, &device).map_err(named(&args.file))?;
    report("imported", &network)?;
    let plan = plan(&network, &*data.calibration, args.parameters)?;
    println!("\n{plan}");
    let small = plan.apply(network)?;
    report("small", &small)?;
    if let Some(file) = &args.out {
        save(&small, &plan, file).map_err(named(file))?;
        let again = load(file, &device).map_err(named(file))?;
        report("read again", &again)?;
    }
    Ok(())
}

/// Adds the name of a file to an error.
fn named(file: &Path) -> impl Fn(Box<dyn Error>) -> Box<dyn Error> {
    move |error| format!("{}: {error}", file.display()).into()
}
