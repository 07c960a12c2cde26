//! MNIST: handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges, <http://yann.lecun.com/exdb/mnist>).

use std::fs;
use std::path::Path;

use super::idx::{self, File};
use super::{Dataset, Error, Images};

const SIZE: [u32; 2] = [28, 28];
const CLASSES: usize = 10;

const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

macro_rules! embedded {
    ($name:literal) => {
        File {
            name: concat!("mnist-mini/", $name).into(),
            content: &include_bytes!(concat!("../../mnist-mini/", $name))[..],
        }
    };
}

/// The subset that is part of the program.
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

/// The original files, gzip or not.
pub fn read(data_dir: Option<&Path>) -> Result<Dataset, Error> {
    let Some(folder) = data_dir else {
        return Err(Error::NoFolder {
            dataset: "MNIST",
            files: [TRAIN, TEST].concat().join(", "),
        });
    };
    let split = |[images, labels]: [&str; 2]| -> Result<Images, Error> {
        idx::read(open(folder, images)?, open(folder, labels)?, SIZE, CLASSES)
    };
    Ok(Dataset {
        train: split(TRAIN)?,
        test: split(TEST)?,
    })
}

fn open(folder: &Path, name: &str) -> Result<File<fs::File>, Error> {
    let plain = folder.join(name);
    let gzip = folder.join(format!("{name}.gz"));
    let path = if plain.exists() { plain } else { gzip };
    let file = path.display().to_string();
    match fs::File::open(&path) {
        Ok(content) => Ok(File {
            name: file,
            content,
        }),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(Error::Missing {
            hint: format!(
                "fetch {name}.gz of MNIST and put it, unpacked or not, into {}",
                folder.display()
            ),
            file,
        }),
        Err(source) => Err(Error::Io { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_subset_is_balanced() {
        let data = mini().expect("embedded");
        for images in [&data.train, &data.test] {
            assert_eq!(images.shape, [1, 28, 28]);
            let mut count = [0; CLASSES];
            for label in &images.labels {
                count[usize::from(*label)] += 1;
            }
            assert_eq!(count, [images.len() / CLASSES; CLASSES]);
        }
    }

    #[test]
    fn missing_files_are_named() {
        let error = read(None).expect_err("no folder").to_string();
        assert!(
            error.contains("--data-dir") && error.contains(TEST[1]),
            "{error}"
        );
        let folder = Path::new("no-such-folder");
        let error = read(Some(folder)).expect_err("no files").to_string();
        let path = folder.join("train-images-idx3-ubyte.gz");
        assert!(
            error.starts_with(&format!("{} is missing", path.display())),
            "{error}"
        );
    }
}
