//! The numbers of a figure.

use std::path::Path;

use crate::Error;

/// Writes rows of as many cells as the header has. No cell holds a comma.
///
/// # Errors
/// Names the file.
pub(super) fn write(
    path: &Path,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), Error> {
    let mut text = header.join(",") + "\n";
    for row in rows {
        text += &(row.join(",") + "\n");
    }
    crate::files::write(path, text.as_bytes()).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}
