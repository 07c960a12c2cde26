//! The folder for the results of a run. No other run writes to it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::Error;

/// The file that a run locks while it writes to its folder.
pub(crate) const LOCK: &str = "lock";

/// A folder that only this process writes to, until the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: Option<File>,
    /// Whether the folder is removed if nothing is written to it. A folder that the user created stays.
    is_removable: bool,
}

impl Claim {
    /// Takes the folder `out_dir`, or without it a new folder with this name under `runs`.
    ///
    /// A folder is free if it is empty. A folder is also free if `starts_over` is true for it: an interrupted
    /// run has left nothing that is worth keeping. The content of such a folder is removed.
    ///
    /// # Errors
    /// - [`Error::OutDirInUse`]: `out_dir` is not free, or another process writes to it.
    /// - [`Error::Io`]: the folder cannot be created.
    pub fn new(
        out_dir: Option<&Path>,
        name: &str,
        starts_over: impl Fn(&Path) -> bool,
    ) -> Result<Self, Error> {
        match out_dir {
            Some(path) => Self::take(path, starts_over),
            None => Self::numbered(Path::new("runs"), name, starts_over),
        }
    }

    /// Takes the first free folder among `name`, `name-2`, `name-3` and so on.
    fn numbered(
        parent: &Path,
        name: &str,
        starts_over: impl Fn(&Path) -> bool,
    ) -> Result<Self, Error> {
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        for name in std::iter::once(name.to_string()).chain(numbered) {
            match Self::take(&parent.join(name), &starts_over) {
                Err(Error::OutDirInUse { .. }) => {}
                Err(error) => return Err(error),
                Ok(mut claim) => {
                    // Another process may have created it a moment ago, and taken none.
                    claim.is_removable = true;
                    return Ok(claim);
                }
            }
        }
        unreachable!("there is always another number")
    }

    fn take(path: &Path, starts_over: impl Fn(&Path) -> bool) -> Result<Self, Error> {
        let claim = Self::of_existing(path)?;
        let in_use = || Error::OutDirInUse { path: path.into() };
        if claim.entries()?.is_empty() {
            return Ok(claim);
        }
        if !starts_over(path) {
            return Err(in_use());
        }
        for entry in claim.entries()? {
            let removed = match entry.is_dir() {
                true => fs::remove_dir_all(&entry),
                false => fs::remove_file(&entry),
            };
            removed.map_err(|source| Error::Io {
                path: entry,
                source,
            })?;
        }
        Ok(claim)
    }

    /// Takes a folder and keeps its content.
    ///
    /// # Errors
    /// - [`Error::OutDirInUse`]: another process writes to the folder, or the path is a file.
    /// - [`Error::Io`]: the folder cannot be created or written to.
    pub fn of_existing(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            return Err(Error::OutDirInUse { path: path.into() });
        }
        let is_removable = !path.exists();
        create_folder(path)?;
        let file = path.join(LOCK);
        // Not truncated: a file of this name may be the user's.
        let options = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file);
        let io = |source| Error::Io {
            path: file.clone(),
            source,
        };
        let lock = options.map_err(io)?;
        if lock.metadata().map_err(io)?.len() > 0 {
            return Err(Error::OutDirInUse { path: path.into() });
        }
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::OutDirInUse { path: path.into() });
            }
            // On a file system without locks, a second run in the same folder is not noticed.
            Err(TryLockError::Error(_)) => None,
        };
        Ok(Self {
            path: path.into(),
            _lock: lock,
            is_removable,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of the folder without the lock.
    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let error = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        let entries = fs::read_dir(&self.path).map_err(error)?;
        let paths = entries.map(|entry| Ok(entry.map_err(error)?.path()));
        let paths: Result<Vec<_>, Error> = paths.collect();
        let mut paths = paths?;
        paths.retain(|path| *path != self.path.join(LOCK));
        Ok(paths)
    }
}

/// Removes the lock if nothing was written to the folder, and the folder too if it is removable.
impl Drop for Claim {
    fn drop(&mut self) {
        if self.entries().is_ok_and(|entries| entries.is_empty()) {
            let _ = fs::remove_file(self.path.join(LOCK));
            if self.is_removable {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// Creates a folder and those around it.
///
/// # Errors
/// Names the folder.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    fn never(_: &Path) -> bool {
        false
    }

    #[test]
    fn many_at_once_get_a_folder_each() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let parent = parent.path();
        let claims: Vec<Claim> = thread::scope(|scope| {
            let claim = || Claim::numbered(parent, "run", never).expect("a folder");
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|claim| claim.expect("no panic")).collect()
        });
        let paths: BTreeSet<_> = claims.iter().map(|claim| claim.path.clone()).collect();
        assert_eq!(paths.len(), 8);
        let expected = (2..=8).map(|number| parent.join(format!("run-{number}")));
        assert_eq!(paths, expected.chain([parent.join("run")]).collect());

        // None of them has written anything.
        drop(claims);
        assert_eq!(fs::read_dir(parent).expect("the parent").count(), 0);
    }

    #[test]
    fn a_folder_is_taken_once_and_kept_with_what_is_in_it() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let path = parent.path().join("deep/run");
        let in_use = |claim: Result<Claim, Error>| matches!(claim, Err(Error::OutDirInUse { .. }));
        let claim = Claim::new(Some(&path), "", never).expect("a new folder");
        assert!(in_use(Claim::new(Some(&path), "", |_| true)), "at work");
        assert!(in_use(Claim::of_existing(&path)), "at work");
        let file = path.join("report.json");
        fs::write(&file, "{}").expect("written");
        drop(claim);
        assert!(in_use(Claim::new(Some(&path), "", never)), "a result");
        assert!(in_use(Claim::new(Some(&file), "", |_| true)), "a file");
        assert!(file.exists());
        drop(Claim::of_existing(&path).expect("to go on"));
        assert!(file.exists());
        let claim = Claim::new(Some(&path), "", |_| true).expect("to start over");
        assert!(!file.exists());
        assert_eq!(claim.path(), path);
    }

    #[test]
    fn what_the_user_has_stays() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        drop(Claim::new(Some(empty.path()), "", never).expect("free"));
        let left = fs::read_dir(empty.path()).expect("the folder of the user");
        assert_eq!(left.count(), 0);

        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(LOCK);
        fs::write(&file, "a key").expect("written");
        let claim = Claim::new(Some(folder.path()), "", |_| true);
        assert!(matches!(claim, Err(Error::OutDirInUse { .. })));
        assert_eq!(fs::read_to_string(&file).expect("kept"), "a key");
    }
}
