//! Someone else's weights in a network of your own, and the network made small:
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

/// The weights that come with this example. PyTorch names them feat.0.0.weight to fc.bias.
pub const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../import/digits.safetensors");

/// The network of the checkpoint. Its fields have names of your own.
#[derive(Module, Debug)]
pub struct Network {
    stages: [Stage; 4],
    pool: MaxPool2d,
    head: Linear,
}

/// The compression looks for the normalization right behind its convolution, to learn which filters
/// it makes large.
#[derive(Module, Debug)]
struct Stage {
    conv: Conv, // in place of Conv2d, so that a compressed layer is fast too
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

    /// Class scores, `[batch, 10]`, of images, `[batch, 1, 32, 32]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.stages.iter().fold(images, |x, stage| {
            let x = relu(stage.norm.forward(stage.conv.forward(x)));
            self.pool.forward(x)
        });
        self.head.forward(features.flatten(1, 3))
    }
}

/// The network with the weights of a PyTorch checkpoint: .safetensors, or else .pt, .pth or .ckpt.
pub fn import(path: &Path, device: &Device) -> Result<Network, Box<dyn Error>> {
    // From the names in the file to the fields above, one after the other.
    let names = KeyRemapper::from_patterns(vec![
        // A checkpoint may hold more than weights, or be of a network trained on several devices.
        (r"^(state_dict\.)?(module\.)?", ""),
        (r"^feat\.(\d+)\.0\.", "stages.$1.conv."),
        (r"^feat\.(\d+)\.1\.", "stages.$1.norm."),
        (r"^fc\.", "head."),
    ])?;
    // A store that fails has filled a part of its network. This one is nobody's yet.
    let mut network = Network::new(device);
    // The numbers of the names are right, so that no gaps are to be closed. `Conv` is an enum, whose
    // variants the file does not name; for PyTorch's own format that is the default.
    let loaded = if path.extension().is_some_and(|kind| kind == "safetensors") {
        let store = SafetensorsStore::from_file(path).remap(names);
        let store = store.with_from_adapter(PyTorchToBurnAdapter);
        let store = store.skip_enum_variants(true).map_indices_contiguous(false);
        network.load_from(&mut { store })?
    } else {
        let store = PytorchStore::from_file(path).remap(names);
        network.load_from(&mut store.map_indices_contiguous(false))?
    };
    // To Burn, only a missing tensor is an error. One without a place is a sign of another network,
    // except for PyTorch's count of batches, which nothing here needs.
    let is_count = |name: &String| name.ends_with("num_batches_tracked");
    match loaded.unused.iter().find(|name| !is_count(name)) {
        Some(name) => Err(format!("the network has no place for {name}").into()),
        None => Ok(network),
    }
}

/// A plan that keeps a share of the weights of the convolutions, by what they answer to images.
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

/// Under which name a file has the plan of its network.
const PLAN: &str = "plan";

/// Writes a compressed network with its plan to one file. A file that is there is an error.
pub fn save(network: &Network, plan: &Plan, path: &Path) -> Result<(), Box<dyn Error>> {
    let plan = serde_json::to_string(plan)?;
    let mut store = SafetensorsStore::from_file(path).metadata(PLAN, plan);
    Ok(network.save_into(&mut store)?)
}

/// The network of such a file. The plan gives its layers their sizes, then the weights fit.
pub fn load(path: &Path, device: &Device) -> Result<Network, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let plan = header.metadata().as_ref().and_then(|all| all.get(PLAN));
    let plan: Plan = serde_json::from_str(plan.ok_or("the file has no plan")?)?;
    let mut network = plan.prepare(Network::new(device))?;
    network.load_from(&mut SafetensorsStore::from_bytes(Some(bytes)))?;
    Ok(network)
}

/// The accuracy in percent, and how long the network takes for all images.
pub fn test(
    network: &Network,
    images: &dyn DataLoader<ImageBatch>,
) -> Result<(f64, Duration), Box<dyn Error>> {
    let (mut right, mut time) = (0, Duration::ZERO);
    for batch in images.iter() {
        let batch = batch?;
        let start = Instant::now();
        let classes = network.forward(batch.images).argmax(1).flatten(0, 1);
        // To read a number is to wait for the device.
        right += classes.equal(batch.labels).int().sum().into_scalar::<i64>();
        time += start.elapsed();
    }
    Ok((100.0 * right as f64 / images.num_items() as f64, time))
}

/// Images of digits that the network was trained on, and was not.
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

/// Imports a network and makes it small.
#[derive(Parser)]
struct Args {
    /// A checkpoint: .safetensors, .pt, .pth or .ckpt.
    #[arg(default_value = DIGITS, hide_default_value = true)]
    file: PathBuf,
    /// The share of the weights of the convolutions to keep.
    #[arg(long, default_value_t = 0.25)]
    parameters: f64,
    /// A file for the small network; it must not be there.
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
        // Other programs slow a pass down: the fastest of three tells most.
        let (accuracy, mut time) = test(network, &*data.test)?;
        for _again in 0..2 {
            time = time.min(test(network, &*data.test)?.1);
        }
        let parameters = network.num_params();
        println!("{stage:<10} {parameters:>6} parameters, {accuracy:.1} % right in {time:.0?}");
        Ok(())
    };

    let network = import(&args.file, &device)?;
    report("imported", &network)?;
    let plan = plan(&network, &*data.calibration, args.parameters)?;
    println!("\n{plan}");
    let small = plan.apply(network)?;
    report("small", &small)?;
    if let Some(file) = &args.out {
        save(&small, &plan, file)?;
        report("read again", &load(file, &device)?)?;
    }
    Ok(())
}
