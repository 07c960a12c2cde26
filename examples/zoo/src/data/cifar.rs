//! CIFAR-10 and CIFAR-100: small photographs (A. Krizhevsky,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>) in their binary layout.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use tar::Archive;

use super::folder::{self, Folder, Published};
use super::{Dataset, Error, Images};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];

/// The files of a data set, and the layout of a record: some labels, then the pixels.
pub struct Cifar {
    /// The archive with all files.
    pub archive: Published,
    /// The folder that the archive unpacks to.
    folder: &'static str,
    /// The files with training images, and the number of images in each.
    train: &'static [&'static str],
    train_images: usize,
    /// The file with test images, and the number of its images.
    test: &'static str,
    test_images: usize,
    /// The folder and the archive of the version for Python, which is not read.
    pickled: [&'static str; 2],
    /// The number of labels of a record. The last label is used.
    labels: usize,
    classes: u8,
}

/// CIFAR-10.
pub static CIFAR10: Cifar = Cifar {
    archive: Published {
        base: "https://www.cs.toronto.edu/~kriz",
        name: "cifar-10-binary.tar.gz",
        md5: "c32a1d4ab5d03f1284b67883e8d87530",
    },
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    train_images: 10_000,
    test: "test_batch.bin",
    test_images: 10_000,
    pickled: ["cifar-10-batches-py", "cifar-10-python.tar.gz"],
    labels: 1,
    classes: 10,
};

/// CIFAR-100. Its records have a coarse label before the fine label.
pub static CIFAR100: Cifar = Cifar {
    archive: Published {
        base: "https://www.cs.toronto.edu/~kriz",
        name: "cifar-100-binary.tar.gz",
        md5: "03b5dce01913d631647c71ecec9e9cb8",
    },
    folder: "cifar-100-binary",
    train: &["train.bin"],
    train_images: 50_000,
    test: "test.bin",
    test_images: 10_000,
    pickled: ["cifar-100-python", "cifar-100-python.tar.gz"],
    labels: 2,
    classes: 100,
};

impl Cifar {
    /// Reads the unpacked files if all are there, or else the archive, or else the unpacked files that are
    /// there.
    pub fn read(&self, folder: &Folder) -> Result<Dataset, Error> {
        let unpacked = [folder.path.clone(), folder.path.join(self.folder)];
        let mut whole = unpacked.iter();
        let whole = whole.find(|path| self.files().all(|name| path.join(name).exists()));
        let mut begun = unpacked.iter();
        let mut begun = || begun.find(|path| self.files().any(|name| path.join(name).exists()));
        let (path, mut parts) = match whole {
            Some(path) => (path.clone(), self.read_unpacked(path)?),
            None => match (folder.file(&self.archive), begun()) {
                (Ok(path), _) => (path.clone(), self.read_archive(&path)?),
                (Err(error), Some(_)) if folder.download => return Err(error),
                (Err(_), Some(path)) => (path.clone(), self.read_unpacked(path)?),
                (Err(error), None) => return Err(self.if_pickled(folder).unwrap_or(error)),
            },
        };
        let mut take = |name: &'static str, expected| match parts.remove(name) {
            Some(images) if images.len() == expected || folder.partial => Ok(Some(images)),
            Some(images) => Err(Error::Incomplete {
                file: path.join(name).display().to_string(),
                found: images.len(),
                expected,
            }),
            None if folder.partial => Ok(None),
            None => Err(Error::NoEntry {
                file: path.display().to_string(),
                entry: name,
            }),
        };
        let none = || Images {
            pixels: Vec::new(),
            labels: Vec::new(),
            shape: SHAPE,
        };
        let mut train = none();
        for name in self.train {
            if let Some(part) = take(name, self.train_images)? {
                train.pixels.extend(part.pixels);
                train.labels.extend(part.labels);
            }
        }
        let test = take(self.test, self.test_images)?;
        Ok(Dataset {
            train,
            test: test.unwrap_or_else(none),
        })
    }

    /// The error for a folder that holds the version for Python in place of the files.
    fn if_pickled(&self, folder: &Folder) -> Option<Error> {
        let mut pickled = self.pickled.iter().map(|name| folder.path.join(name));
        let found = pickled.find(|path| path.exists())?;
        Some(Error::OtherForm {
            file: found.display().to_string(),
            found: "the version for Python, which is pickled",
            instead: "the binary version is read: --download fetches it",
        })
    }

    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }

    /// The file that a path in an archive names, if it is a file of the data set.
    fn part(&self, path: &Path) -> Option<&'static str> {
        self.files()
            .find(|name| path.file_name() == Some(OsStr::new(name)))
    }

    fn read_unpacked(&self, folder: &Path) -> Result<BTreeMap<&'static str, Images>, Error> {
        self.files()
            .map(|name| (name, folder.join(name)))
            .filter(|(_, path)| path.exists())
            .map(|(name, path)| {
                let content = BufReader::new(folder::open(&path)?);
                Ok((name, self.read_part(path.display().to_string(), content)?))
            })
            .collect()
    }

    fn read_archive(&self, path: &Path) -> Result<BTreeMap<&'static str, Images>, Error> {
        let file = path.display().to_string();
        let io = |source| Error::Io {
            file: file.clone(),
            source,
        };
        let mut parts = BTreeMap::new();
        let content = GzDecoder::new(BufReader::new(folder::open(path)?));
        let mut archive = Archive::new(content);
        for entry in archive.entries().map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = self.part(&entry.path().map_err(io)?);
            // A sparse entry could claim any size. It is not a regular file, and so it is not read.
            if let Some(name) = name
                && entry.header().entry_type().is_file()
            {
                parts.insert(name, self.read_part(format!("{file}: {name}"), entry)?);
            }
        }
        // gzip has a checksum at its end: read to the end, so that damage is noticed.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(io)?;
        Ok(parts)
    }

    fn read_part(&self, file: String, mut content: impl Read) -> Result<Images, Error> {
        let size = self.labels + PIXELS;
        let mut record = Vec::with_capacity(size);
        let mut images = Images {
            pixels: Vec::new(),
            labels: Vec::new(),
            shape: SHAPE,
        };
        loop {
            record.clear();
            let read = (&mut content).take(size as u64).read_to_end(&mut record);
            match read {
                Ok(0) if !images.is_empty() => return Ok(images),
                Ok(found) if found == size => {}
                Ok(found) => {
                    return Err(Error::CutOff {
                        file,
                        offset: images.len() as u64 * size as u64,
                        found,
                        expected: size,
                    });
                }
                Err(source) => return Err(Error::Io { file, source }),
            }
            let label = record[self.labels - 1];
            if label >= self.classes {
                return Err(Error::Label {
                    file,
                    label: label.into(),
                    record: images.len(),
                    expected: 0..=self.classes - 1,
                });
            }
            images.labels.push(label);
            images.pixels.extend_from_slice(&record[self.labels..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::DatasetName;
    use super::*;

    /// Records whose pixels are the first label plus their place, modulo 256.
    fn records(labels: &[&[u8]]) -> Vec<u8> {
        let record = |labels: &&[u8]| {
            let pixels = (0..PIXELS).map(|place| (place + usize::from(labels[0])) as u8);
            labels.iter().copied().chain(pixels).collect::<Vec<u8>>()
        };
        labels.iter().flat_map(record).collect()
    }

    fn cifar10() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("data_batch_2.bin", records(&[&[9]])),
            ("test_batch.bin", records(&[&[4], &[5]])),
            ("data_batch_1.bin", records(&[&[3], &[0]])),
            ("readme.html", b"no data".to_vec()),
        ]
    }

    fn write_files(folder: &Path, files: &[(&str, Vec<u8>)]) {
        fs::create_dir_all(folder).expect("folder");
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("written");
        }
    }

    fn archive(folder: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            let path = format!("{folder}/{name}");
            archive
                .append_data(&mut header, path, content.as_slice())
                .expect("memory");
        }
        let encoder = archive.into_inner().expect("memory");
        encoder.finish().expect("memory")
    }

    #[track_caller]
    fn assert_cifar10(folder: &Path) {
        let data = DatasetName::Cifar10.load_partial(Some(folder));
        let data = data.expect("valid");
        assert_eq!(data.train.labels, [3, 0, 9]);
        assert_eq!(data.test.labels, [4, 5]);
        for images in [data.train, data.test] {
            assert_eq!(images.shape, [3, 32, 32]);
            for (index, label) in images.labels.iter().enumerate() {
                assert_eq!(images.image(index), &records(&[&[*label]])[1..]);
            }
        }
    }

    fn error(dataset: DatasetName, folder: &Path) -> String {
        let error = dataset.load_partial(Some(folder)).expect_err("invalid");
        // The name of the folder is different in every run.
        error.to_string().replace(&folder.display().to_string(), "")
    }

    #[test]
    fn an_archive_and_unpacked_files_hold_the_same_images() {
        let folder = tempfile::tempdir().expect("folder");
        let bytes = archive("cifar-10-batches-bin", &cifar10());
        write_files(folder.path(), &[("cifar-10-binary.tar.gz", bytes)]);
        assert_cifar10(folder.path());
        for inner in ["", "cifar-10-batches-bin"] {
            let folder = tempfile::tempdir().expect("folder");
            write_files(&folder.path().join(inner), &cifar10());
            assert_cifar10(folder.path());
        }
    }

    #[test]
    fn the_fine_label_of_cifar100_is_used() {
        let files = [
            ("train.bin", records(&[&[19, 99], &[0, 50]])),
            ("test.bin", records(&[&[7, 0]])),
        ];
        let folder = tempfile::tempdir().expect("folder");
        let bytes = archive("cifar-100-binary", &files);
        write_files(folder.path(), &[("cifar-100-binary.tar.gz", bytes)]);
        let data = DatasetName::Cifar100.load_partial(Some(folder.path()));
        let data = data.expect("valid");
        assert_eq!(data.train.labels, [99, 50]);
        assert_eq!(data.test.labels, [0]);
        assert_eq!(data.train.image(1), &records(&[&[0, 50]])[2..]);
    }

    #[test]
    fn refuses_records_that_are_cut_off_or_of_no_class() {
        let cut = cifar10()[2].1[..4000].to_vec();
        let folder = tempfile::tempdir().expect("folder");
        for (dataset, test, train, content, expected) in [
            (
                DatasetName::Cifar10,
                "test_batch.bin",
                "data_batch_1.bin",
                cut,
                "/data_batch_1.bin: ends after 927 of the 3073 bytes at offset 3073",
            ),
            (
                DatasetName::Cifar10,
                "test_batch.bin",
                "data_batch_1.bin",
                vec![],
                "/data_batch_1.bin: ends after 0 of the 3073 bytes at offset 0",
            ),
            (
                DatasetName::Cifar10,
                "test_batch.bin",
                "data_batch_1.bin",
                records(&[&[9], &[10]]),
                "/data_batch_1.bin: label 10 of record 1, expected 0 to 9",
            ),
            (
                DatasetName::Cifar100,
                "test.bin",
                "train.bin",
                records(&[&[200, 99], &[0, 100]]),
                "/train.bin: label 100 of record 1, expected 0 to 99",
            ),
        ] {
            write_files(folder.path(), &[(train, content), (test, vec![])]);
            assert_eq!(error(dataset, folder.path()), expected);
        }
    }

    #[test]
    fn refuses_damaged_and_incomplete_archives() {
        let folder = tempfile::tempdir().expect("folder");
        let name = "cifar-10-binary.tar.gz";
        let refuse = |content: &[u8], expected: &str| {
            write_files(folder.path(), &[(name, content.to_vec())]);
            let error = error(DatasetName::Cifar10, folder.path());
            assert!(
                error.starts_with(&format!("/{name}: {expected}")),
                "{error}"
            );
        };
        let whole = archive("cifar-10-batches-bin", &cifar10());
        // The last 8 bytes of a gzip file hold the checksum and the length of its content.
        for length in (0..whole.len() - 8).step_by(97).chain([whole.len() - 1]) {
            refuse(&whole[..length], "");
        }
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 8] ^= 1;
        refuse(
            &wrong_sum,
            "corrupt gzip stream does not have a matching checksum",
        );
        refuse(b"<html>not found</html>", "invalid gzip header");

        let files = cifar10();
        let cut = [("test_batch.bin", files[1].1[..5000].to_vec())];
        let expected = "test_batch.bin: ends after 1927 of the 3073 bytes at offset 3073";
        refuse(&archive("a", &cut), expected);
    }

    /// All files, with as many images as are published.
    fn whole() -> Vec<(&'static str, Vec<u8>)> {
        let all = records(&[&[7]]).repeat(10_000);
        CIFAR10.files().map(|name| (name, all.clone())).collect()
    }

    #[test]
    fn what_is_not_whole_is_refused_unless_a_part_will_do() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        write_files(path, &whole());
        let load = || DatasetName::Cifar10.load(Some(path), false);
        let refused = || {
            let error = load().expect_err("incomplete").to_string();
            error.replace(&path.display().to_string(), "")
        };
        let partial = || DatasetName::Cifar10.load_partial(Some(path));
        let data = load().expect("whole");
        assert_eq!((data.train.len(), data.test.len()), (50_000, 10_000));
        for name in ["data_batch_3.bin", "data_batch_5.bin"] {
            let file = path.join(name);
            let content = fs::read(&file).expect("written");
            fs::write(&file, &content[..9_999 * 3073]).expect("written");
            assert!(
                refused().starts_with(&format!("/{name}: 9999 images, 10000 are published; ")),
                "{}",
                refused()
            );
            assert_eq!(partial().expect("a part").train.len(), 49_999);
            fs::remove_file(&file).expect("removed");
            assert!(
                refused().starts_with(&format!(": no {name} in it; ")),
                "{}",
                refused()
            );
            assert_eq!(partial().expect("a part").train.len(), 40_000);
            fs::write(&file, content).expect("written");
        }
        fs::remove_file(path.join("test_batch.bin")).expect("removed");
        assert!(
            refused().starts_with(": no test_batch.bin in it; "),
            "{}",
            refused()
        );
        let error = partial().expect_err("nothing to test on").to_string();
        let expected = "cifar10: 50000 images to train on and 0 to test on; both are needed";
        assert_eq!(error, expected);
    }

    #[test]
    fn the_version_for_python_is_named() {
        for pickled in CIFAR10.pickled {
            let folder = tempfile::tempdir().expect("folder");
            fs::create_dir(folder.path().join(pickled)).expect("created");
            let error = error(DatasetName::Cifar10, folder.path());
            let expected = format!("/{pickled} is the version for Python, which is pickled; ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
