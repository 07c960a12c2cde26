//! MNIST, handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges,
//! <http://yann.lecun.com/exdb/mnist>), and Fashion-MNIST, clothes in the same files
//! (H. Xiao, K. Rasul, R. Vollgraf, <https://github.com/zalandoresearch/fashion-mnist>).

use std::fs;
use std::path::PathBuf;

use super::folder::{self, Folder, Published};
use super::idx::{self, File};
use super::{Dataset, Error};

const SIZE: [u32; 2] = [28, 28];
const CLASSES: u8 = 10;

/// The files of MNIST.
pub static MNIST: [Published; 4] = files(
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    [
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ],
);

/// The files of Fashion-MNIST. Their address has no HTTPS, so the MD5 sums protect them.
pub static FASHION_MNIST: [Published; 4] = files(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    [
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ],
);

const fn files(base: &'static str, md5: [&'static str; 4]) -> [Published; 4] {
    const fn file(base: &'static str, name: &'static str, md5: &'static str) -> Published {
        Published { base, name, md5 }
    }
    [
        file(base, "train-images-idx3-ubyte.gz", md5[0]),
        file(base, "train-labels-idx1-ubyte.gz", md5[1]),
        file(base, "t10k-images-idx3-ubyte.gz", md5[2]),
        file(base, "t10k-labels-idx1-ubyte.gz", md5[3]),
    ]
}

macro_rules! embedded {
    ($name:literal) => {
        File {
            name: concat!("mnist-mini/", $name).into(),
            content: &include_bytes!(concat!("../../mnist-mini/", $name))[..],
        }
    };
}

/// Reads mnist-mini, which is part of the program.
pub fn mini() -> Result<Dataset, Error> {
    Ok(Dataset {
        train: idx::read(
            embedded!("train-images-idx3-ubyte.gz"),
            embedded!("train-labels-idx1-ubyte.gz"),
            SIZE,
            CLASSES,
        )?,
        test: idx::read(
            embedded!("t10k-images-idx3-ubyte.gz"),
            embedded!("t10k-labels-idx1-ubyte.gz"),
            SIZE,
            CLASSES,
        )?,
    })
}

/// Reads the original files, gzip or not.
pub fn read(folder: &Folder, files: &[Published; 4]) -> Result<Dataset, Error> {
    let split = |images: &Published, labels: &Published| {
        idx::read(open(folder, images)?, open(folder, labels)?, SIZE, CLASSES)
    };
    let [train_images, train_labels, test_images, test_labels] = files;
    Ok(Dataset {
        train: split(train_images, train_labels)?,
        test: split(test_images, test_labels)?,
    })
}

/// Opens a file under its published name, gzip or not, or under the names that other programs give it: with a
/// dot before `idx`, and in the folder `raw` of torchvision.
fn open(folder: &Folder, published: &Published) -> Result<File<fs::File>, Error> {
    let plain = published.name.trim_end_matches(".gz");
    let dotted = plain.replace("-idx", ".idx");
    let inner = ["raw", "MNIST/raw", "FashionMNIST/raw"].map(|inner| folder.path.join(inner));
    let within = |path: &PathBuf, names: &[&str]| {
        let mut paths = names.iter().map(|name| path.join(name));
        paths.find(|path| path.is_file())
    };
    let unpacked = within(&folder.path, &[plain, &dotted]);
    let elsewhere = || {
        let mut inner = inner.iter();
        inner.find_map(|path| within(path, &[plain, &dotted, published.name]))
    };
    let path = match unpacked {
        Some(path) => path,
        None if folder.path.join(published.name).exists() => folder.file(published)?,
        None => match elsewhere() {
            Some(path) => path,
            None => folder.file(published)?,
        },
    };
    Ok(File {
        name: path.display().to_string(),
        content: folder::open(&path)?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use flate2::{Compression, write::GzEncoder};

    use super::super::DatasetName;
    use super::*;

    #[test]
    fn the_embedded_subset_is_balanced() {
        let data = mini().expect("embedded");
        for images in [&data.train, &data.test] {
            assert_eq!(images.shape, [1, 28, 28]);
            let mut count = [0; CLASSES as usize];
            for label in &images.labels {
                count[usize::from(*label)] += 1;
            }
            assert_eq!(count, [images.len() / count.len(); CLASSES as usize]);
        }
    }

    /// Writes files of `train` and `test` black images. The files of training images are gzipped.
    fn write_files(folder: &Path, train: u8, test: u8) {
        for (index, published) in MNIST.iter().enumerate() {
            let count = if index < 2 { train } else { test };
            let bytes = if index % 2 == 0 {
                let header = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28];
                [&header[..], &vec![0; usize::from(count) * 28 * 28]].concat()
            } else {
                [vec![0, 0, 8, 1, 0, 0, 0, count], (0..count).collect()].concat()
            };
            if index < 2 {
                let file = fs::File::create(folder.join(published.name)).expect("file");
                let mut encoder = GzEncoder::new(file, Compression::default());
                encoder.write_all(&bytes).expect("written");
                encoder.finish().expect("written");
            } else {
                let name = published.name.trim_end_matches(".gz");
                fs::write(folder.join(name), bytes).expect("written");
            }
        }
    }

    #[test]
    fn both_sets_are_read_from_gzipped_and_plain_files() {
        let folder = tempfile::tempdir().expect("folder");
        write_files(folder.path(), 3, 2);
        for dataset in [DatasetName::Mnist, DatasetName::FashionMnist] {
            let data = dataset.load(Some(folder.path()), false).expect("valid");
            assert_eq!(data.train.labels, [0, 1, 2]);
            assert_eq!(data.train.shape, [1, 28, 28]);
            assert_eq!(data.test.labels, [0, 1]);
        }
    }

    #[test]
    fn files_of_other_programs_are_found() {
        for (inner, dotted) in [("", true), ("MNIST/raw", false), ("raw", true)] {
            let folder = tempfile::tempdir().expect("folder");
            let place = folder.path().join(inner);
            fs::create_dir_all(&place).expect("created");
            write_files(&place, 3, 2);
            for published in &MNIST {
                let plain = published.name.trim_end_matches(".gz");
                if dotted && place.join(plain).exists() {
                    let other = place.join(plain.replace("-idx", ".idx"));
                    fs::rename(place.join(plain), other).expect("renamed");
                }
            }
            let data = DatasetName::Mnist.load(Some(folder.path()), false);
            let data = data.expect("valid");
            assert_eq!(data.train.labels, [0, 1, 2], "{inner}");
            assert_eq!(data.test.labels, [0, 1], "{inner}");
        }
    }

    #[test]
    fn a_set_without_test_images_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        write_files(folder.path(), 3, 0);
        let error = DatasetName::Mnist.load(Some(folder.path()), false);
        let error = error.expect_err("empty").to_string();
        assert!(
            error.starts_with("mnist: 3 images to train on and 0 to test on"),
            "{error}"
        );
    }
}
