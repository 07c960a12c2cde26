//! The example that brings in weights of others: examples/import.rs.

use std::path::Path;

use burn::tensor::Device;
use tempfile::tempdir;

// Its command line is not run here.
#[allow(dead_code)]
#[path = "../../import.rs"]
mod import;

#[test]
fn the_digits_are_as_good_as_they_were_and_nearly_so_at_a_quarter_of_their_weights() {
    let device = Device::flex();
    let data = import::digits(&device).expect("digits");
    let test = |network: &import::Network| {
        let (accuracy, _) = import::test(network, &*data.test).expect("an accuracy");
        accuracy
    };
    let network = import::import(Path::new(import::DIGITS), &device).expect("weights");
    let dense = test(&network);
    assert!((dense - DENSE).abs() < 0.11, "{dense} %");

    let plan = import::plan(&network, &*data.calibration, 0.25).expect("a plan");
    assert!(plan.parameters() * 4 <= plan.dense_parameters());
    let small = plan.apply(network).expect("a small network");
    let accuracy = test(&small);
    assert!(accuracy > dense - 3.0, "{accuracy} %");

    let folder = tempdir().expect("a folder");
    let file = folder.path().join("small.safetensors");
    import::save(&small, &plan, &file).expect("a file");
    assert_eq!(test(&import::load(&file, &device).expect("read")), accuracy);
    // What is there is not replaced.
    assert!(import::save(&small, &plan, &file).is_err());
}

/// Of the 1000 test images in percent. Rounding may decide one of them otherwise.
const DENSE: f64 = 98.6;

#[test]
fn a_file_of_another_network_is_an_error_that_names_its_tensors() {
    let (device, folder) = (Device::flex(), tempdir().expect("a folder"));
    let renamed = folder.path().join("renamed.safetensors");
    let bytes = std::fs::read(import::DIGITS).expect("the weights");
    // As many bytes, so that the rest of the header stays right.
    let rename = |from: &str, to: &str| {
        let start = bytes
            .windows(from.len())
            .position(|name| name == from.as_bytes());
        let start = start.expect("a name");
        let mut bytes = bytes.clone();
        bytes[start..start + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&renamed, bytes).expect("written");
        let error = import::import(&renamed, &device).expect_err("an error");
        error.to_string()
    };
    let error = rename("feat.2.1.running_mean", "feat.2.1.running_m_an");
    assert!(error.contains("stages.2.norm.running_mean"), "{error}");
}
