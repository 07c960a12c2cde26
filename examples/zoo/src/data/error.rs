use std::io;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::DatasetName;

/// Why a data set could not be read. Every message names the file.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A data set that is not embedded was asked for without a folder.
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
        /// Where it is published.
        url: String,
        /// Where it belongs.
        folder: String,
    },

    /// An archive or folder without one of its files.
    #[error("{file}: no {entry} in it; fetch it again, or train on what there is by --partial")]
    NoEntry {
        /// The archive or folder.
        file: String,
        /// What it should hold.
        entry: &'static str,
    },

    /// A file with fewer or more images than are published.
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

    /// A set without images to train on or to test on.
    #[error("{dataset}: {train} images to train on and {test} to test on; both are needed")]
    Empty {
        /// The data set.
        dataset: DatasetName,
        /// The number of training images.
        train: usize,
        /// The number of test images.
        test: usize,
    },

    /// The data set in a form that is not read.
    #[error("{file} is {found}; {instead}")]
    OtherForm {
        /// The file.
        file: String,
        /// The form.
        found: &'static str,
        /// What would do.
        instead: &'static str,
    },

    /// A file could not be read or unpacked.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system or the decoder said.
        source: io::Error,
    },

    /// A file of another kind.
    #[error("{file}: magic number {found:#010x} at offset 0, expected {expected:#010x}")]
    Magic {
        /// The file.
        file: String,
        /// The number in the file.
        found: u32,
        /// The number that belongs there.
        expected: u32,
    },

    /// A file of another kind, for kinds without a magic number that tells.
    #[error("{file}: not {expected}, or damaged")]
    Format {
        /// The file.
        file: String,
        /// The kind that was expected.
        expected: &'static str,
    },

    /// A variable that is missing, or of another type or shape.
    #[error("{file}: variable `{variable}` is {found}, expected {expected}")]
    Variable {
        /// The file.
        file: String,
        /// The variable.
        variable: &'static str,
        /// What the file has.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },

    /// Images of another size.
    #[error("{file}: images of {found:?} pixels (offset 8), expected {expected:?}")]
    Size {
        /// The file.
        file: String,
        /// Height and width in the file.
        found: [u32; 2],
        /// Height and width of the data set.
        expected: [u32; 2],
    },

    /// A file that ends early, or goes on after its end.
    #[error("{file}: {found} bytes of data, expected {expected}, which its header announces")]
    Length {
        /// The file.
        file: String,
        /// Bytes after the header, counted up to one more than expected.
        found: u64,
        /// Bytes that the header announces.
        expected: u64,
    },

    /// A file that ends within a number or a record.
    #[error("{file}: ends after {found} of the {expected} bytes at offset {offset}")]
    CutOff {
        /// The file.
        file: String,
        /// Where the incomplete bytes begin.
        offset: u64,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },

    /// Another number of labels than of images.
    #[error("{file}: {labels} labels for {images} images")]
    Count {
        /// The file of the labels.
        file: String,
        /// The number of labels.
        labels: usize,
        /// The number of images.
        images: usize,
    },

    /// A label without a class.
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
        /// Its place.
        record: usize,
        /// The labels that have a class.
        expected: RangeInclusive<u8>,
    },

    /// A file could not be fetched.
    #[error(
        "fetching {url}: {source}; {part} keeps what has come, the same command goes on from there; or \
         fetch it by hand to {file}"
    )]
    Download {
        /// The address.
        url: String,
        /// Where it belongs.
        file: String,
        /// What has come so far.
        part: String,
        /// What the network or the operating system said.
        source: io::Error,
    },

    /// A server that does not hand out a file.
    #[error(
        "fetching {url}: the server answered {status}, expected 200; try again later, or find the file \
         elsewhere and save it as {file}"
    )]
    Status {
        /// The address.
        url: String,
        /// Where it belongs.
        file: String,
        /// The status of the answer.
        status: u16,
    },

    /// Another content than the published one has come; it is removed.
    #[error("{file}: MD5 sum {found} after fetching {url}, expected {expected}; it is removed")]
    Checksum {
        /// The file.
        file: String,
        /// The sum of its content.
        found: String,
        /// Where it is published.
        url: String,
        /// The published sum.
        expected: &'static str,
    },

    /// A file under the name of a published one, but with another content.
    #[error(
        "{file}: MD5 sum {found}, but {url} has {expected}: remove it to fetch that one, \
         or leave out --download to read it as it is"
    )]
    OtherFile {
        /// The file.
        file: String,
        /// The sum of its content.
        found: String,
        /// Where the published one is.
        url: String,
        /// The published sum.
        expected: &'static str,
    },

    /// Too few images to split off a validation set.
    #[error("{found} training images, at least 2 are needed to hold one out for validation")]
    TooFew {
        /// The number of images.
        found: usize,
    },

    /// Too few images for every device to have one of each batch.
    #[error(
        "{found} training images in batches that {devices} devices share leave a device without \
         one; use fewer --devices, a larger --batch-size or more images"
    )]
    TooFewForDevices {
        /// The number of images.
        found: usize,
        /// The number of devices.
        devices: usize,
    },
}
