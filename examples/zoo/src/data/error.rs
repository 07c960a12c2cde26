use std::io;

use thiserror::Error;

/// Why a data set could not be read. Every message names the file.
#[derive(Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A data set that is not embedded was asked for without a folder.
    #[error("{dataset} is read from files: give --data-dir with a folder that holds {files}")]
    NoFolder {
        /// The data set.
        dataset: &'static str,
        /// The files it needs.
        files: String,
    },

    /// A file is missing.
    #[error("{file} is missing: {hint}")]
    Missing {
        /// The file.
        file: String,
        /// What to fetch, and where to put it.
        hint: String,
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
    #[error("{file}: label {label} of record {record}, expected less than {classes}")]
    Label {
        /// The file.
        file: String,
        /// The label.
        label: u8,
        /// Its place.
        record: usize,
        /// The number of classes.
        classes: usize,
    },

    /// Too few images to split off a validation set.
    #[error("{found} training images, at least 2 are needed to hold one out for validation")]
    TooFew {
        /// The number of images.
        found: usize,
    },
}
