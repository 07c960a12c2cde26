//! The example that brings in weights of others: examples/import.rs.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
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
fn a_tensor_that_is_missing_or_has_no_place_is_an_error_that_names_it() {
    let (device, folder) = (Device::flex(), tempdir().expect("a folder"));
    let file = folder.path().join("other.safetensors");
    let bytes = fs::read(import::DIGITS).expect("the weights");
    let digits = SafeTensors::deserialize(&bytes).expect("SafeTensors");
    let error = |tensors: Vec<(String, TensorView<'_>)>| {
        safetensors::serialize_to_file(tensors, None, &file).expect("written");
        let error = import::import(&file, &device).expect_err("an error");
        error.to_string()
    };
    let mut tensors = digits.tensors();
    tensors.retain(|(name, _)| name != "fc.bias");
    let missing = error(tensors);
    assert!(missing.contains("head.bias"), "{missing}");

    let mut tensors = digits.tensors();
    let bias = digits.tensor("fc.bias").expect("a bias");
    tensors.push(("fc2.bias".into(), bias));
    assert_eq!(error(tensors), "the network has no place for fc2.bias");
}
