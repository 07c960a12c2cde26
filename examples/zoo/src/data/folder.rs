use std::fs::File;
use std::path::{Path, PathBuf};

use super::{DatasetName, Error, download};

/// A file of a data set, as it is published.
pub struct Published {
    /// The address of the folder that holds the file.
    pub base: &'static str,
    /// The name of the file, at that address and on this machine.
    pub name: &'static str,
    /// The MD5 sum of its content.
    pub md5: &'static str,
}

impl Published {
    /// The address of the file.
    pub fn url(&self) -> String {
        format!("{}/{}", self.base, self.name)
    }
}

/// The folder of a data set, and whether missing files are downloaded.
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    pub(super) download: bool,
    /// Whether files may be missing, or hold fewer images than are published.
    pub partial: bool,
}

impl Folder {
    /// The given folder. Without a folder, but with `download`, it is `data/DATASET`.
    pub fn new(
        dataset: DatasetName,
        data_dir: Option<&Path>,
        download: bool,
    ) -> Result<Self, Error> {
        let path = match data_dir {
            Some(path) => path.into(),
            None if download => Path::new("data").join(dataset.to_string()),
            None => return Err(Error::NoFolder { dataset }),
        };
        Ok(Self {
            path,
            download,
            partial: false,
        })
    }

    /// The same folder, in which files may be missing.
    pub fn partial(self) -> Self {
        Self {
            partial: true,
            ..self
        }
    }

    /// The path of a file, which is downloaded if it is missing and downloads are allowed.
    pub fn file(&self, published: &Published) -> Result<PathBuf, Error> {
        let path = self.path.join(published.name);
        if self.download {
            download::ensure(published, &path)?;
            return Ok(path);
        }
        let exists = path.try_exists().map_err(|source| Error::Io {
            file: path.display().to_string(),
            source,
        })?;
        if !exists {
            return Err(Error::Missing {
                file: path.display().to_string(),
                url: published.url(),
                folder: self.path.display().to_string(),
            });
        }
        Ok(path)
    }
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Io {
        file: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_needed_unless_files_may_be_fetched() {
        let folder = |data_dir, download| Folder::new(DatasetName::Svhn, data_dir, download);
        let error = folder(None, false).err().expect("no folder").to_string();
        let expected = "svhn is read from files: give their folder with --data-dir, or --download";
        assert_eq!(error, expected);
        let path = folder(None, true).expect("a default").path;
        assert_eq!(path, Path::new("data").join("svhn"));
        let given = Path::new("given");
        assert_eq!(folder(Some(given), true).expect("given").path, given);
    }

    #[test]
    fn a_missing_file_is_named_with_its_address() {
        for (dataset, url) in [
            (
                DatasetName::Mnist,
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
            ),
            (
                DatasetName::Cifar10,
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            ),
            (
                DatasetName::Cifar100,
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            ),
            (
                DatasetName::Svhn,
                "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            ),
        ] {
            let folder = Path::new("no-such-folder");
            let error = dataset.load(Some(folder), false).expect_err("no files");
            let name = url.rsplit('/').next().expect("a name");
            let expected = format!(
                "{} is missing: fetch {url} into no-such-folder, or give --download",
                folder.join(name).display()
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}
