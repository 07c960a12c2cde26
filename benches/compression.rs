//! What compression costs in accuracy, without fine-tuning, and in time and memory:
//! `cargo bench --bench compression -- --help`.

mod memory_of;
mod place;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::data::dataloader::DataLoader;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Tensor, TensorData};
use clap::Parser;
use linearconv::{Calibration, Compression, ConvConfig, Plan, Sensitivity};
use linearconv_zoo::cli::TrainingArgs;
use linearconv_zoo::data::{ImageBatch, Loaders};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName, sizes};
use linearconv_zoo::train::{accuracy, load_weights};
use linearconv_zoo::{calibrate, first_images, load, write_json};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Compress a trained network in every way and test it, in a table of test accuracies in percent.
#[derive(Parser)]
struct Args {
    /// The network.
    #[arg(long, value_enum, default_value = "resnet152")]
    network: NetworkName,

    /// The weights of a dense network of this kind, `model.bpk` of a run with `--variant dense`.
    /// Without them only the time and memory are measured that a plan takes.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,

    /// In place of a network, plan one convolution of so many filters and channels, and of a square
    /// kernel of this side.
    #[arg(long, value_names = ["FILTERS", "CHANNELS", "SIDE"], num_args = 3, conflicts_with = "load")]
    layer: Vec<usize>,

    /// The shares of the weights of the convolutions to keep.
    #[arg(
        long,
        value_name = "SHARE",
        value_delimiter = ',',
        default_value = "0.5,0.35,0.25"
    )]
    shares: Vec<f64>,

    /// What draws the calibration images.
    #[arg(
        long,
        value_name = "SEED",
        value_delimiter = ',',
        default_value = "0,1,2"
    )]
    seeds: Vec<u64>,

    /// Only the rows whose first three columns, joined by spaces, contain this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Training images to calibrate with.
    #[arg(long, value_name = "N", default_value_t = 500)]
    calibration_images: usize,

    /// Write, for benches/tucker.py, the plan for the first share, the dense weights and the patches
    /// of the calibration to FOLDER, and test nothing else.
    #[arg(long, value_name = "FOLDER", requires = "load")]
    export: Option<PathBuf>,

    /// Test the network with the kernels of FILE in the place of its own, and nothing else.
    #[arg(long, value_name = "FILE", requires = "load")]
    kernels: Option<PathBuf>,

    /// The data set.
    #[command(flatten)]
    training: TrainingArgs,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    place::enter_root();
    let args = Args::parse();
    let device = Device::flex();
    let config = args.training.network_config(ConvConfig::dense());
    let network = args.network.try_init(&config, &device)?;
    if let [filters, channels, side] = args.layer[..] {
        let layer = Conv2dConfig::new([channels, filters], [side, side]).init(&device);
        return planning(&args, "layer", &layer, Calibration::sizes());
    }
    let Some(file) = &args.load else {
        let sizes = sizes(&network, args.training.dataset.channels());
        return planning(&args, &args.network.to_string(), &network, sizes);
    };
    let network: AnyNetwork = load_weights(network, file)?;
    for (index, seed) in args.seeds.iter().enumerate() {
        let training = TrainingArgs {
            seed: *seed,
            ..args.training.clone()
        };
        let recipe = training.recipe(args.network);
        let loaders = load(&training, &recipe, 0, &device)?;
        let test = |network: &AnyNetwork| accuracy(network, loaders.test.as_ref());
        if let Some(kernels) = &args.kernels {
            let network = with_kernels(network.clone(), kernels)?;
            println!("seed {seed}: {:.2}", test(&network)?);
            continue;
        }
        let bench = Bench {
            args: &args,
            network: &network,
            loaders: &loaders,
        };
        match &args.export {
            Some(folder) => bench.export(folder)?,
            None => bench.table(*seed, index == 0)?,
        }
    }
    Ok(())
}

/// One seed.
struct Bench<'a> {
    args: &'a Args,
    network: &'a AnyNetwork,
    loaders: &'a Loaders,
}

impl Bench<'_> {
    fn batches(&self) -> &dyn DataLoader<ImageBatch> {
        self.loaders.calibration.as_ref()
    }

    /// A row for each way to compress; but those that no images decide only where the seed is the
    /// first.
    fn table(&self, seed: u64, first: bool) -> Result<(), Box<dyn Error>> {
        let test = |network: &AnyNetwork| accuracy(network, self.loaders.test.as_ref());
        let shares = &self.args.shares;
        println!("seed {seed}, dense {:.2}", test(self.network)?);
        let titles: Vec<String> = shares.iter().map(f64::to_string).collect();
        println!("| fitted by | sides | sizes | {} |", titles.join(" | "));
        println!("|---|---|---|{}", "---:|".repeat(shares.len()));
        let channels = self.args.training.dataset.channels();
        let filters = sizes(self.network, channels);
        let images = self.args.calibration_images;
        let responses = calibrate(self.network, self.batches(), images)?;
        let images = first_images(self.batches(), images)?;
        for (metric, calibration) in [("filters", filters), ("responses", responses)] {
            for sides in ["one", "both"] {
                let with = |share| with(share, sides, &calibration);
                let mut sensitivity = Sensitivity::default();
                for sizes in ["equal shares", "energy", "measured"] {
                    let row = format!("{metric} {sides} {sizes}");
                    let decided = metric == "filters" && sizes != "measured" && !first;
                    if decided || !row.contains(&self.args.only) {
                        continue;
                    }
                    if sizes == "measured" {
                        let outputs = |network: &AnyNetwork| network.forward(images.clone());
                        with(1.0).measure(self.network, &mut sensitivity, outputs, |_| {})?;
                    }
                    let mut cells = Vec::new();
                    for share in shares {
                        let compression = match sizes {
                            "equal shares" => with(*share).with_equal_shares(),
                            "energy" => with(*share),
                            _ => with(*share).with_sensitivity(sensitivity.clone()),
                        };
                        cells.push(match compression.plan(self.network) {
                            Ok(plan) => {
                                let compressed = plan.apply(self.network.clone())?;
                                format!("{:.2}", test(&compressed)?)
                            }
                            Err(linearconv::Error::Budget { .. }) => "-".into(),
                            Err(error) => return Err(error.into()),
                        });
                    }
                    println!("| {metric} | {sides} | {sizes} | {} |", cells.join(" | "));
                }
            }
        }
        Ok(())
    }

    fn export(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let images = self.args.calibration_images;
        let calibration = calibrate(self.network, self.batches(), images)?;
        let plan = with(self.args.shares[0], "both", &calibration).plan(self.network)?;
        let patches = folder.join("patches");
        fs::create_dir_all(&patches)?;
        write_json(&folder.join("plan.json"), &plan)?;
        let compressed = plan.apply(self.network.clone())?;
        let accuracy = accuracy(&compressed, self.loaders.test.as_ref())?;
        println!("both sides: {} weights, {accuracy:.2}", plan.parameters());

        let mut weights = Weights {
            plan: &plan,
            path: Vec::new(),
            found: HashMap::new(),
        };
        self.network.visit(&mut weights);
        let mut values = HashMap::new();
        for (path, (id, data)) in weights.found {
            if let Some(sample) = calibration.patches(id) {
                let file = patches.join(format!("{path}.safetensors"));
                save(&file, &HashMap::from([("patches".into(), sample)]))?;
            }
            values.insert(path, data);
        }
        save(&folder.join("weights.safetensors"), &values)
    }
}

fn with(share: f64, sides: &str, calibration: &Calibration) -> Compression {
    let compression = Compression::to_parameters(share).with_calibration(calibration.clone());
    match sides {
        "one" => compression.with_all_channels(),
        _ => compression,
    }
}

/// Reads the weights of planned layers.
struct Weights<'a> {
    plan: &'a Plan,
    path: Vec<String>,
    found: HashMap<String, (burn::module::ParamId, TensorData)>,
}

impl ModuleVisitor for Weights<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if self.plan.layers().iter().any(|layer| layer.path() == path) {
            self.found.insert(path, (param.id, param.val().into_data()));
        }
    }
}

/// The network with kernels, and what they move in the biases, from a file.
fn with_kernels(network: AnyNetwork, file: &Path) -> Result<AnyNetwork, Box<dyn Error>> {
    struct Replace<'a> {
        path: Vec<String>,
        values: SafeTensors<'a>,
    }

    impl Replace<'_> {
        fn value(&self, name: &str) -> Option<TensorData> {
            let view = self.values.tensor(name).ok()?;
            let values = view.data().chunks_exact(4);
            let values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4")));
            Some(TensorData::new(
                values.collect::<Vec<_>>(),
                view.shape().to_vec(),
            ))
        }
    }

    impl ModuleMapper for Replace<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let path = self.path.join(".");
            if let Some(kernel) = self.value(&path) {
                return param.map(|weight| Tensor::from_data(kernel, &weight.device()));
            }
            let weight = path
                .strip_suffix("bias")
                .map(|layer| format!("{layer}weight"));
            let shift = weight.and_then(|weight| self.value(&format!("{weight} shift")));
            match shift {
                Some(shift) => param.map(|bias| {
                    let shift = Tensor::from_data(shift, &bias.device());
                    bias + shift
                }),
                None => param,
            }
        }
    }

    let bytes = fs::read(file)?;
    let mut replace = Replace {
        path: Vec::new(),
        values: SafeTensors::deserialize(&bytes)?,
    };
    Ok(network.map(&mut replace))
}

fn save(file: &Path, values: &HashMap<String, TensorData>) -> Result<(), Box<dyn Error>> {
    let mut views = Vec::new();
    for (name, data) in values {
        let shape = data.shape().iter().copied().collect();
        views.push((name, TensorView::new(Dtype::F32, shape, data.as_bytes())?));
    }
    Ok(safetensors::serialize_to_file(views, None, file)?)
}

/// The time and the memory that a plan takes of a model that was not trained.
fn planning<M: Module>(
    args: &Args,
    name: &str,
    model: &M,
    calibration: Calibration,
) -> Result<(), Box<dyn Error>> {
    // Parameters are lazy: this draws them.
    let model = model.clone().map(&mut Draw);
    let weights = model.num_params() * size_of::<f32>();
    let before = memory_of::peak();
    let started = Instant::now();
    let compression = Compression::to_parameters(args.shares[0]).with_calibration(calibration);
    let plan = compression.plan(&model)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{plan}");
    let mebibytes =
        |bytes: Option<usize>| bytes.map_or("?".into(), |bytes| format!("{}", bytes >> 20));
    println!(
        "{name}: planned in {seconds:.1} s; {} MiB of weights, {} MiB of memory before and {} MiB at \
         the most",
        mebibytes(Some(weights)),
        mebibytes(before),
        mebibytes(memory_of::peak()),
    );
    Ok(())
}

struct Draw;

impl ModuleMapper for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let _ = param.val();
        param
    }
}
