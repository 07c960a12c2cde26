//! The IDX format of MNIST: a magic number and sizes in big-endian order, then bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Error, Images};

const IMAGES: u32 = 0x0000_0803;
const LABELS: u32 = 0x0000_0801;

/// A file's name and content, gzip or not.
pub struct File<R> {
    /// The name, for messages.
    pub name: String,
    /// The content, gzip or not.
    pub content: R,
}

/// Reads images and their labels, and checks that there are as many labels as images.
///
/// The memory depends on the content of the files, not on the sizes in their headers.
pub fn read<R: Read>(
    images: File<R>,
    labels: File<R>,
    size: [u32; 2],
    classes: u8,
) -> Result<Images, Error> {
    let pixels = read_images(images, size)?;
    let [height, width] = size.map(|side| side as usize);
    let count = pixels.len() / (height * width);
    let name = labels.name.clone();
    let labels = read_labels(labels, classes)?;
    if labels.len() != count {
        return Err(Error::Count {
            file: name,
            labels: labels.len(),
            images: count,
        });
    }
    Ok(Images {
        pixels,
        labels,
        shape: [1, height, width],
    })
}

fn read_images<R: Read>(file: File<R>, expected: [u32; 2]) -> Result<Vec<u8>, Error> {
    let mut idx = Idx::open(file, IMAGES)?;
    let count = idx.number()?;
    let found = [idx.number()?, idx.number()?];
    if found != expected {
        return Err(Error::Size {
            file: idx.name,
            found,
            expected,
        });
    }
    idx.bytes(u64::from(count) * u64::from(found[0]) * u64::from(found[1]))
}

fn read_labels<R: Read>(file: File<R>, classes: u8) -> Result<Vec<u8>, Error> {
    let mut idx = Idx::open(file, LABELS)?;
    let name = idx.name.clone();
    let count = idx.number()?;
    let labels = idx.bytes(u64::from(count))?;
    match labels.iter().position(|label| *label >= classes) {
        Some(record) => Err(Error::Label {
            file: name,
            label: labels[record].into(),
            record,
            expected: 0..=classes - 1,
        }),
        None => Ok(labels),
    }
}

struct Idx<'a> {
    name: String,
    content: Box<dyn Read + 'a>,
    /// The number of bytes that were read.
    offset: u64,
}

impl<'a> Idx<'a> {
    fn open<R: Read + 'a>(file: File<R>, expected: u32) -> Result<Self, Error> {
        let mut content = BufReader::new(file.content);
        let gzip = content
            .fill_buf()
            .map(|start| start.starts_with(&[0x1f, 0x8b]));
        let mut idx = Self {
            content: match gzip {
                Ok(true) => Box::new(MultiGzDecoder::new(content)),
                Ok(false) => Box::new(content),
                Err(source) => {
                    return Err(Error::Io {
                        file: file.name,
                        source,
                    });
                }
            },
            name: file.name,
            offset: 0,
        };
        let found = idx.number()?;
        if found != expected {
            return Err(Error::Magic {
                file: idx.name,
                found,
                expected,
            });
        }
        Ok(idx)
    }

    fn number(&mut self) -> Result<u32, Error> {
        let mut bytes = Vec::new();
        if let Err(source) = (&mut self.content).take(4).read_to_end(&mut bytes) {
            return Err(self.io(source));
        }
        match bytes.as_slice().try_into() {
            Ok(bytes) => {
                self.offset += 4;
                Ok(u32::from_be_bytes(bytes))
            }
            Err(_) => Err(Error::CutOff {
                file: self.name.clone(),
                offset: self.offset,
                found: bytes.len(),
                expected: 4,
            }),
        }
    }

    /// All bytes that follow. There must be as many as the header announces.
    fn bytes(mut self, expected: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        // One byte more than expected is read, to notice a file that is too long.
        let read = (&mut self.content)
            .take(expected + 1)
            .read_to_end(&mut bytes);
        match read {
            Ok(found) if found as u64 == expected => Ok(bytes),
            Ok(found) => Err(Error::Length {
                file: self.name,
                found: found as u64,
                expected,
            }),
            Err(source) => Err(self.io(source)),
        }
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io {
            file: self.name.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn header(magic: u32, sizes: &[u32]) -> Vec<u8> {
        let numbers = [&[magic], sizes].concat();
        numbers.into_iter().flat_map(u32::to_be_bytes).collect()
    }

    /// Three images of 2×2 pixels and their labels.
    fn images() -> Vec<u8> {
        [header(IMAGES, &[3, 2, 2]), (0..12).collect()].concat()
    }

    fn labels() -> Vec<u8> {
        [header(LABELS, &[3]), vec![2, 0, 1]].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn parse(images: &[u8], labels: &[u8]) -> Result<Images, String> {
        let file = |name: &str, content| File {
            name: name.into(),
            content,
        };
        read(file("images", images), file("labels", labels), [2, 2], 3)
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_error(images: &[u8], labels: &[u8], expected: &str) {
        assert_eq!(parse(images, labels).expect_err("invalid"), expected);
    }

    #[test]
    fn reads_plain_and_gzipped_files() {
        let expected = Images {
            pixels: (0..12).collect(),
            labels: vec![2, 0, 1],
            shape: [1, 2, 2],
        };
        assert_eq!(parse(&images(), &labels()), Ok(expected.clone()));
        assert_eq!(
            parse(&gzip(&images()), &gzip(&labels())),
            Ok(expected.clone())
        );
        assert_eq!(expected.image(1), [4, 5, 6, 7]);
    }

    /// `pigz` and `cat` make such files.
    #[test]
    fn a_gzip_file_of_several_members_is_read_whole() {
        let whole = images();
        let (start, end) = whole.split_at(7);
        let members = [gzip(start), gzip(end)].concat();
        let expected = parse(&whole, &labels());
        assert_eq!(parse(&members, &labels()), expected);
        assert!(expected.is_ok());
    }

    #[test]
    fn refuses_a_file_of_another_kind() {
        let expected = "images: magic number 0x00000801 at offset 0, expected 0x00000803";
        assert_error(&labels(), &labels(), expected);
    }

    #[test]
    fn refuses_images_of_another_size() {
        let images = [header(IMAGES, &[3, 2, 3]), vec![0; 18]].concat();
        let expected = "images: images of [2, 3] pixels (offset 8), expected [2, 2]";
        assert_error(&images, &labels(), expected);
    }

    #[test]
    fn refuses_truncated_and_overlong_files() {
        let whole = images();
        let expected = "images: 11 bytes of data, expected 12, which its header announces";
        assert_error(&whole[..whole.len() - 1], &labels(), expected);
        let expected = "images: 13 bytes of data, expected 12, which its header announces";
        assert_error(&[whole.clone(), vec![0; 9]].concat(), &labels(), expected);
        let expected = "images: ends after 2 of the 4 bytes at offset 8";
        assert_error(&whole[..10], &labels(), expected);
        let expected = "images: ends after 0 of the 4 bytes at offset 0";
        assert_error(&[], &labels(), expected);
        let zipped = gzip(&whole);
        assert!(parse(&zipped[..zipped.len() - 9], &labels()).is_err());
    }

    #[test]
    fn a_header_that_claims_too_much_allocates_nothing() {
        let images = [header(IMAGES, &[u32::MAX, 2, 2]), vec![0; 8]].concat();
        let expected = format!(
            "images: 8 bytes of data, expected {}, which its header announces",
            4 * u64::from(u32::MAX)
        );
        assert_error(&images, &labels(), &expected);
    }

    #[test]
    fn refuses_labels_that_do_not_fit() {
        let label = [header(LABELS, &[3]), vec![2, 3, 1]].concat();
        assert_error(
            &images(),
            &label,
            "labels: label 3 of record 1, expected 0 to 2",
        );
        let two = [header(LABELS, &[2]), vec![2, 1]].concat();
        assert_error(&images(), &two, "labels: 2 labels for 3 images");
    }
}
