//! A whole run on a few images: what it writes, what it refuses, how it goes on.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use clap::Parser;
use linearconv_zoo::Report;
use linearconv_zoo::cli::Args;
use linearconv_zoo::commands::{CompareArgs, compare};
use linearconv_zoo::models::{Network, NetworkConfig, NetworkName};
use linearconv_zoo::{Error, execute};

const NETWORK: NetworkName = NetworkName::Base;

fn args(flags: &str) -> Args {
    Args::try_parse_from(["base"].into_iter().chain(flags.split_whitespace())).expect("flags")
}

fn run(flags: &str, folder: &Path) -> Result<Report, Error> {
    let limits = "--train-limit 22 --test-limit 10 --batch-size 5 --seed 3";
    let folder = folder.display();
    execute(
        NETWORK,
        args(&format!("{limits} {flags} --out-dir {folder}")),
    )
}

fn resume(folder: &Path) -> Result<Report, Error> {
    execute(NETWORK, args(&format!("--resume {}", folder.display())))
}

#[test]
fn a_run_writes_its_results_and_overwrites_none() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("new/run");
    let report = run("--variant sparse --sparsity 0.5 --epochs 2", &folder).expect("a result");

    assert_eq!(report.epochs.len(), 2);
    let best = report
        .epochs
        .iter()
        .map(|epoch| epoch.valid_accuracy)
        .fold(0.0, f64::max);
    assert_eq!(report.epochs[report.best_epoch - 1].valid_accuracy, best);
    assert_eq!(report.test_images, 10);
    assert!((0.0..=100.0).contains(&report.test_accuracy));
    let step = report.step_seconds.expect("steps");
    assert!(step > 0.0 && report.seconds > step);

    for file in ["config.json", "report.json", "curves.svg", "model.bpk"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let json = fs::read_to_string(folder.join("report.json")).expect("report");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["test_accuracy"], report.test_accuracy);

    let error = run("", &folder)
        .expect_err("the folder is in use")
        .to_string();
    assert!(
        error.contains("holds the results of another run"),
        "{error}"
    );
    let kept = fs::read_to_string(folder.join("report.json")).expect("report");
    assert_eq!(kept, json);
}

#[test]
fn the_saved_model_loads_into_the_network() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    run("--variant low-rank --rank 4 --epochs 1", parent.path()).expect("a result");
    let conv = args("--variant low-rank --rank 4").conv;
    let config = NetworkConfig {
        conv: conv.policy(NETWORK).expect("valid"),
        channels: 1,
        classes: 10,
    };
    let device = Device::flex();
    let network = NETWORK.try_init(&config, &device).expect("valid");
    let file = parent.path().join("model.bpk");
    let network = network.try_load_file(file).expect("the same network");
    let scores = network.forward(Tensor::ones([1, 1, 32, 32], &device));
    let scores = scores.try_to_vec_as::<f32>().expect("scores");
    assert!(scores.iter().all(|score| score.is_finite()));
}

#[test]
fn layers_that_cannot_be_built_are_errors_before_anything_is_written() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    // By default layers stay dense that are too narrow for the rank.
    let flags = "--variant low-rank --rank 17 --layers all";
    let error = run(flags, &folder).expect_err("too high a rank");
    let values = "rank=17 for 16 secondary by 16 primary";
    assert!(error.to_string().contains(values), "{error}");
    assert!(!folder.exists());

    let flags = "--variant low-rank --rank 500";
    let error = run(flags, &folder).expect_err("too high a rank for every layer");
    let expected = "low-rank-500 leaves every convolution of base dense";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(!folder.exists());
}

#[test]
fn a_run_that_cannot_be_resumed_says_why() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let error = resume(parent.path()).expect_err("no run").to_string();
    assert!(error.contains("cannot be resumed: config.json"), "{error}");

    let folder = parent.path().join("done");
    let report = run("--epochs 1", &folder).expect("a result");
    let finished = || resume(&folder).expect_err("finished").to_string();
    assert!(
        finished().contains("all 1 epochs are done"),
        "{}",
        finished()
    );

    // Killed after its last epoch it has its test left to do.
    fs::remove_file(folder.join("report.json")).expect("removed");
    let resumed = resume(&folder).expect("a result");
    assert_eq!(resumed.test_accuracy, report.test_accuracy);
    assert_eq!(resumed.step_seconds, None);
    assert!(
        finished().contains("all 1 epochs are done"),
        "{}",
        finished()
    );

    let args = args(&format!("--resume {}", folder.display()));
    let error = execute(NetworkName::Vgg11, args)
        .expect_err("another network")
        .to_string();
    assert!(error.contains("it trains base, not vgg11"), "{error}");

    let missing = parent.path().join("missing");
    let error = resume(&missing).expect_err("no folder").to_string();
    assert!(error.contains("cannot be resumed: config.json"), "{error}");
    assert!(!missing.exists());

    fs::write(folder.join("config.json"), "{").expect("written");
    let error = resume(&folder).expect_err("half a file").to_string();
    assert!(error.contains("config.json: EOF"), "{error}");
}

#[cfg(not(feature = "wgpu"))]
#[test]
fn a_backend_that_is_not_compiled_in_is_named() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let error = run("--backend wgpu", parent.path()).expect_err("not compiled in");
    let expected =
        "backend `wgpu` is not compiled in; run with `--features wgpu`; compiled in: flex";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// What a run leaves that was killed in its first epoch.
fn killed_in_its_first_epoch(flags: &str, folder: &Path) {
    run(flags, folder).expect("a result");
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_owned();
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("removed"),
            false if name == "config.json" || name == "lock" => {}
            false => fs::remove_file(path).expect("removed"),
        }
    }
    fs::create_dir_all(folder.join("checkpoint/partial")).expect("created");
    fs::write(folder.join("checkpoint/partial/model-1.bpk"), "half").expect("written");
}

#[test]
fn a_run_that_left_nothing_to_keep_starts_over() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let flags = "--variant full --epochs 2";
    killed_in_its_first_epoch(flags, &folder);
    let error = run("--variant full --epochs 1", &folder).expect_err("another run");
    assert!(matches!(error, Error::OutDirInUse { .. }), "{error}");
    // By the same command, and by --resume. Other tests draw from the same generator meanwhile, so the
    // weights are others.
    let again = run(flags, &folder).expect("a result");
    assert_eq!(again.epochs.len(), 2);
    let folder = parent.path().join("resumed");
    killed_in_its_first_epoch(flags, &folder);
    let resumed = resume(&folder).expect("a result");
    assert_eq!(resumed.epochs.len(), 2);
    assert!(folder.join("report.json").exists());
    // Now there is something.
    let error = run(flags, &folder).expect_err("a result");
    assert!(matches!(error, Error::OutDirInUse { .. }), "{error}");
}

/// As if the run had been killed in its second epoch.
fn killed_in_its_second_epoch(flags: &str, folder: &Path) {
    run(flags, folder).expect("a result");
    fs::remove_file(folder.join("report.json")).expect("removed");
    for part in ["model", "optim", "scheduler"] {
        fs::remove_file(folder.join(format!("checkpoint/{part}-2.bpk"))).expect("removed");
    }
}

/// The files of a folder and of the folders in it, with their content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            false => files.push((path.clone(), fs::read(path).expect("a file"))),
        }
    }
    files.sort();
    files
}

#[test]
fn a_finished_run_without_checkpoints_stays_as_it_is() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    run("--variant full --epochs 1", &folder).expect("a result");
    fs::remove_dir_all(folder.join("checkpoint")).expect("removed");
    let before = content(&folder);
    let error = resume(&folder).expect_err("finished").to_string();
    assert!(error.contains("report.json is there"), "{error}");
    assert_eq!(content(&folder), before);
}

#[test]
fn checkpoints_whose_logs_are_lost_are_not_trained_over() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let flags = "--variant full --epochs 3";
    run(flags, &folder).expect("a result");
    for file in ["report.json", "curves.svg", "model.bpk"] {
        fs::remove_file(folder.join(file)).expect("removed");
    }
    for logs in ["train", "valid"] {
        fs::remove_dir_all(folder.join(logs)).expect("removed");
    }
    let before = content(&folder);
    let error = resume(&folder).expect_err("no logs").to_string();
    assert!(error.contains("end with epoch 0"), "{error}");
    let error = run(flags, &folder).expect_err("something to keep");
    assert!(matches!(error, Error::OutDirInUse { .. }), "{error}");
    assert_eq!(content(&folder), before);
}

#[test]
fn settings_that_were_changed_in_the_file_are_errors() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    killed_in_its_second_epoch("--variant low-rank --rank 3 --epochs 2", &folder);
    let file = folder.join("config.json");
    let whole = fs::read_to_string(&file).expect("settings");
    for (change, expected) in [
        (("recipe", "epochs", 0.into()), "epochs: 0 is not between"),
        (("recipe", "batch_size", 0.into()), "batch_size: 0 is not"),
        (
            ("recipe", "validation_share", 2.0.into()),
            "validation_share",
        ),
        (("recipe", "label_smoothing", 2.0.into()), "label_smoothing"),
        (
            ("training", "devices", 0.into()),
            "devices: 0 is not between",
        ),
        // The weights are of another rank.
        (("conv", "rank", 4.0.into()), "model-1.bpk"),
    ] {
        let (part, name, value): (_, _, serde_json::Value) = change;
        let mut json: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
        json[part][name] = value;
        fs::write(&file, json.to_string()).expect("written");
        let before = content(&folder.join("checkpoint"));
        let error = resume(&folder).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(content(&folder.join("checkpoint")), before);
    }
    fs::write(&file, whole).expect("written");
    assert_eq!(resume(&folder).expect("a result").epochs.len(), 2);
}

/// JSON is read to the last digit but one.
#[test]
fn a_learning_rate_with_all_its_digits_is_that_of_the_same_run() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    // 10^(-10/3), which is read as another number than it was.
    let flags = "--variant full --epochs 1 --lr 0.00046415888336127773";
    killed_in_its_first_epoch(flags, &folder);
    run(flags, &folder).expect("it starts over");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    for part in ["model", "optim", "scheduler"] {
        let folder = parent.path().join(part);
        let report = run("--variant full --epochs 3", &folder).expect("a result");
        fs::remove_file(folder.join("report.json")).expect("removed");
        let file = folder.join(format!("checkpoint/{part}-3.bpk"));
        let whole = fs::read(&file).expect("a checkpoint");
        let damages = [1000.min(whole.len() - 1), 100, 0];
        for length in damages {
            fs::write(&file, &whole[..length]).expect("written");
            let resumed = resume(&folder).expect("from the epoch before");
            assert_eq!(
                resumed.epochs[2].valid_loss,
                report.epochs[2].valid_loss,
                "{part}, {length} of {} bytes",
                whole.len()
            );
            assert_eq!(resumed.test_accuracy, report.test_accuracy);
            fs::remove_file(folder.join("report.json")).expect("removed");
        }
    }
}

#[test]
fn the_best_checkpoint_is_passed_over_too_if_it_is_damaged() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let report = run("--variant full --epochs 3", &folder).expect("a result");
    let best = report.best_epoch;
    assert!(best < 3, "choose another seed");
    fs::remove_file(folder.join("report.json")).expect("removed");
    fs::write(folder.join(format!("checkpoint/model-{best}.bpk")), "").expect("written");
    let resumed = resume(&folder).expect("the next best epoch");
    assert_ne!(resumed.best_epoch, best);
    assert_eq!(resumed.epochs.len(), 3);
}

#[test]
fn a_run_that_diverges_says_so_and_keeps_what_was_good() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let limits = "--train-limit 40 --test-limit 10 --batch-size 5 --epochs 20 --lr 1";
    let flags = format!("{limits} --variant dense --out-dir {}", folder.display());
    let error = execute(NetworkName::AllConv, args(&flags)).expect_err("diverged");
    let Error::Diverged {
        epoch,
        diverged,
        kept,
    } = &error
    else {
        panic!("{error}")
    };
    assert!(diverged.loss.is_nan() || diverged.loss > 1e4, "{error}");
    assert_eq!(kept.is_some(), *epoch > 1);
    assert!(kept.iter().all(|kept| kept.is_file()), "{error}");
    assert!(!folder.join("report.json").exists() && !folder.join("model.bpk").exists());
    assert!(error.to_string().contains("try a lower --lr"), "{error}");
}

#[test]
fn two_runs_at_once_do_not_share_a_folder() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("run");
    let results = std::thread::scope(|scope| {
        let start = || run("--variant full --epochs 1", &folder);
        let threads = [scope.spawn(start), scope.spawn(start)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let finished = results.iter().filter(|result| result.is_ok()).count();
    let refused =
        |result: &&Result<Report, Error>| matches!(result, Err(Error::OutDirInUse { .. }));
    assert_eq!((finished, results.iter().filter(refused).count()), (1, 1));
}

#[test]
fn what_a_comparison_has_finished_is_not_trained_again() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let compare = |flags: &str| {
        let limits = "--network base --train-limit 22 --test-limit 10 --batch-size 5";
        let out_dir = parent.path().display();
        let flags = format!("compare {limits} {flags} --out-dir {out_dir}");
        compare(&CompareArgs::try_parse_from(flags.split_whitespace()).expect("flags"))
    };
    let two = "--epochs 2 --variants dense full";
    let first = compare(two).expect("a table").to_string();
    let report = |variant: &str| parent.path().join(variant).join("report.json");
    let written = |variant: &str| {
        let metadata = fs::metadata(report(variant)).expect("a report");
        metadata.modified().expect("a time")
    };
    let before = [written("dense"), written("full")];
    assert_eq!(compare(two).expect("a table").to_string(), first);
    assert_eq!([written("dense"), written("full")], before);
    // One of them was interrupted before its test: it goes on, the other is kept.
    fs::remove_file(report("full")).expect("removed");
    compare(two).expect("a table");
    assert_eq!(written("dense"), before[0]);
    assert!(report("full").exists());

    // Refused before anything is trained.
    for flags in [
        "--variants sparse sparse",
        "--epochs 1 --variants sparse dense",
    ] {
        compare(flags).expect_err("twice, and other settings");
        assert!(!parent.path().join("sparse").exists(), "{flags}");
    }
}
