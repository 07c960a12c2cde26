//! The table of one GPU: layers, networks in images per second, and what a fixed number of epochs
//! reaches on CIFAR-10. `benches/gpu.sh` runs it.

mod networks;
mod place;
mod policies;
mod timing;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::optim::AdamConfig;
use burn::tensor::{Device, Distribution, Tensor};
use clap::Parser;
use linearconv::{ConvConfig, Evaluation};
use linearconv_zoo::backend::{DeviceName, DeviceNameParser};
use linearconv_zoo::models::{AnyNetwork, Network, NetworkName};
use networks::{images, labels, step};
use policies::Policy;
use serde_json::{Value, json};
use timing::{Contestant, medians, open, time};

/// Measure a GPU and write the table as JSON and as Markdown.
#[derive(Parser)]
struct Args {
    /// Where to compute; `list` prints what is there.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser, default_value = "wgpu")]
    backend: DeviceName,

    /// Begin no row after so many minutes.
    #[arg(long, value_name = "N", default_value_t = 7.5)]
    minutes: f64,

    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,

    /// CIFAR-10, in its binary format; without it no network is trained.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Epochs of training on CIFAR-10.
    #[arg(long, value_name = "N", default_value_t = 3)]
    epochs: usize,

    /// Use N training images of CIFAR-10.
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,

    /// Use the first N test images of CIFAR-10.
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,

    /// Where `gpu.json`, `gpu.md` and the runs go.
    #[arg(long, value_name = "DIR", default_value = "gpu")]
    out_dir: PathBuf,

    /// A note for the head of the table, such as the date.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Channels, filters, stride, and the side of the input: 3×3 layers of VGG11 and ResNet-18.
const LAYERS: [[usize; 4]; 6] = [
    [64, 64, 1, 32],
    [64, 128, 1, 16],
    [128, 128, 1, 16],
    [128, 256, 2, 16],
    [256, 256, 1, 8],
    [512, 512, 1, 4],
];
const NETWORKS: [NetworkName; 2] = [NetworkName::Vgg11, NetworkName::ResNet18];
const COLUMNS: [&str; 4] = [
    "dense",
    "full, materialized",
    "full, factored",
    "rank 10, factored",
];

fn main() {
    place::enter_root();
    let args = Args::parse();
    let device = open(&args.backend);
    let gpu = args.backend.describe(&device);
    let gpu = gpu.unwrap_or_else(|error| error.to_string());
    let mut table = Table {
        deadline: Instant::now() + Duration::from_secs_f64(args.minutes * 60.0),
        markdown: format!("# {gpu}\n\n`--backend {}`. {}\n", args.backend, args.note),
        rows: Vec::new(),
        skipped: Vec::new(),
    };
    table.section("3×3 layers: milliseconds of a batch, and ratios to the dense layer");
    for shape in LAYERS {
        for backward in [false, true] {
            let [channels, filters, stride, side] = shape;
            let pass = if backward {
                "forward and backward"
            } else {
                "forward"
            };
            let name = format!("{channels}→{filters}, stride {stride}, {side}×{side}, {pass}");
            table.times(&name, || layer(shape, args.batch, backward, &device));
        }
    }
    table.section("Networks: milliseconds of a batch, and ratios to the dense network");
    for network in NETWORKS {
        for training in [false, true] {
            let what = if training {
                "training step"
            } else {
                "inference"
            };
            let name = format!("{network}, {what}");
            table.speeds(&name, args.batch, || match training {
                true => train(network, args.batch, &device),
                false => infer(network, args.batch, &device),
            });
        }
    }
    if let Some(data_dir) = &args.data_dir {
        table.markdown += "\n## CIFAR-10\n\n| | test accuracy | seconds |\n|---|---:|---:|\n";
        for variant in ["dense", "low-rank --rank 10"] {
            table.accuracy(variant, &args, data_dir);
        }
    }
    table.write(&args, &gpu);
}

/// What was measured so far.
struct Table {
    deadline: Instant,
    markdown: String,
    rows: Vec<Value>,
    skipped: Vec<String>,
}

impl Table {
    fn section(&mut self, title: &str) {
        let columns = COLUMNS.join(" | ");
        let rule = "---:|".repeat(COLUMNS.len());
        let _ = write!(
            self.markdown,
            "\n## {title}\n\n| | {columns} |\n|---|{rule}\n"
        );
    }

    /// Whether there is time for another row.
    fn begins(&mut self, name: &str) -> bool {
        let begins = Instant::now() < self.deadline;
        match begins {
            true => eprintln!("{name}"),
            false => self.skipped.push(name.into()),
        }
        begins
    }

    /// A row of times, the first in milliseconds and the others as ratios to it.
    fn times(&mut self, name: &str, measure: impl FnOnce() -> Vec<f64>) {
        if !self.begins(name) {
            return;
        }
        let seconds = measure();
        let ratios = seconds[1..]
            .iter()
            .map(|time| format!("{:.2}", time / seconds[0]));
        let ratios: Vec<String> = ratios.collect();
        let dense = seconds[0] * 1e3;
        let _ = writeln!(
            self.markdown,
            "| {name} | {dense:.3} | {} |",
            ratios.join(" | ")
        );
        let milliseconds: Vec<f64> = seconds.iter().map(|time| time * 1e3).collect();
        self.rows
            .push(json!({ "name": name, "columns": COLUMNS, "ms": milliseconds }));
    }

    /// A row of times, and one of images per second.
    fn speeds(&mut self, name: &str, batch: usize, measure: impl FnOnce() -> Vec<f64>) {
        self.times(name, measure);
        let Some(row) = self.rows.last_mut().filter(|row| row["name"] == name) else {
            return;
        };
        let times = row["ms"].as_array().into_iter().flatten();
        let speeds = times.filter_map(Value::as_f64);
        let speeds: Vec<f64> = speeds.map(|time| batch as f64 * 1e3 / time).collect();
        row["images_per_second"] = json!(speeds);
        let cells: Vec<String> = speeds.iter().map(|speed| format!("{speed:.0}")).collect();
        let cells = cells.join(" | ");
        let _ = writeln!(self.markdown, "| {name}, images per second | {cells} |");
    }

    /// A row of what VGG11 reaches in the given epochs, with one seed.
    fn accuracy(&mut self, variant: &str, args: &Args, data_dir: &std::path::Path) {
        let name = format!("vgg11 {variant}");
        if !self.begins(&name) {
            return;
        }
        let folder = args
            .out_dir
            .join(variant.split(' ').next().unwrap_or_default());
        let mut flags: Vec<String> = ["vgg11", "--dataset", "cifar10", "--variant"]
            .map(String::from)
            .into();
        flags.extend(variant.split(' ').map(String::from));
        let values = [
            ("--data-dir", data_dir.display().to_string()),
            ("--backend", args.backend.to_string()),
            ("--epochs", args.epochs.to_string()),
            ("--batch-size", args.batch.to_string()),
            ("--out-dir", folder.display().to_string()),
        ];
        let limits = [
            ("--train-limit", args.train_limit),
            ("--test-limit", args.test_limit),
        ];
        let limits = limits
            .into_iter()
            .filter_map(|(flag, limit)| Some((flag, limit?.to_string())));
        let values = values.into_iter().chain(limits);
        flags.extend(values.flat_map(|(flag, value)| [flag.into(), value]));
        let flags = linearconv_zoo::cli::Args::parse_from(flags);
        match linearconv_zoo::execute(NetworkName::Vgg11, flags) {
            Ok(report) => {
                let (accuracy, seconds) = (report.test_accuracy, report.seconds);
                let _ = writeln!(self.markdown, "| {name} | {accuracy:.2} % | {seconds:.0} |");
                self.rows.push(json!({ "name": name, "report": report }));
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                self.skipped.push(format!("{name}: {error}"));
            }
        }
    }

    fn write(mut self, args: &Args, gpu: &str) {
        if !self.skipped.is_empty() {
            let skipped = self.skipped.join("; ");
            let _ = write!(self.markdown, "\nNot measured: {skipped}.\n");
        }
        print!("{}", self.markdown);
        let json = json!({
            "gpu": gpu,
            "backend": args.backend,
            "note": args.note,
            "batch": args.batch,
            "rows": self.rows,
            "not_measured": self.skipped,
        });
        let written = fs::create_dir_all(&args.out_dir)
            .and_then(|()| fs::write(args.out_dir.join("gpu.json"), format!("{json:#}\n")))
            .and_then(|()| fs::write(args.out_dir.join("gpu.md"), &self.markdown));
        if let Err(error) = written {
            eprintln!("{}: {error}", args.out_dir.display());
            std::process::exit(1);
        }
    }
}

/// What each column is, every layer replaced where a layer is LinearConv at all.
fn policies() -> [ConvConfig; 4] {
    [
        Policy::Dense.auto(),
        Policy::Full.auto_by(Evaluation::Materialized),
        Policy::Full.auto_by(Evaluation::Factored),
        Policy::Rank10.auto_by(Evaluation::Factored),
    ]
}

const TURNS: usize = 5;
const ROW: Duration = Duration::from_millis(500);

fn layer(shape: [usize; 4], batch: usize, backward: bool, device: &Device) -> Vec<f64> {
    let [channels, filters, stride, side] = shape;
    let input = Tensor::random([batch, channels, side, side], Distribution::Default, device);
    let config = Conv2dConfig::new([channels, filters], [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let mut contestants: Vec<Contestant> = policies()
        .into_iter()
        .map(|policy| -> Contestant {
            let conv = policy.with_layer(config.clone());
            let conv = conv.init(&device.clone().autodiff());
            let (conv, input) = match backward {
                true => (conv, input.clone().autodiff().require_grad()),
                false => (conv.valid(), input.clone()),
            };
            Box::new(move || {
                time(device, || {
                    let output = conv.forward(input.clone());
                    match backward {
                        true => input.grad(&output.sum().backward()).expect("a gradient"),
                        false => output,
                    }
                })
            })
        })
        .collect();
    medians(&mut contestants, TURNS, ROW)
}

fn contestants(network: NetworkName, device: &Device) -> Vec<AnyNetwork> {
    policies()
        .map(|conv| networks::init(network, conv, device))
        .into()
}

fn infer(network: NetworkName, batch: usize, device: &Device) -> Vec<f64> {
    let images = images(batch, device);
    let mut contestants: Vec<Contestant> = contestants(network, device)
        .into_iter()
        .map(|network| -> Contestant {
            let images = images.clone();
            Box::new(move || time(device, || network.forward(images.clone())))
        })
        .collect();
    medians(&mut contestants, TURNS, ROW)
}

fn train(network: NetworkName, batch: usize, device: &Device) -> Vec<f64> {
    let autodiff = device.clone().autodiff();
    let images = images(batch, &autodiff);
    let labels = labels(batch, &autodiff);
    let mut contestants: Vec<Contestant> = contestants(network, &autodiff)
        .into_iter()
        .map(|network| -> Contestant {
            let (images, labels) = (images.clone(), labels.clone());
            let mut trainer = Some((network, AdamConfig::new().init()));
            Box::new(move || {
                let (network, optimizer) = trainer.take().expect("put back after each step");
                time(device, || {
                    trainer = Some(step(network, optimizer, &images, &labels, false));
                })
            })
        })
        .collect();
    medians(&mut contestants, TURNS, ROW)
}
