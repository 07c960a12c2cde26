//! Files that are written completely or not at all.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads a value from JSON.
///
/// # Errors
/// [`Error::Io`], which names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let json = fs::read(path);
    json.and_then(|json| serde_json::from_slice(&json).map_err(io::Error::from))
        .map_err(|source| Error::Io {
            path: path.into(),
            source,
        })
}

/// The extension that a file has until it is complete.
pub(crate) const PART: &str = "part";

/// Writes a value as JSON. On an error no incomplete file is left.
///
/// # Errors
/// [`Error::Io`], which names the file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(value).map_err(io::Error::from);
    let written = json.and_then(|json| write(path, (json + "\n").as_bytes()));
    written.map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}

/// Writes bytes to a file of another name, and renames it once it is complete.
///
/// # Errors
/// The errors of the file system.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_added_extension(PART);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.inspect_err(|_| {
        // On a full disk, the incomplete file may be what fills it.
        let _ = fs::remove_file(&part);
    })
}

/// Writes bytes to a file that does not exist.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists), and the other errors of the file system.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Only the process that creates the file writes it.
    drop(fs::File::create_new(path)?);
    write(path, bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("network.onnx");
        write_new(&file, b"first").expect("written");
        let error = write_new(&file, b"second").expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).expect("kept"), b"first");
        write(&file, b"second").expect("replaced");
        assert_eq!(fs::read(&file).expect("replaced"), b"second");
    }
}
