//! Compresses torchvision's ResNet-18 for 224×224 images:
//! `cargo run --example imagenet -- resnet18.pth --parameters 0.5`.
//!
//! The checkpoint is any state dict of this network. The script tests/interchange/checkpoints.py writes a
//! state dict of random weights.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::store::{ModuleSnapshot, PytorchStore};
use burn::tensor::activation::relu;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use clap::Parser;
use image::imageops::FilterType;
use linearconv::{Calibration, Compression, Conv};

const SIDE: usize = 224;
/// torchvision subtracts the mean of each channel and divides by its standard deviation.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// How many random images are used where the user gives no images. The last layers have 512 filters and see
/// only 49 pixels of an image, so a few images are not enough.
const RANDOM_IMAGES: usize = 32;
/// How many passes of each network are timed.
const PASSES: usize = 21;

/// The fields have torchvision's names, so that few names of the checkpoint must be changed.
#[derive(Module, Debug)]
struct ResNet18 {
    conv1: Conv,
    bn1: BatchNorm,
    maxpool: MaxPool2d,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    layer3: Vec<BasicBlock>,
    layer4: Vec<BasicBlock>,
    fc: Linear,
}

#[derive(Module, Debug)]
struct BasicBlock {
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
    downsample: Option<Downsample>,
}

#[derive(Module, Debug)]
struct Downsample {
    conv: Conv,
    norm: BatchNorm,
}

fn conv(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv {
    let padding = kernel / 2;
    let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
    let config = Conv2dConfig::new(channels, [kernel, kernel]).with_stride([stride, stride]);
    config
        .with_padding(padding)
        .with_bias(false)
        .init(device)
        .into()
}

fn norm(features: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(features).init(device)
}

impl ResNet18 {
    fn new(classes: usize, device: &Device) -> Self {
        let layer = |input, width, stride| {
            let first = BasicBlock::new([input, width], stride, device);
            vec![first, BasicBlock::new([width, width], 1, device)]
        };
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]);
        Self {
            conv1: conv([3, 64], 7, 2, device),
            bn1: norm(64, device),
            maxpool: pool
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: layer(64, 64, 1),
            layer2: layer(64, 128, 2),
            layer3: layer(128, 256, 2),
            layer4: layer(256, 512, 2),
            fc: LinearConfig::new(512, classes).init(device),
        }
    }

    /// Maps images, `[batch, 3, 224, 224]`, to class scores, `[batch, classes]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.bn1.forward(self.conv1.forward(images)));
        let layers = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let blocks = layers.into_iter().flatten();
        let x = blocks.fold(self.maxpool.forward(x), |x, block| block.forward(x));
        self.fc
            .forward(adaptive_avg_pool2d(x, [1, 1]).flatten(1, 3))
    }
}

impl BasicBlock {
    fn new([input, width]: [usize; 2], stride: usize, device: &Device) -> Self {
        Self {
            conv1: conv([input, width], 3, stride, device),
            bn1: norm(width, device),
            conv2: conv([width, width], 3, 1, device),
            bn2: norm(width, device),
            downsample: (stride != 1 || input != width).then(|| Downsample {
                conv: conv([input, width], 1, stride, device),
                norm: norm(width, device),
            }),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = relu(self.bn1.forward(self.conv1.forward(input.clone())));
        let x = self.bn2.forward(self.conv2.forward(x));
        let shortcut = match &self.downsample {
            Some(layer) => layer.norm.forward(layer.conv.forward(input)),
            None => input,
        };
        relu(x + shortcut)
    }
}

/// The network with the weights of a state dict. The file decides the number of classes.
fn import(path: &Path, device: &Device) -> Result<ResNet18, Box<dyn Error>> {
    let mut store = PytorchStore::from_file(path)
        .with_key_remapping(r"^module\.", "")
        .with_key_remapping(r"downsample\.0\.", "downsample.conv.")
        .with_key_remapping(r"downsample\.1\.", "downsample.norm.")
        .map_indices_contiguous(false);
    let bias = burn::store::ModuleStore::get_tensor(&mut store, "fc.bias")?;
    let bias = bias.ok_or("no fc.bias: no state dict of ResNet-18")?;
    let classes = *bias.shape.first().ok_or("fc.bias is a single number")?;
    // A store that fails may leave a network with some of its tensors loaded. That is harmless here, because
    // this network is new and is dropped on an error.
    let mut network = ResNet18::new(classes, device);
    let loaded = network.load_from(&mut store)?;
    let is_count = |name: &String| name.ends_with("num_batches_tracked");
    match loaded.unused.iter().find(|name| !is_count(name)) {
        Some(name) => Err(format!("the network has no place for {name}").into()),
        None => Ok(network),
    }
}

/// Reads an image in the form that torchvision's weights expect, `[1, 3, 224, 224]`.
fn read_image(path: &Path, device: &Device) -> Result<Tensor<4>, Box<dyn Error>> {
    let image = image::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // As torchvision does: scale to 256 pixels, then keep the 224×224 pixels in the middle.
    let image = linearconv_zoo::data::square(&image).resize_exact(256, 256, FilterType::Triangle);
    let image = image.crop_imm(16, 16, SIDE as u32, SIDE as u32).into_rgb8();
    let channel = |channel: usize| {
        let pixels = image.pixels();
        pixels.map(move |pixel| {
            (f32::from(pixel[channel]) / 255.0 - MEAN[channel]) / DEVIATION[channel]
        })
    };
    let values: Vec<f32> = (0..3).flat_map(channel).collect();
    Ok(Tensor::from_data(
        TensorData::new(values, [1, 3, SIDE, SIDE]),
        device,
    ))
}

/// Compress torchvision's ResNet-18, and measure how its scores and its speed change.
#[derive(Parser)]
struct Args {
    /// A state dict of ResNet-18, with any number of classes.
    file: PathBuf,
    /// Images to fit the layers to, 11 at least [default: 32 images of random pixels].
    images: Vec<PathBuf>,
    /// Keep this share of the weights of the convolutions.
    #[arg(long, default_value_t = 0.5)]
    parameters: f64,
}

fn main() -> ExitCode {
    linearconv_zoo::exit(run(&Args::parse()).map(|()| ""))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    let dense =
        import(&args.file, &device).map_err(|error| format!("{}: {error}", args.file.display()))?;
    let images = match args.images.as_slice() {
        [] => {
            device.seed(0);
            let random =
                || Tensor::random([1, 3, SIDE, SIDE], Distribution::Normal(0.0, 1.0), &device);
            (0..RANDOM_IMAGES).map(|_| random()).collect()
        }
        paths => {
            let images = paths.iter().map(|path| read_image(path, &device));
            images.collect::<Result<Vec<_>, _>>()?
        }
    };
    let started = Instant::now();
    let mut calibration = Calibration::new();
    for image in &images {
        calibration.observe(|| dense.forward(image.clone()));
    }
    let compression = Compression::to_parameters(args.parameters).with_calibration(calibration);
    let plan = compression.plan(&dense)?;
    let small = plan.apply(dense.clone())?;
    println!("{plan}");
    println!("planned and applied in {:.1?}", started.elapsed());
    println!("{}", peak_memory());

    let (mut changed, mut all) = (0.0, 0.0);
    for image in &images {
        let expected = dense.forward(image.clone());
        let difference = small.forward(image.clone()) - expected.clone();
        changed += difference.square().sum().into_scalar::<f64>();
        all += expected.square().sum().into_scalar::<f64>();
    }
    println!(
        "relative error of the scores: {:.4}",
        (changed / all).sqrt()
    );

    // The two networks take turns, so that a change of the machine's speed affects both.
    let networks = [("dense", &dense), ("small", &small)];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..PASSES {
        for ((_, network), times) in networks.iter().zip(&mut times) {
            let started = Instant::now();
            network.forward(images[0].clone()).into_data();
            times.push(started.elapsed());
        }
    }
    let [dense_time, small_time] = times.map(median);
    for ((name, network), time) in networks.iter().zip([dense_time, small_time]) {
        println!(
            "{name}: {} parameters, {time:.1?} for an image",
            network.num_params()
        );
    }
    println!(
        "ratio {:.2}",
        small_time.as_secs_f64() / dense_time.as_secs_f64()
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The peak memory of this process, as Linux reports it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    peak.unwrap_or("VmHWM: not known here")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
