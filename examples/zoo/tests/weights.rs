//! Weights that others made, and that this program made: read whole, with the logits that their network
//! gives, or refused with the tensor named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, Distribution, Tensor};
use clap::{Parser, ValueEnum};
use linearconv::{CoefficientsConfig, ConvConfig, LinearConv2dConfig};
use linearconv_zoo::cli::Args;
use linearconv_zoo::models::{Network, NetworkConfig, NetworkName};
use linearconv_zoo::weights::{Error, Loaded, export, load};
use linearconv_zoo::{execute, used};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize_to_file};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn checkpoint(name: &str) -> PathBuf {
    fixtures().join("checkpoints").join(name)
}

fn read(name: NetworkName, path: &Path) -> Result<Loaded, Error> {
    load(name, path, &Device::flex().autodiff())
}

fn tensor<const D: usize>(file: &Path, name: &str) -> Tensor<D> {
    let mut store = SafetensorsStore::from_file(file);
    let tensors = store.get_all_tensors().expect("tensors");
    let data = bridge::to_data(&tensors[name]).expect("data");
    Tensor::from_data(data, &Device::flex())
}

/// The largest difference, relative to the largest logit.
fn difference(logits: Tensor<2>, right: Tensor<2>) -> f32 {
    let largest = right.clone().abs().max().into_scalar::<f32>();
    (logits - right).abs().max().into_scalar::<f32>() / largest
}

/// By the reference implementation in PyTorch, and by this program: its logits are those of onnxruntime.
/// The files stay as they are, so that tomorrow's code reads today's.
#[test]
fn checkpoints_give_the_logits_of_others() {
    let files = [
        ("base_rank_ratio_0.25", "ckpt", 3),
        ("base_sparse", "ckpt", 3),
        ("digits_full", "bpk", 1),
        ("photos_two_sided", "bpk", 3),
    ];
    for (name, extension, channels) in files {
        let file = checkpoint(&format!("{name}.{extension}"));
        let loaded = read(NetworkName::Base, &file).expect(name);
        let found = (loaded.channels, loaded.classes, loaded.is_linear);
        assert_eq!(found, (channels, 10, true), "{name}");
        let io = checkpoint(&format!("{name}.safetensors"));
        let logits = loaded.network.valid().forward(tensor(&io, "input"));
        let difference = difference(logits, tensor(&io, "logits"));
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

/// Tensors to write to a file: shape and values of each.
type Content = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn write(content: &Content, path: &Path) {
    let bytes = content.iter().map(|(name, (shape, values))| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        (name, shape.clone(), bytes)
    });
    let bytes: Vec<_> = bytes.collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor");
        (name, view)
    });
    serialize_to_file(views.collect::<Vec<_>>(), None, path).expect("written");
}

fn contents(path: &Path) -> Content {
    let mut store = SafetensorsStore::from_file(path).map_indices_contiguous(false);
    let tensors = store.get_all_tensors().expect("tensors");
    let content = tensors.iter().map(|(name, tensor)| {
        let data = bridge::to_data(tensor).expect("data");
        let values = data.convert::<f32>().try_to_vec::<f32>().expect("floats");
        (name.clone(), (tensor.shape.to_vec(), values))
    });
    content.collect()
}

/// Every list of names and shapes of the reference implementation is a network, and nothing else.
#[test]
fn state_dicts_of_the_reference_implementation_have_every_tensor() {
    let networks = [
        ("allconv", NetworkName::AllConv),
        ("base", NetworkName::Base),
        ("mobilenetv2", NetworkName::MobileNetV2),
        ("resnet", NetworkName::ResNet18),
        ("resnext", NetworkName::ResNeXt29_2x64d),
        ("vgg", NetworkName::Vgg11),
    ];
    let folder = TempDir::new().expect("folder");
    for (list, network) in networks {
        for kind in ["xCNN", "xCNNlow_0.25"] {
            let keys = fixtures().join(format!("keys/keys_{list}_{kind}.json"));
            let keys = fs::read(keys).expect("a list");
            let keys: BTreeMap<String, Vec<usize>> = serde_json::from_slice(&keys).expect("JSON");
            let content = keys.into_iter().map(|(name, shape)| {
                let values = vec![1.0; shape.iter().product()];
                (name, (shape, values))
            });
            let file = folder.path().join("state.safetensors");
            write(&content.collect(), &file);
            let loaded = read(network, &file).unwrap_or_else(|error| panic!("{list}: {error}"));
            assert_eq!((loaded.channels, loaded.classes), (3, 10), "{list} {kind}");

            // And back: the same names, but for a counter that nothing needs.
            let again = folder.path().join("again.safetensors");
            let metadata = loaded.metadata_of(network);
            export::write(loaded, &again, false, true, &metadata).expect("written");
            let mut expected = contents(&file);
            expected.retain(|name, _| !name.ends_with("num_batches_tracked"));
            assert_eq!(contents(&again), expected, "{list} {kind}");
            fs::remove_file(file).expect("removed");
        }
    }
}

/// Every kind of layer of every family goes out and comes back with the same logits, and dense ones with
/// equal logits.
#[test]
fn networks_go_out_and_come_back() {
    let folder = TempDir::new().expect("folder");
    let device = Device::flex();
    let two_sided = LinearConv2dConfig::new([0, 0], [0, 0]).with_channel_ratio(0.5);
    let kinds = [
        ConvConfig::dense(),
        ConvConfig::auto(CoefficientsConfig::Full),
        ConvConfig::auto(CoefficientsConfig::LowRank { rank: 3 }),
        ConvConfig::auto(CoefficientsConfig::Sparse { sparsity: 0.5 }),
        ConvConfig::Auto(two_sided),
    ];
    let networks = [
        NetworkName::AllConv,
        NetworkName::Base,
        NetworkName::MobileNetV2,
        NetworkName::SqueezeNet,
    ];
    for name in networks {
        for conv in &kinds {
            let config = NetworkConfig {
                conv: conv.clone(),
                channels: 1,
                classes: 7,
            };
            let network = name.try_init(&config, &device).expect("valid");
            let images = Tensor::random([2, 1, 32, 32], Distribution::Default, &device);
            let expected = network.forward(images.clone());
            let record = folder.path().join("record.bpk");
            network.save_file(&record).expect("saved");
            let from_record = read(name, &record).expect("loaded");
            let metadata = from_record.metadata_of(name);
            let logits = from_record.network.valid().forward(images.clone());
            assert_eq!(logits.into_data(), expected.clone().into_data(), "{name}");
            for dense in [false, true] {
                let file = folder.path().join("out.safetensors");
                let copy = read(name, &record).expect("loaded");
                export::write(copy, &file, dense, true, &metadata).expect("written");
                let back = read(name, &file).expect("loaded");
                assert_eq!(back.is_linear, from_record.is_linear && !dense, "{name}");
                assert_eq!(back.metadata["network"], name.to_string());
                assert_eq!(back.metadata["classes"], "7");
                let logits = back.network.valid().forward(images.clone());
                let difference = difference(logits, expected.clone());
                let most = if dense { 1e-5 } else { 1e-6 };
                assert!(difference <= most, "{name} {conv:?} {dense}: {difference}");
            }
        }
    }
}

#[test]
fn what_is_no_checkpoint_of_the_network_is_named() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("bad.safetensors");
    let good = folder.path().join("good.safetensors");
    let loaded = read(NetworkName::Base, &checkpoint("base_sparse.ckpt")).expect("loaded");
    let metadata = loaded.metadata_of(NetworkName::Base);
    export::write(loaded, &good, false, true, &metadata).expect("written");
    let refusal = |change: &dyn Fn(&mut Content)| {
        let mut content = contents(&good);
        change(&mut content);
        write(&content, &file);
        read(NetworkName::Base, &file)
            .expect_err("refused")
            .to_string()
    };
    let absent = |name: &'static str| {
        refusal(&move |content: &mut Content| {
            content.remove(name).expect("there");
        })
    };
    for (name, named) in [
        ("feat.2.0.conv_weights", "feat.2.0.conv_weights"),
        ("feat.1.0.bias", "feat.1.0.bias"),
        ("feat.3.1.running_var", "feat.3.1.running_var"),
        ("fc.weight", "fc.weight"),
        ("fc.bias", "fc.bias"),
    ] {
        let error = absent(name);
        assert!(
            error.contains(named) && error.contains("missing"),
            "{error}"
        );
    }
    // What is left is a dense layer without its weight.
    assert!(absent("feat.2.0.linear_weights").contains("feat.2.0.weight"));

    let other = |name: &'static str, shape: &'static [usize], value: f32| {
        refusal(&move |content: &mut Content| {
            let values = vec![value; shape.iter().product()];
            content.insert(name.into(), (shape.to_vec(), values));
        })
    };
    let error = other("feat.0.0.conv_weights", &[16, 3, 5, 5], 1.0);
    assert!(
        error.contains("feat.0.0.conv_weights: expected shape [0, 3, 3, 3], found [16, 3, 5, 5]")
    );
    let error = other("fc.weight", &[10, 512], 1.0);
    assert!(
        error.contains("fc.weight: expected shape [10, 1024], found [10, 512]"),
        "{error}"
    );
    let error = other("feat.1.0.linear_weights", &[31, 32], 1.0);
    assert!(
        error.contains("feat.1.0.linear_weights: expected shape [32, 32]"),
        "{error}"
    );
    let error = other("feat.9.0.conv_weights", &[2, 2, 3, 3], 1.0);
    assert!(
        error.contains("1 tensors that base has no place for: feat.9.0.conv_weights"),
        "{error}"
    );
    let error = other("feat.1.0.mask", &[32, 32], 0.5);
    assert!(
        error.contains("feat.1.0.mask: expected a mask of zeros and ones"),
        "{error}"
    );
    let error = other("feat.1.0.order", &[64], 1.0);
    assert!(
        error.contains("feat.1.0.order: expected integers"),
        "{error}"
    );

    let error = read(NetworkName::ResNet18, &good)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("conv1: missing") && error.contains("resnet18"),
        "{error}"
    );
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    let folder = TempDir::new().expect("folder");
    let refusal = |bytes: &[u8]| {
        let file = folder.path().join("bad");
        fs::write(&file, bytes).expect("written");
        read(NetworkName::Base, &file)
            .expect_err("refused")
            .to_string()
    };
    for bytes in [&b""[..], b"<!DOCTYPE html>", b"\x89PNG\r\n\x1a\n"] {
        assert!(refusal(bytes).contains("this is no file of weights"));
    }
    for name in [
        "base_sparse.ckpt",
        "base_sparse.safetensors",
        "digits_full.bpk",
    ] {
        let bytes = fs::read(checkpoint(name)).expect("read");
        for length in [20, bytes.len() / 2, bytes.len() - 1] {
            let error = refusal(&bytes[..length]);
            assert!(error.contains("damaged"), "{name} {length}: {error}");
        }
    }
    // {'x': os.system('touch ran')}, as Python writes it.
    let mut pickle = b"\x80\x02}X\x01\x00\x00\x00xcposix\nsystem\nX\x09\x00\x00\x00".to_vec();
    pickle.extend(b"touch ran\x85Rs.");
    let error = refusal(&pickle);
    assert!(error.contains("would run `posix.system`"), "{error}");
    assert!(!Path::new("ran").exists());

    let absent = folder.path().join("absent.ckpt");
    assert!(matches!(
        read(NetworkName::Base, &absent),
        Err(Error::Io(_))
    ));
}

fn command(words: &str) -> Result<String, String> {
    let words = std::iter::once("base").chain(words.split_whitespace());
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    args.check(NetworkName::Base)?;
    let mut text = String::new();
    match used(NetworkName::Base, &args, &mut text) {
        Ok(()) => Ok(text),
        Err(error) => Err(text + &error.to_string()),
    }
}

#[test]
fn digits_drawn_by_hand_are_told() {
    let file = checkpoint("digits_full.bpk");
    let images = fixtures().join("images");
    let digits = [
        ("seven_28x28_grey.png", "7"),
        ("zero_64x48_rgb.png", "0"),
        ("four_200x200_rgba.png", "4"),
    ];
    for (image, digit) in digits {
        let image = images.join(image);
        let words = format!("--load {} --predict {}", file.display(), image.display());
        let answer = command(&words).expect("an answer");
        let expected = format!("{}: {digit} ", image.display());
        assert!(answer.starts_with(&expected), "{answer}");
        assert_eq!(answer.matches('%').count(), 3, "{answer}");
    }
    // The answer before an image that is none is not lost.
    let seven = images.join("seven_28x28_grey.png");
    let words = format!(
        "--load {0} --predict {1} {0}",
        file.display(),
        seven.display()
    );
    let error = command(&words).expect_err("no image");
    assert!(error.contains("digits_full.bpk"), "{error}");
    assert!(error.contains("seven_28x28_grey.png: 7 "), "{error}");
}

#[test]
fn a_loaded_network_is_tested_and_written_once() {
    let file = checkpoint("digits_full.bpk");
    let folder = TempDir::new().expect("folder");
    let out = folder.path().join("digits.safetensors");
    let words = format!(
        "--load {} --evaluate --export {}",
        file.display(),
        out.display()
    );
    let answer = command(&words).expect("tested");
    assert!(
        answer.contains("test accuracy 98.20 % of 1000 images"),
        "{answer}"
    );
    let loaded = read(NetworkName::Base, &out).expect("loaded");
    assert_eq!(loaded.metadata["dataset"], "mnist-mini");
    assert_eq!(loaded.metadata["test_accuracy"], "98.20");
    assert_eq!(loaded.metadata["variant"], "linearconv");

    let error = command(&words).expect_err("it is there");
    assert!(error.contains("--force"), "{error}");
    let words_of = |dataset: &str| {
        let seven = fixtures().join("images/seven_28x28_grey.png");
        let [out, seven] = [&out, &seven].map(|path| path.display());
        format!("--load {out} --dataset {dataset} --predict {seven}")
    };
    command(&words_of("mnist-mini")).expect("the same classes");
    let error = command(&words_of("fashion-mnist")).expect_err("other classes");
    assert!(error.contains("give --dataset mnist-mini"), "{error}");
    command(&format!("{words} --force")).expect("replaced");

    let words = format!("--load {} --evaluate --dataset cifar100", file.display());
    let error = command(&words).expect_err("other images");
    assert!(
        error.contains("1 channels in 10 classes") && error.contains("cifar100"),
        "{error}"
    );
    let words = format!("--load {} --export {}.txt", file.display(), out.display());
    assert!(
        command(&words)
            .expect_err("no format")
            .contains(".safetensors or .onnx")
    );
    assert!(
        command("--evaluate")
            .expect_err("no file")
            .contains("--load")
    );
    for flag in ["--variant full", "--evaluation factored"] {
        let words = format!("--load {} {flag}", file.display());
        let error = command(&words).expect_err("both");
        assert!(error.contains(&flag[..9]), "{error}");
    }
    // clap waives a requirement that excludes another flag of the command line.
    for flags in ["--variant dense --evaluate", "--layers all --predict 7.png"] {
        let error = command(flags).expect_err("nothing to test");
        assert!(error.contains("needs --load"), "{error}");
    }
    let words = format!(
        "--load {} --export {}/no/a.onnx",
        file.display(),
        out.display()
    );
    let error = command(&words.replace("onnx", "safetensors")).expect_err("no folder");
    assert!(error.contains("there is no folder"), "{error}");
    let names = NetworkName::value_variants();
    assert!(names.contains(&NetworkName::Base));
}

#[test]
fn a_loaded_network_is_trained_on() {
    let folder = TempDir::new().expect("folder");
    let out = folder.path().join("run");
    let words = format!(
        "base --load {} --epochs 1 --train-limit 60 --test-limit 50 --out-dir {}",
        checkpoint("digits_full.bpk").display(),
        out.display()
    );
    let args = Args::try_parse_from(words.split(' ')).expect("flags");
    let report = execute(NetworkName::Base, args).expect("trained");
    assert_eq!(report.variant, "loaded");
    // Three of its layers are full LinearConv ones, as in the file.
    assert_eq!(report.cost.parameters, 227_018);
    assert!(report.test_accuracy > 80.0, "{}", report.test_accuracy);
    let trained = read(NetworkName::Base, &out.join("model.bpk")).expect("loaded");
    assert!(trained.is_linear);
    assert_eq!(trained.metadata["network"], "base");
    let accuracy = format!("{:.2}", report.test_accuracy);
    assert_eq!(trained.metadata["test_accuracy"], accuracy);
}

#[test]
fn a_run_of_a_loaded_network_is_resumed() {
    let folder = TempDir::new().expect("folder");
    let out = folder.path().join("run");
    let go = |flags: &str| {
        let words = format!("base {flags}");
        let args = Args::try_parse_from(words.split(' ')).expect("flags");
        execute(NetworkName::Base, args).expect("trained")
    };
    let whole = go(&format!(
        "--load {} --epochs 2 --train-limit 40 --test-limit 50 --out-dir {}",
        checkpoint("digits_full.bpk").display(),
        out.display()
    ));
    // As if the run had been killed in its second epoch.
    fs::remove_file(out.join("report.json")).expect("a report");
    for part in ["model", "optim", "scheduler"] {
        fs::remove_file(out.join(format!("checkpoint/{part}-2.bpk"))).expect("a checkpoint");
    }
    let resumed = go(&format!("--resume {}", out.display()));
    assert_eq!(resumed.variant, "loaded");
    assert_eq!(resumed.epochs[1].valid_loss, whole.epochs[1].valid_loss);
    assert_eq!(resumed.test_accuracy, whole.test_accuracy);
}

/// The first entry of such an archive is as long as what Zip64 adds to its end: zip 9.8.2 then takes the
/// second for the first.
#[test]
fn an_archive_whose_name_has_21_letters_is_read() {
    let file = checkpoint("a_name_of_21_letters_.pth");
    let error = read(NetworkName::Base, &file).expect_err("another network");
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}
