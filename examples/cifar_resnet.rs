//! Compresses a network that others trained and published, the ResNet for CIFAR-10 with 20 to 110 layers
//! (He et al. 2016, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.2):
//! `cargo run --example cifar_resnet -- resnet20-12fca82f.th --data-dir DIR --parameters 0.5`.
//!
//! docs/import.md says where the checkpoints and the images are.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::store::{ModuleSnapshot, ModuleStore, PytorchStore};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, s};
use clap::Parser;
use linearconv::{Compression, Conv, Sensitivity};
use linearconv_zoo::data::{DatasetName, ImageBatcher, Images, Normalization, Sample};
use linearconv_zoo::models::Network;
use linearconv_zoo::train::accuracy;
use linearconv_zoo::{calibrate, first_images, normalize_again};

/// The images that the network was trained on were normalized in this way.
const NORMALIZATION: Normalization = Normalization {
    mean: &[0.485, 0.456, 0.406],
    deviation: &[0.229, 0.224, 0.225],
    padding: 0,
};
/// Training images that the layers are fitted to.
const CALIBRATION_IMAGES: usize = 500;
/// Training images that the statistics of the normalization layers are estimated from.
const NORMALIZATION_IMAGES: usize = 2000;
const BATCH_SIZE: usize = 50;

/// The fields have the names of the checkpoint.
#[derive(Module, Debug)]
struct ResNet {
    conv1: Conv,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    linear: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
}

fn conv(channels: [usize; 2], stride: usize, device: &Device) -> Conv {
    let config = Conv2dConfig::new(channels, [3, 3]).with_stride([stride, stride]);
    config
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init(device)
        .into()
}

fn norm(features: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(features).init(device)
}

impl ResNet {
    /// A network with `6 · blocks + 2` layers.
    fn new(blocks: usize, device: &Device) -> Self {
        let layer = |input: usize, width: usize| {
            let rest = (1..blocks).map(|_| Block::new([width, width], device));
            let mut layer = vec![Block::new([input, width], device)];
            layer.extend(rest);
            layer
        };
        Self {
            conv1: conv([3, 16], 1, device),
            bn1: norm(16, device),
            layer1: layer(16, 16),
            layer2: layer(16, 32),
            layer3: layer(32, 64),
            linear: LinearConfig::new(64, 10).init(device),
        }
    }
}

impl Network for ResNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.bn1.forward(self.conv1.forward(images)));
        let blocks = [&self.layer1, &self.layer2, &self.layer3];
        let x = blocks
            .into_iter()
            .flatten()
            .fold(x, |x, block| block.forward(x));
        self.linear.forward(x.mean_dims(&[2, 3]).flatten(1, 3))
    }
}

impl Block {
    /// Where the width grows, the first convolution halves the height and the width of the images.
    fn new([input, width]: [usize; 2], device: &Device) -> Self {
        let stride = if input == width { 1 } else { 2 };
        Self {
            conv1: conv([input, width], stride, device),
            bn1: norm(width, device),
            conv2: conv([width, width], 1, device),
            bn2: norm(width, device),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = relu(self.bn1.forward(self.conv1.forward(input.clone())));
        let x = self.bn2.forward(self.conv2.forward(x));
        relu(x.clone() + shortcut(input, x.dims()[1]))
    }
}

/// The input. Where the width grows, every second pixel of the input, between channels of zeros ("option A").
fn shortcut(input: Tensor<4>, width: usize) -> Tensor<4> {
    let missing = width - input.dims()[1];
    if missing == 0 {
        return input;
    }
    let input = input.slice(s![.., .., ..;2, ..;2]);
    let [batch, _, height, width] = input.dims();
    let zeros = Tensor::zeros([batch, missing / 2, height, width], &input.device());
    Tensor::cat(vec![zeros.clone(), input, zeros], 1)
}

/// The network with the weights of a checkpoint. The file decides the number of layers.
fn import(path: &Path, device: &Device) -> Result<ResNet, Box<dyn Error>> {
    let mut store = PytorchStore::from_file(path)
        .with_key_remapping(r"^(state_dict\.)?(module\.)?", "")
        .map_indices_contiguous(false);
    let names = store.keys()?;
    let is_block = |name: &&String| name.contains("layer1.") && name.ends_with(".conv1.weight");
    let blocks = names.iter().filter(is_block).count();
    if blocks == 0 {
        return Err("no layer1.0.conv1.weight: not a ResNet for CIFAR-10".into());
    }
    // A store that fails may leave a network with some of its tensors loaded. That is harmless here, because
    // this network is new and is dropped on an error.
    let mut network = ResNet::new(blocks, device);
    let loaded = network.load_from(&mut store)?;
    let is_count = |name: &&String| name.ends_with("num_batches_tracked");
    match loaded.unused.iter().find(|name| !is_count(name)) {
        Some(name) => Err(format!("the network has no place for {name}").into()),
        None => Ok(network),
    }
}

/// Compress a ResNet for CIFAR-10, and test it before and after.
#[derive(Parser)]
struct Args {
    /// A checkpoint of PyTorch.
    file: PathBuf,
    /// The folder with the files of CIFAR-10.
    #[arg(long)]
    data_dir: PathBuf,
    /// Keep these shares of the weights of the convolutions, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "0.5")]
    parameters: Vec<f64>,
}

fn main() -> ExitCode {
    linearconv_zoo::exit(run(&Args::parse()).map(|()| ""))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    let network =
        import(&args.file, &device).map_err(|error| format!("{}: {error}", args.file.display()))?;
    let data = DatasetName::Cifar10.load(Some(&args.data_dir), false)?;
    let loader = |images: Images, count: usize| {
        let samples = (0..count).map(|index| Sample { index, seed: 0 }).collect();
        let batcher = ImageBatcher::new(Arc::new(images), NORMALIZATION);
        DataLoaderBuilder::new(batcher)
            .batch_size(BATCH_SIZE)
            .set_device(device.clone())
            .build(InMemDataset::new(samples))
    };
    let test_images = data.test.len();
    let (train, test) = (
        loader(data.train, NORMALIZATION_IMAGES),
        loader(data.test, test_images),
    );
    let report = |stage: &str, network: &ResNet| -> Result<(), Box<dyn Error>> {
        let accuracy = accuracy(network, &*test)?;
        let parameters = network.num_params();
        println!("{stage:<10} {parameters:>7} parameters, {accuracy:.2} % right");
        Ok(())
    };
    report("imported", &network)?;

    let calibration = calibrate(&network, &*train, CALIBRATION_IMAGES)?;
    let images = first_images(&*train, CALIBRATION_IMAGES)?;
    let mut sensitivity = Sensitivity::default();
    for share in &args.parameters {
        let compression = Compression::to_parameters(*share).with_calibration(calibration.clone());
        // What is measured for the first share serves all others.
        let scores = |network: &ResNet| network.forward(images.clone());
        compression.measure(&network, &mut sensitivity, scores, |_| {})?;
        let compression = compression.with_sensitivity(sensitivity.clone());
        let plan = compression.plan(&network)?;
        println!("\n{plan}");
        // The deeper a network is, the more its last layers gain from seeing what the first layers have lost.
        let small = plan.apply_in_turn(network.clone(), |network: &ResNet| {
            network.forward(images.clone());
        })?;
        report(&format!("at {share}"), &small)?;
        report("normalized", &normalize_again(small, &*train)?.valid())?;
    }
    Ok(())
}
