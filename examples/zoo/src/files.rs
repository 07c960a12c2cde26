//! Files that are whole or not there.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads a value from JSON.
///
/// # Errors
/// Names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let json = fs::read(path);
    json.and_then(|json| serde_json::from_slice(&json).map_err(io::Error::from))
        .map_err(|source| Error::Io {
            path: path.into(),
            source,
        })
}

/// Behind the name of a file that is not yet whole.
pub(crate) const PART: &str = "part";

/// Writes a value as JSON: all of it, or nothing.
///
/// # Errors
/// Names the file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(value).map_err(io::Error::from);
    let written = json.and_then(|json| write(path, (json + "\n").as_bytes()));
    written.map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}

/// Writes bytes: all of them, or nothing.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_added_extension(PART);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.inspect_err(|_| {
        // It may be what fills the disk.
        let _ = fs::remove_file(&part);
    })
}
