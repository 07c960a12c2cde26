//! No bytes from outside break a reader: files and command lines that are valid but for some random
//! changes are read or refused, and what is read is whole.
//!
//! `PROPTEST_CASES=50000 cargo test -p linearconv-zoo --test outside_bytes` tries more of them. The fuzz targets
//! in `fuzz/` hold the same readers to the same, with changes that reach new code.

mod outside;

use std::fs;
use std::io::Cursor;
use std::sync::LazyLock;

use burn::tensor::Device;
use flate2::Crc;
use image::{GrayImage, ImageFormat};
use linearconv_zoo::data::{DatasetName, read_image};
use linearconv_zoo::models::NetworkName;
use linearconv_zoo::train::load_weights;
use linearconv_zoo::weights::load;
use outside::Reader;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

/// A change of a file, at a random place.
#[derive(Clone, Debug)]
enum Change {
    Bit(Index, u8),
    Byte(Index, u8),
    /// Four bytes: many sizes and offsets are that long.
    Number(Index, u32),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        any::<u32>(),
        0..300u32,
        Just(u32::MAX),
        Just(i32::MAX as u32),
        Just(1 << 31)
    ];
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), number).prop_map(|(at, number)| Change::Number(at, number)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, to)| Change::Remove(at, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, to)| Change::Repeat(at, to)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..6)
}

fn changed(valid: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let place = |at: &Index| at.index(bytes.len());
        let range = |at: &Index, to: &Index| {
            let (at, to) = (place(at), place(to));
            at.min(to)..at.max(to)
        };
        match change {
            Change::Bit(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Change::Byte(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Change::Number(at, number) => {
                let at = place(at);
                let number = if at % 2 == 0 {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                };
                let length = number.len().min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&number[..length]);
            }
            Change::Cut(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
            Change::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, to) => {
                let range = range(at, to);
                bytes.drain(range);
            }
            Change::Repeat(at, to) => {
                let range = range(at, to);
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, part);
            }
        }
    }
    bytes
}

/// Words of a command line, some of which belong together.
fn words() -> impl Strategy<Value = Vec<String>> {
    const FLAGS: &[&str] = &[
        "--variant",
        "--rank",
        "--sparsity",
        "--channel-ratio",
        "--layers",
        "--evaluation",
        "--dataset",
        "--data-dir",
        "--backend",
        "--devices",
        "--parallel",
        "--recipe",
        "--epochs",
        "--batch-size",
        "--lr",
        "--correlation-weight",
        "--seed",
        "--train-limit",
        "--test-limit",
        "--out-dir",
        "--resume",
        "--partial",
        "--download",
        "--network",
        "--variants",
        "--parameters",
        "--error",
        "--uniform",
        "--multiply-adds",
        "--lose",
        "--search",
        "--data-aware",
        "--measure",
        "--in-turn",
        "--normalize",
        "--targets",
        "--fine-tune",
        "--fine-tune-lr",
        "--calibration-images",
        "--csv",
    ];
    const VALUES: &[&str] = &[
        "dense",
        "full",
        "rank",
        "low-rank",
        "sparse",
        "all",
        "auto",
        "paper",
        "fast",
        "base",
        "vgg11",
        "mnist-mini",
        "cifar10",
        "flex",
        "wgpu:1",
        "remote:",
        "0",
        "1",
        "-1",
        "0.5",
        "1e308",
        "-0.0",
        "NaN",
        "inf",
        "18446744073709551616",
        "4294967296",
        "",
    ];
    let flag = prop::sample::select(FLAGS).prop_map(String::from);
    let value = prop::sample::select(VALUES).prop_map(String::from);
    let any_word = prop::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter);
    let word = prop_oneof![4 => flag, 4 => value, 1 => any_word];
    prop::collection::vec(word, 0..7)
}

/// What a random change once made of a file of weights.
#[test]
fn integers_in_the_place_of_weights_are_an_error() {
    let mut bytes = outside::record();
    let floats = bytes
        .windows(3)
        .position(|word| word == b"F32")
        .expect("their type");
    bytes[floats] = b'U';
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bpk");
    fs::write(&path, bytes).expect("written");
    let error = load_weights(outside::model(), &path)
        .expect_err("integers")
        .to_string();
    assert!(error.contains("a tensor of another type"), "{error}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}

/// A tensor can repeat one value of its file. The file of this test has 12 kB, and its tensor 4 GB.
#[test]
fn a_value_that_is_repeated_without_end_is_an_error() {
    let mut pickle = outside::pickle();
    let mut place = 0;
    let mut change = |from: &[u8], to: &[u8]| {
        let mut rest = pickle[place..].windows(from.len());
        place += rest.position(|bytes| bytes == from).expect("it is there");
        pickle.splice(place..place + from.len(), to.iter().copied());
    };
    // The shape of the weight, [10, 1024], and its strides; then those of the bias. There are a million classes.
    change(b"fc.weight", b"fc.weight");
    change(b"K\x0aM\0\x04\x86", b"J\x40\x42\x0f\0M\0\x04\x86");
    change(b"M\0\x04K\x01\x86", b"K\0K\x01\x86");
    change(b"K\x0a\x85", b"J\x40\x42\x0f\0\x85");
    change(b"K\x01\x85", b"K\0\x85");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("repeated.ckpt");
    fs::write(&path, outside::pytorch(&pickle)).expect("written");
    let loaded = load(NetworkName::Base, &path, &Device::flex());
    let error = loaded.expect_err("too large").to_string();
    assert!(
        error.contains("fc.weight: it has more values than the file can hold"),
        "{error}"
    );
}

fn grey_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = GrayImage::new(width, height);
    image.write_to(&mut file, ImageFormat::Png).expect("memory");
    file.into_inner()
}

fn read(image: &[u8]) -> Result<[usize; 4], String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image.png");
    fs::write(&path, image).expect("written");
    let image = read_image(&path, DatasetName::Cifar10, &Device::flex());
    image
        .map(|image| image.dims())
        .map_err(|error| error.to_string())
}

#[test]
fn an_image_that_claims_too_much_allocates_nothing() {
    let mut image = grey_png(1, 1);
    // The header: its length, its type, then the width and the height, and at its end a checksum.
    image[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let mut sum = Crc::new();
    sum.update(&image[12..29]);
    image[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    let error = read(&image).expect_err("60,000 by 60,000 pixels");
    assert!(error.contains("limit"), "{error}");
}

/// Scaled to the width of a network's images, this image would be 128 million pixels high.
#[test]
fn a_narrow_image_needs_no_more_memory_than_its_file_holds() {
    assert_eq!(read(&grey_png(1, 4_000_000)), Ok([1, 3, 32, 32]));
}

/// One of some readers reads its valid bytes, and survives changes of them.
fn survives(readers: &[Reader], which: Index, changes: &[Change]) -> Result<(), TestCaseError> {
    let reader = which.get(readers);
    let folder = tempfile::tempdir().expect("a folder");
    let read = reader.reads(&changed(&reader.valid, changes), folder.path());
    prop_assert!(read || !changes.is_empty(), "{} is valid", reader.name);
    Ok(())
}

macro_rules! survive_changes {
    ($($readers:ident),*) => {
        proptest! {
            $(
                #[test]
                fn $readers(which in any::<Index>(), changes in changes()) {
                    static READERS: LazyLock<Vec<Reader>> = LazyLock::new(outside::$readers);
                    survives(&READERS, which, &changes)?;
                }
            )*
        }
    };
}

survive_changes!(
    idx,
    cifar,
    svhn,
    checkpoint,
    plan,
    config,
    image,
    command_line
);

proptest! {
    #[test]
    fn words_of_a_command_line(words in words()) {
        outside::are_flags(words.iter().map(String::as_str));
    }
}

#[test]
fn every_reader_reads_its_valid_bytes() {
    for reader in outside::READERS.iter().flat_map(|(_, readers)| readers()) {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            reader.reads(&reader.valid, folder.path()),
            "{}",
            reader.name
        );
    }
}
