//! Compression of a network from its training to the dense network that comes out.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, Tolerance};
use clap::Parser;
use linearconv::{ConvConfig, Plan};
use linearconv_zoo::Error;
use linearconv_zoo::commands::{CompressArgs, CompressReport, compress};
use linearconv_zoo::models::{Network, NetworkConfig, NetworkName};
use linearconv_zoo::weights::load;

/// Stage, parameters and accuracy.
type Row = (String, usize, f64);

fn stages(flags: &str, folder: &Path) -> Result<Vec<Row>, Error> {
    let flags = format!(
        "compress --network base --train-limit 22 --test-limit 10 --batch-size 5 --epochs 1 --csv \
         --out-dir {} {flags}",
        folder.display()
    );
    let args = CompressArgs::try_parse_from(flags.split_whitespace()).expect("flags");
    let table = compress(&args)?.to_string();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let parameters = cells[1].parse().expect("a number");
        (
            cells[0].into(),
            parameters,
            cells[2].parse().expect("a number"),
        )
    };
    Ok(table.lines().skip(1).map(row).collect())
}

#[test]
fn every_stage_is_tested_and_the_last_network_is_kept() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let first = parent.path().join("first");
    let rows = stages("--parameters 0.5 --fine-tune 2", &first).expect("a table");
    let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, ["dense", "compressed", "fine-tuned", "materialized"]);
    let parameters: Vec<usize> = rows.iter().map(|row| row.1).collect();
    assert!(parameters[1] < parameters[0], "{rows:?}");
    assert_eq!(parameters[2], parameters[1]);
    assert_eq!(parameters[3], parameters[0]);
    assert_eq!(rows[2].2, rows[3].2, "{rows:?}");
    for file in [
        "dense/report.json",
        "compressed.bpk",
        "plan.json",
        "model.bpk",
    ] {
        assert!(first.join(file).exists(), "{file}");
    }
    let report = fs::read(first.join("report.json")).expect("a report");
    let report: CompressReport = serde_json::from_slice(&report).expect("a report");
    let reported = report.stages.iter().map(|stage| {
        // As the table rounds.
        let rounded = (stage.test_accuracy * 100.0).round() / 100.0;
        (stage.stage.clone(), stage.parameters, rounded)
    });
    assert_eq!(reported.collect::<Vec<_>>(), rows);
    assert!(2 * report.weights <= report.dense_weights, "{report:?}");
    assert_eq!(report.fine_tuning.epochs, 2);

    // One file has the weights and the plan.
    let compressed = first.join("compressed.bpk");
    let compressed = load(NetworkName::Base, &compressed, &Device::flex()).expect("loaded");
    assert!(compressed.is_linear);
    let plan: Plan = serde_json::from_str(&compressed.metadata["plan"]).expect("a plan");
    let beside = fs::read(first.join("plan.json")).expect("a file");
    let beside: Plan = serde_json::from_slice(&beside).expect("a plan");
    assert_eq!(plan.choices(), beside.choices());
    let accuracy = format!("{:.2}", rows[2].2);
    assert_eq!(compressed.metadata["test_accuracy"], accuracy);

    let again = stages("", &first).expect_err("the folder is in use");
    assert!(matches!(again, Error::OutDirInUse { .. }), "{again}");

    // What came out is a dense network like any other.
    let second = parent.path().join("second");
    let flags = format!(
        "--load {}/model.bpk --fine-tune 0 --data-aware",
        first.display()
    );
    let loaded = stages(&flags, &second).expect("a table");
    assert_eq!(loaded[0].1, parameters[0]);
    assert_eq!(loaded[0].2, rows[3].2);
    assert_eq!(loaded[1].2, loaded[2].2);
    assert!(!second.join("dense").exists() && !second.join("fine-tuned").exists());
}

#[test]
fn a_budget_that_cannot_be_kept_is_an_error() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let error = stages("--parameters 0.0001", parent.path()).expect_err("too little");
    let error = error.to_string();
    assert!(error.contains("no plan reaches"), "{error}");
    // What has been trained is not lost.
    let kept = parent.path().join("dense/model.bpk");
    assert!(
        kept.exists() && error.contains(&*kept.to_string_lossy()),
        "{error}"
    );
}

#[test]
fn flags_without_the_flags_that_they_need_are_errors() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    for (flags, expected) in [
        ("--parameters 0.5 --rank 4", "--rank needs --uniform"),
        (
            "--error 0.1 --channel-ratio 0.5",
            "--channel-ratio needs --uniform",
        ),
        ("--error 0.1 --search trials.json", "--search needs --lose"),
    ] {
        let error = stages(flags, &parent.path().join("run")).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(
        std::fs::read_dir(parent.path())
            .expect("the parent")
            .count(),
        0
    );
}

#[test]
fn the_trials_of_a_search_are_not_those_of_another_one() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let file = parent.path().join("trials.json");
    let search = |points: u32, run: &str| {
        let flags = format!("--lose {points} --fine-tune 0 --search {}", file.display());
        stages(&flags, &parent.path().join(run))
    };
    search(100, "first").expect("everything is accepted");
    let trials = std::fs::read_to_string(&file).expect("trials");
    let error = search(50, "second").expect_err("another limit").to_string();
    assert!(error.contains("of another search"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).expect("trials"), trials);
    search(100, "third").expect("the same search");
    assert_eq!(std::fs::read_to_string(&file).expect("trials"), trials);
}

#[test]
fn a_network_in_8_bits_answers_alike_and_is_read_again() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let [first, second] = ["first", "second"].map(|name| parent.path().join(name));
    let rows = stages("--fine-tune 0 --int8", &first).expect("a table");
    let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, ["dense", "compressed", "int8", "materialized"]);
    assert_eq!(rows[2].1, rows[1].1);
    // One of ten images.
    assert!((rows[2].2 - rows[1].2).abs() < 10.1, "{rows:?}");

    let read = |folder: &Path, file: &str| fs::read(folder.join(file)).expect("a file");
    let int8 = read(&first, "int8.bpk");
    assert!(3 * int8.len() < read(&first, "compressed.bpk").len());

    // The same from the same dense network.
    let dense = first.join("dense/model.bpk");
    let flags = format!("--load {} --fine-tune 0 --int8", dense.display());
    assert_eq!(stages(&flags, &second).expect("a table"), rows);
    let values = |folder: &Path| {
        let network = load(NetworkName::Base, &folder.join("int8.bpk"), &Device::flex());
        let network = network.expect("weights in 8 bits").network.valid();
        let images = Tensor::ones([1, 1, 32, 32], &Device::flex());
        network.forward(images).into_data()
    };
    assert_eq!(values(&first), values(&second));

    // Burn reads it into the network that the plan builds, and keeps the 8 bits.
    let plan = serde_json::from_slice::<Plan>(&read(&first, "plan.json")).expect("a plan");
    let config = NetworkConfig {
        conv: ConvConfig::dense(),
        channels: 1,
        classes: 10,
    };
    let network = NetworkName::Base.try_init(&config, &Device::flex());
    let network = plan.prepare(network.expect("a network")).expect("its plan");
    let network = network.load_file(first.join("int8.bpk"));
    let images = Tensor::ones([1, 1, 32, 32], &Device::flex());
    let scores = network.forward(images).into_data();
    scores.assert_approx_eq::<f32>(&values(&first), Tolerance::rel_abs(1e-4, 1e-5));
}
