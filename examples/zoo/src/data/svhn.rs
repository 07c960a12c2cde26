//! SVHN: digits of house numbers (Y. Netzer et al., <http://ufldl.stanford.edu/housenumbers>) in
//! files of the format MATLAB 5.

use std::io::Read;
use std::path::Path;

use matfile::{Array, MatFile, NumericData};

use super::folder::{self, Folder, Published};
use super::{Dataset, Error, Images};

const SIDE: usize = 32;
const CHANNELS: usize = 3;

/// The files. Their address has no HTTPS, so the MD5 sums protect them.
pub static FILES: [Published; 2] = [
    Published {
        base: "http://ufldl.stanford.edu/housenumbers",
        name: "train_32x32.mat",
        md5: "e26dedcc434d2e4c54c9b2d4a06d8373",
    },
    Published {
        base: "http://ufldl.stanford.edu/housenumbers",
        name: "test_32x32.mat",
        md5: "eb5a983be6a315427106f1b164d9cef3",
    },
];

/// Reads both files.
pub fn read(folder: &Folder) -> Result<Dataset, Error> {
    let [train, test] = &FILES;
    Ok(Dataset {
        train: read_file(&folder.file(train)?)?,
        test: read_file(&folder.file(test)?)?,
    })
}

fn read_file(path: &Path) -> Result<Images, Error> {
    let name = path.display().to_string();
    let file = match MatFile::parse(folder::open(path)?) {
        Ok(content) => File { name, content },
        Err(matfile::Error::IOError(source)) => return Err(Error::Io { file: name, source }),
        Err(_) if is_hdf5(path)? => {
            return Err(Error::OtherForm {
                file: name,
                found: "of MATLAB 7.3, which is HDF5",
                instead: "MATLAB 5 is read: save it by MATLAB's `save -v7` or `scipy.io.savemat`",
            });
        }
        Err(_) => {
            return Err(Error::Format {
                file: name,
                expected: "a MATLAB 5 file",
            });
        }
    };
    let pixels = file.pixels()?;
    let labels = file.labels()?;
    let images = pixels.len() / (CHANNELS * SIDE * SIDE);
    if labels.len() != images {
        return Err(Error::Count {
            file: file.name,
            labels: labels.len(),
            images,
        });
    }
    Ok(Images {
        pixels,
        labels,
        shape: [CHANNELS, SIDE, SIDE],
    })
}

/// Whether a file is of MATLAB 7.3, by its first line or by the signature of HDF5.
fn is_hdf5(path: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let read = folder::open(path)?.take(19).read_to_end(&mut start);
    read.map_err(|source| Error::Io {
        file: path.display().to_string(),
        source,
    })?;
    Ok(start == b"MATLAB 7.3 MAT-file" || start.starts_with(b"\x89HDF\r\n\x1a\n"))
}

struct File {
    name: String,
    content: MatFile,
}

impl File {
    /// The variable `X`, `[32, 32, 3, N]` in column-major order, as `[N, 3, 32, 32]` in row-major order.
    fn pixels(&self) -> Result<Vec<u8>, Error> {
        let array = self.content.find_by_name("X");
        if let Some(array) = array
            && let NumericData::UInt8 { real, imag: None } = array.data()
            && is_images(array.size(), real.len() / (CHANNELS * SIDE * SIDE))
        {
            let mut pixels = Vec::with_capacity(real.len());
            for plane in real.chunks_exact(SIDE * SIDE) {
                for row in 0..SIDE {
                    pixels.extend(plane.iter().skip(row).step_by(SIDE));
                }
            }
            return Ok(pixels);
        }
        Err(self.unexpected("X", array, "uint8 [32, 32, 3, N]"))
    }

    /// The variable `y`. The digit 0 has the label 10 there, and becomes 0. The type of `y`, and whether `y`
    /// is a column or a row, depend on the program that saved it.
    fn labels(&self) -> Result<Vec<u8>, Error> {
        let array = self.content.find_by_name("y");
        let unexpected = || self.unexpected("y", array, "numbers [N, 1]");
        let numbers = array.and_then(|array| Some((array.size(), numbers(array.data())?)));
        let (size, labels) = numbers.ok_or_else(unexpected)?;
        if *size != [labels.len(), 1] && *size != [1, labels.len()] {
            return Err(unexpected());
        }
        let class = |(record, label): (usize, f64)| {
            let class = (1..=10).find(|class| f64::from(*class) == label);
            class.map(|class| class % 10).ok_or_else(|| Error::Label {
                file: self.name.clone(),
                label,
                record,
                expected: 1..=10,
            })
        };
        labels.into_iter().enumerate().map(class).collect()
    }

    fn unexpected(
        &self,
        variable: &'static str,
        array: Option<&Array>,
        expected: &'static str,
    ) -> Error {
        let found = match array {
            Some(array) => format!("{} {:?}", type_name(array.data()), array.size()),
            None => "missing or cut off".into(),
        };
        Error::Variable {
            file: self.name.clone(),
            variable,
            found,
            expected,
        }
    }
}

/// Whether a size is that of so many images. For a single image, programs leave out the last of the four
/// sizes.
fn is_images(size: &[usize], images: usize) -> bool {
    size == [SIDE, SIDE, CHANNELS, images] || (images == 1 && size == [SIDE, SIDE, CHANNELS])
}

/// The values of an array of real numbers.
fn numbers(data: &NumericData) -> Option<Vec<f64>> {
    macro_rules! numbers {
        ($($kind:ident),*) => {
            match data {
                NumericData::Double { real, imag: None } => Some(real.clone()),
                $(NumericData::$kind { real, imag: None } => {
                    Some(real.iter().map(|number| *number as f64).collect())
                })*
                _ => None,
            }
        };
    }
    numbers!(
        Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64, Single
    )
}

fn type_name(data: &NumericData) -> &'static str {
    match data {
        NumericData::Int8 { .. } => "int8",
        NumericData::UInt8 { .. } => "uint8",
        NumericData::Int16 { .. } => "int16",
        NumericData::UInt16 { .. } => "uint16",
        NumericData::Int32 { .. } => "int32",
        NumericData::UInt32 { .. } => "uint32",
        NumericData::Int64 { .. } => "int64",
        NumericData::UInt64 { .. } => "uint64",
        NumericData::Single { .. } => "single",
        NumericData::Double { .. } => "double",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::super::DatasetName;
    use super::*;

    // The numbers that the format has for types of elements and classes of arrays.
    const INT8: u32 = 1;
    const UINT8: u32 = 2;
    const INT32: u32 = 5;
    const UINT32: u32 = 6;
    const MATRIX: u32 = 14;
    const COMPRESSED: u32 = 15;
    const DOUBLE_CLASS: u32 = 6;
    const UINT8_CLASS: u32 = 9;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().copied().flat_map(u32::to_le_bytes).collect()
    }

    fn element(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [&words(&[kind, content.len() as u32]), content].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A variable whose values are saved as bytes.
    fn variable(name: &str, class: u32, size: &[u32], values: &[u8]) -> Vec<u8> {
        let parts = [
            element(UINT32, &words(&[class, 0])),
            element(INT32, &words(size)),
            element(INT8, name.as_bytes()),
            element(UINT8, values),
        ];
        element(MATRIX, &parts.concat())
    }

    fn compressed(variable: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(variable).expect("memory");
        let content = encoder.finish().expect("memory");
        // Without padding, unlike other elements.
        [words(&[COMPRESSED, content.len() as u32]), content].concat()
    }

    fn mat(variables: &[Vec<u8>]) -> Vec<u8> {
        let text = format!("{:124}", "MATLAB 5.0 MAT-file");
        [text.as_bytes(), &[0, 1], b"IM", &variables.concat()].concat()
    }

    /// The value of a pixel that all tests use.
    fn pixel(image: usize, channel: usize, row: usize, column: usize) -> u8 {
        (image * 101 + channel * 53 + row * 7 + column) as u8
    }

    fn x(images: usize) -> Vec<u8> {
        let values: Vec<u8> = (0..images * 3072)
            .map(|place| pixel(place / 3072, place / 1024 % 3, place % 32, place / 32 % 32))
            .collect();
        variable("X", UINT8_CLASS, &[32, 32, 3, images as u32], &values)
    }

    fn y(labels: &[u8]) -> Vec<u8> {
        variable("y", DOUBLE_CLASS, &[labels.len() as u32, 1], labels)
    }

    fn read(content: &[u8]) -> Result<Images, String> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("train_32x32.mat");
        fs::write(&path, content).expect("written");
        read_file(&path).map_err(|error| {
            let folder = format!("{}{}", folder.path().display(), std::path::MAIN_SEPARATOR);
            error.to_string().replace(&folder, "")
        })
    }

    #[test]
    fn pixels_are_transposed_and_a_ten_is_a_zero() {
        let uint8 = variable("y", UINT8_CLASS, &[3, 1], &[10, 1, 9]);
        for variables in [
            [x(3), y(&[10, 1, 9])],
            [uint8, x(3)],
            [compressed(&x(3)), compressed(&y(&[10, 1, 9]))],
        ] {
            let images = read(&mat(&variables)).expect("valid");
            assert_eq!(images.labels, [0, 1, 9]);
            assert_eq!(images.shape, [3, 32, 32]);
            for (place, value) in images.pixels.iter().enumerate() {
                let (image, channel) = (place / 3072, place / 1024 % 3);
                let expected = pixel(image, channel, place / 32 % 32, place % 32);
                assert_eq!(*value, expected, "place {place}");
            }
            assert_eq!(images.pixels.len(), 3 * 3072);
        }
    }

    #[test]
    fn labels_in_a_row_and_a_single_image_are_read() {
        let row = variable("y", DOUBLE_CLASS, &[1, 3], &[10, 1, 9]);
        let images = read(&mat(&[x(3), row])).expect("valid");
        assert_eq!(images.labels, [0, 1, 9]);
        let values = x(1);
        let four = read(&mat(&[values, y(&[7])])).expect("valid");
        let plane: Vec<u8> = (0..3072)
            .map(|place| pixel(0, place / 1024, place % 32, place / 32 % 32))
            .collect();
        let three = variable("X", UINT8_CLASS, &[32, 32, 3], &plane);
        let three = read(&mat(&[three, y(&[7])])).expect("valid");
        assert_eq!(three, four);
    }

    #[test]
    fn a_file_of_matlab_7_3_is_named() {
        for start in [
            &b"MATLAB 7.3 MAT-file, Platform: GLNXA64"[..],
            b"\x89HDF\r\n\x1a\n",
        ] {
            let content = [start, &[0; 600]].concat();
            let error = read(&content).expect_err("HDF5");
            let expected = "train_32x32.mat is of MATLAB 7.3, which is HDF5; MATLAB 5 is read: ";
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn both_files_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        for (published, labels) in FILES.iter().zip([&[1, 2][..], &[3]]) {
            let content = mat(&[x(labels.len()), y(labels)]);
            fs::write(folder.path().join(published.name), content).expect("written");
        }
        let data = DatasetName::Svhn.load(Some(folder.path()), false);
        let data = data.expect("valid");
        assert_eq!((data.train.labels, data.test.labels), (vec![1, 2], vec![3]));
    }

    #[track_caller]
    fn assert_error(variables: &[Vec<u8>], expected: &str) {
        let error = read(&mat(variables)).expect_err("invalid");
        assert_eq!(error, format!("train_32x32.mat: {expected}"));
    }

    #[test]
    fn refuses_other_variables_types_and_shapes() {
        let expected = "variable `X` is missing or cut off, expected uint8 [32, 32, 3, N]";
        assert_error(&[y(&[1])], expected);
        let other = variable("X", UINT8_CLASS, &[32, 3, 32, 1], &[0; 3072]);
        let expected = "variable `X` is uint8 [32, 3, 32, 1], expected uint8 [32, 32, 3, N]";
        assert_error(&[other, y(&[1])], expected);
        let double = variable("X", DOUBLE_CLASS, &[32, 32, 3, 1], &[0; 3072]);
        let expected = "variable `X` is double [32, 32, 3, 1], expected uint8 [32, 32, 3, N]";
        assert_error(&[double, y(&[1])], expected);
        let expected = "variable `y` is missing or cut off, expected numbers [N, 1]";
        assert_error(&[x(1)], expected);
        let square = variable("y", DOUBLE_CLASS, &[2, 2], &[1, 2, 3, 4]);
        let expected = "variable `y` is double [2, 2], expected numbers [N, 1]";
        assert_error(&[x(2), square], expected);
    }

    #[test]
    fn refuses_labels_that_do_not_fit() {
        assert_error(&[x(2), y(&[1, 0])], "label 0 of record 1, expected 1 to 10");
        assert_error(
            &[x(2), y(&[11, 1])],
            "label 11 of record 0, expected 1 to 10",
        );
        assert_error(&[x(2), y(&[1])], "1 labels for 2 images");
    }

    #[test]
    fn refuses_files_of_another_kind() {
        for content in [&b""[..], b"<html>not found</html>", &[0; 200]] {
            let error = read(content).expect_err("invalid");
            assert_eq!(error, "train_32x32.mat: not a MATLAB 5 file, or damaged");
        }
    }

    #[test]
    fn no_damage_makes_it_panic_and_no_cut_passes() {
        let plain = mat(&[x(1), y(&[1])]);
        let packed = mat(&[compressed(&x(1)), compressed(&y(&[1]))]);
        for whole in [plain, packed] {
            for length in (0..whole.len() - 1).filter(|length| length % 61 == 0 || *length < 300) {
                let error = read(&whole[..length]).expect_err("cut off");
                assert!(error.starts_with("train_32x32.mat: "), "{error}");
            }
            let headers = (0..250).chain(whole.len() - 100..whole.len());
            for (place, value) in headers.flat_map(|place| [0, 0x7f, 0xff].map(|v| (place, v))) {
                let mut damaged = whole.clone();
                damaged[place] = value;
                if let Err(error) = read(&damaged) {
                    assert!(error.starts_with("train_32x32.mat: "), "{error}");
                }
            }
        }
    }
}
