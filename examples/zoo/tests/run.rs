//! A whole run on a few images: what it writes, what it refuses.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use clap::Parser;
use linearconv_zoo::cli::Args;
use linearconv_zoo::models::{Network, NetworkConfig, VggConfig};
use linearconv_zoo::recipe::Recipe;
use linearconv_zoo::report::Report;
use linearconv_zoo::{Error, execute};

const FLAGS: &str = "--train-limit 22 --test-limit 10 --batch-size 5 --seed 3";

fn run(flags: &str, folder: &Path) -> Result<Report, Error> {
    let out_dir = ["--out-dir".into(), folder.display().to_string()];
    let flags = [FLAGS, flags].join(" ");
    let words = flags.split_whitespace().map(String::from);
    let args = Args::try_parse_from(["vgg11".into()].into_iter().chain(words).chain(out_dir));
    let recipe = Recipe {
        pruning_interval: 1,
        ..Recipe::default()
    };
    let init = |config: &NetworkConfig, device: &Device| VggConfig::Vgg11.try_init(config, device);
    execute("vgg11", recipe, args.expect("flags"), init)
}

#[test]
fn a_run_writes_its_results_and_overwrites_none() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("new/run");
    let report = run("--variant sparse --sparsity 0.5 --epochs 2", &folder).expect("a result");

    assert_eq!(report.epochs.len(), 2);
    assert!((1..=2).contains(&report.best_epoch));
    let best = report
        .epochs
        .iter()
        .map(|epoch| epoch.valid_accuracy)
        .fold(0.0, f64::max);
    assert_eq!(report.epochs[report.best_epoch - 1].valid_accuracy, best);
    assert_eq!(report.test_images, 10);
    assert!(report.test_accuracy >= 0.0 && report.test_accuracy <= 100.0);
    assert!(report.step_seconds > 0.0 && report.seconds > report.step_seconds);
    if report.best_epoch == 2 {
        assert_eq!(report.sparsity, 0.5);
    }

    for file in ["config.json", "report.json", "curves.svg", "model.bpk"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let json = std::fs::read_to_string(folder.join("report.json")).expect("report");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["test_accuracy"], report.test_accuracy);

    let error = run("", &folder)
        .expect_err("the folder is in use")
        .to_string();
    assert!(
        error.contains("holds the results of another run"),
        "{error}"
    );
    let kept = std::fs::read_to_string(folder.join("report.json")).expect("report");
    assert_eq!(kept, json);
}

#[test]
fn the_saved_model_loads_into_the_network() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    run("--variant low-rank --rank 4 --epochs 1", parent.path()).expect("a result");
    let args = Args::try_parse_from(["vgg11", "--variant", "low-rank", "--rank", "4"]);
    let config = NetworkConfig {
        conv: args.expect("flags").conv().expect("valid"),
        channels: 1,
        classes: 10,
    };
    let device = Device::flex();
    let network = VggConfig::Vgg11.try_init(&config, &device).expect("valid");
    let network = network
        .try_load_file(parent.path().join("model.bpk"))
        .expect("the same network");
    let scores = network.forward(burn::tensor::Tensor::ones([1, 1, 32, 32], &device));
    let scores = scores.try_to_vec_as::<f32>().expect("scores");
    assert!(scores.iter().all(|score| score.is_finite()));
}

#[test]
fn layers_that_cannot_be_built_are_errors_before_anything_is_written() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let error = run("--variant low-rank --rank 33", &folder).expect_err("too high a rank");
    assert!(
        error
            .to_string()
            .contains("rank=33 for 32 secondary by 32 primary"),
        "{error}"
    );
    assert!(!folder.exists());
}

#[cfg(not(feature = "wgpu"))]
#[test]
fn a_backend_that_is_not_compiled_in_is_named() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let error = run("--backend wgpu", parent.path()).expect_err("not compiled in");
    let expected = "backend `wgpu` is not compiled in; run with `--features wgpu`";
    assert_eq!(error.to_string(), expected);
}
