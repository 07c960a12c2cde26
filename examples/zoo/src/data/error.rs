use std::io;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::DatasetName;

/// Why a data set could not be read. Every message names the file.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The data set is read from files, and no folder was given.
    #[error("{dataset} is read from files: give their folder with --data-dir, or --download")]
    NoFolder {
        /// The data set.
        dataset: DatasetName,
    },

    /// A file is missing.
    #[error("{file} is missing: fetch {url} into {folder}, or give --download")]
    Missing {
        /// The file.
        file: String,
        /// The address of the published file.
        url: String,
        /// The folder that it belongs in.
        folder: String,
    },

    /// An archive or a folder lacks one of its files.
    #[error("{file}: no {entry} in it; fetch it again, or train on what there is by --partial")]
    NoEntry {
        /// The archive or folder.
        file: String,
        /// The file that it lacks.
        entry: &'static str,
    },

    /// A file has fewer or more images than are published.
    #[error(
        "{file}: {found} images, {expected} are published; fetch it again, or train on what there \
         is by --partial"
    )]
    Incomplete {
        /// The file.
        file: String,
        /// The number of images in it.
        found: usize,
        /// The number that is published.
        expected: usize,
    },

    /// The data set has no training images or no test images.
    #[error("{dataset}: {train} images to train on and {test} to test on; both are needed")]
    Empty {
        /// The data set.
        dataset: DatasetName,
        /// The number of training images.
        train: usize,
        /// The number of test images.
        test: usize,
    },

    /// The data set is in a form that is not read.
    #[error("{file} is {found}; {instead}")]
    OtherForm {
        /// The file.
        file: String,
        /// The form that was found.
        found: &'static str,
        /// The form that is read.
        instead: &'static str,
    },

    /// A file could not be read or unpacked.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The error of the operating system or of the decoder.
        source: io::Error,
    },

    /// The file is of another kind, by its magic number.
    #[error("{file}: magic number {found:#010x} at offset 0, expected {expected:#010x}")]
    Magic {
        /// The file.
        file: String,
        /// The number in the file.
        found: u32,
        /// The number that a file of this kind has.
        expected: u32,
    },

    /// The file is of another kind, or damaged. For kinds whose magic number does not tell.
    #[error("{file}: not {expected}, or damaged")]
    Format {
        /// The file.
        file: String,
        /// The kind that was expected.
        expected: &'static str,
    },

    /// A variable is missing, or has another type or shape.
    #[error("{file}: variable `{variable}` is {found}, expected {expected}")]
    Variable {
        /// The file.
        file: String,
        /// The variable.
        variable: &'static str,
        /// Type and shape in the file.
        found: String,
        /// Type and shape that were expected.
        expected: &'static str,
    },

    /// The images have another size.
    #[error("{file}: images of {found:?} pixels (offset 8), expected {expected:?}")]
    Size {
        /// The file.
        file: String,
        /// Height and width in the file.
        found: [u32; 2],
        /// Height and width of the data set.
        expected: [u32; 2],
    },

    /// The file has fewer or more bytes than its header announces.
    #[error("{file}: {found} bytes of data, expected {expected}, which its header announces")]
    Length {
        /// The file.
        file: String,
        /// The number of bytes after the header. Counting stops at one byte more than expected.
        found: u64,
        /// Bytes that the header announces.
        expected: u64,
    },

    /// A file that ends within a number or a record.
    #[error("{file}: ends after {found} of the {expected} bytes at offset {offset}")]
    CutOff {
        /// The file.
        file: String,
        /// The offset where the incomplete bytes begin.
        offset: u64,
        /// The number of bytes from there on.
        found: usize,
        /// The number of bytes that there should be.
        expected: usize,
    },

    /// The numbers of labels and of images differ.
    #[error("{file}: {labels} labels for {images} images")]
    Count {
        /// The file of the labels.
        file: String,
        /// The number of labels.
        labels: usize,
        /// The number of images.
        images: usize,
    },

    /// A label stands for no class.
    #[error(
        "{file}: label {label} of record {record}, expected {} to {}",
        expected.start(),
        expected.end()
    )]
    Label {
        /// The file.
        file: String,
        /// The label.
        label: f64,
        /// The number of its record, from 0.
        record: usize,
        /// The labels that stand for classes.
        expected: RangeInclusive<u8>,
    },

    /// A file could not be downloaded.
    #[error(
        "fetching {url}: {source}; {part} keeps the bytes so far, and the same command continues; \
         or fetch it by hand to {file}"
    )]
    Download {
        /// The address.
        url: String,
        /// The path that the file belongs at.
        file: String,
        /// The file with the bytes that were downloaded so far.
        part: String,
        /// The error of the network or of the operating system.
        source: io::Error,
    },

    /// The server did not send the file.
    #[error(
        "fetching {url}: the server answered {status}, expected 200; try again later, or find the file \
         elsewhere and save it as {file}"
    )]
    Status {
        /// The address.
        url: String,
        /// The path that the file belongs at.
        file: String,
        /// The status of the answer.
        status: u16,
    },

    /// The server sent another content than the published one. The file is removed.
    #[error("{file}: MD5 sum {found} after fetching {url}, expected {expected}; it is removed")]
    Checksum {
        /// The file.
        file: String,
        /// The sum of its content.
        found: String,
        /// The address of the published file.
        url: String,
        /// The published sum.
        expected: &'static str,
    },

    /// A file has the name of a published file, but another content.
    #[error(
        "{file}: MD5 sum {found}, but {url} has {expected}: remove the file to fetch the published \
         one, or leave out --download to read the file as it is"
    )]
    OtherFile {
        /// The file.
        file: String,
        /// The sum of its content.
        found: String,
        /// The address of the published file.
        url: String,
        /// The published sum.
        expected: &'static str,
    },

    /// There are too few images to hold some out for validation.
    #[error("{found} training images, at least 2 are needed to hold one out for validation")]
    TooFew {
        /// The number of images.
        found: usize,
    },

    /// There are too few images for every device to have an image of each batch.
    #[error(
        "no batch of {found} training images has an image for each of {devices} devices; use fewer \
         --devices, a larger --batch-size or more images"
    )]
    TooFewForDevices {
        /// The number of images.
        found: usize,
        /// The number of devices.
        devices: usize,
    },
}
