use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::augmentation::View;
use super::{Augmentation, Images, Normalization};

/// Normalized images with their labels.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// Images, `[batch_size, channels, height, width]`.
    pub images: Tensor<4>,
    /// Classes, `[batch_size]`.
    pub labels: Tensor<1, Int>,
    /// The fraction of the batch that these images are: below 1 where several devices divide a batch.
    pub share: f64,
}

/// An image for a batch, and the seed of its augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its place in the data set.
    pub index: usize,
    /// The seed that its augmentation is drawn from, together with the index.
    pub seed: u64,
}

/// Makes batches of images.
#[derive(Clone)]
pub struct ImageBatcher {
    images: Arc<Images>,
    padding: usize,
    /// For each channel, the normalized value of each byte.
    tables: Vec<[f32; 256]>,
    augmentation: Augmentation,
}

impl ImageBatcher {
    /// A batcher for the given images.
    pub fn new(images: Arc<Images>, normalization: Normalization) -> Self {
        let channels = normalization.mean.iter().zip(normalization.deviation);
        Self {
            images,
            padding: normalization.padding,
            tables: channels
                .map(|(mean, deviation)| {
                    std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / deviation)
                })
                .collect(),
            augmentation: Augmentation::default(),
        }
    }

    /// Varies every image. The variation depends on the [`Sample`] alone, so that the order and the size of
    /// batches do not matter.
    pub fn with_augmentation(self, augmentation: Augmentation) -> Self {
        Self {
            augmentation,
            ..self
        }
    }

    /// Appends the pixels of a view of an image, channel by channel.
    fn gather(&self, index: usize, view: View, pixels: &mut Vec<f32>) {
        let [_, height, width] = self.images.shape;
        let border = self.padding + self.augmentation.crop;
        let rows = Span::new(view.top, border, height, height + 2 * self.padding);
        let columns = Span::new(view.left, border, width, width + 2 * self.padding);
        let (left, right) = match view.flip {
            false => (columns.before, columns.after),
            true => (columns.after, columns.before),
        };
        let planes = self.images.image(index).chunks_exact(height * width);
        for (plane, table) in planes.zip(&self.tables) {
            let black = |count: usize| std::iter::repeat_n(table[0], count);
            let value = |byte: &u8| table[usize::from(*byte)];
            pixels.extend(black(rows.before * columns.length()));
            for row in plane.chunks_exact(width).take(rows.end).skip(rows.start) {
                let row = &row[columns.start..columns.end];
                pixels.extend(black(left));
                match view.flip {
                    false => pixels.extend(row.iter().map(value)),
                    true => pixels.extend(row.iter().rev().map(value)),
                }
                pixels.extend(black(right));
            }
            pixels.extend(black(rows.after * columns.length()));
        }
    }
}

/// The pixels of a view along one side: some black pixels, a range of the image, some black pixels.
struct Span {
    before: usize,
    start: usize,
    end: usize,
    after: usize,
}

impl Span {
    /// The view through a window of the given length. The window begins at an offset into an image of
    /// `side` pixels with a black border.
    fn new(offset: usize, border: usize, side: usize, length: usize) -> Self {
        let before = border.saturating_sub(offset).min(length);
        let start = offset.saturating_sub(border).min(side);
        let end = (start + length - before).min(side);
        Self {
            before,
            start,
            end,
            after: length - before - (end - start),
        }
    }

    fn length(&self) -> usize {
        self.before + self.end - self.start + self.after
    }
}

impl Batcher<Sample, ImageBatch> for ImageBatcher {
    fn batch(&self, samples: Vec<Sample>, device: &Device) -> ImageBatch {
        let [channels, height, width] = self.images.shape;
        let [padded_height, padded_width] = [height, width].map(|side| side + 2 * self.padding);

        let mut pixels =
            Vec::with_capacity(samples.len() * channels * padded_height * padded_width);
        for sample in &samples {
            let view = self.augmentation.view(*sample);
            self.gather(sample.index, view, &mut pixels);
        }
        let labels = samples
            .iter()
            .map(|sample| i32::from(self.images.labels[sample.index]));
        let shape = [samples.len(), channels, padded_height, padded_width];
        ImageBatch {
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(
                TensorData::new(labels.collect::<Vec<i32>>(), [samples.len()]),
                device,
            ),
            share: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_padded_and_normalised_by_channel() {
        let images = Images {
            pixels: vec![0, 255, 51, 102, 255, 0, 204, 153],
            labels: vec![3],
            shape: [2, 2, 2],
        };
        let normalization = Normalization {
            mean: &[0.5, 0.2],
            deviation: &[0.5, 0.1],
            padding: 1,
        };
        let batcher = ImageBatcher::new(Arc::new(images), normalization);
        let batch = batcher.batch(vec![Sample { index: 0, seed: 0 }], &Device::flex());
        assert_eq!(batch.images.dims(), [1, 2, 4, 4]);
        assert_eq!(batch.labels.try_to_vec_as::<i64>().expect("labels"), [3]);
        let b = -1.0;
        let first = [b, b, b, b, b, -1.0, 1.0, b, b, -0.6, -0.2, b, b, b, b, b];
        let b = -2.0;
        let second = [b, b, b, b, b, 8.0, -2.0, b, b, 6.0, 4.0, b, b, b, b, b];
        let values = batch.images.try_to_vec_as::<f32>().expect("images");
        for (value, expected) in values.iter().zip(first.iter().chain(&second)) {
            assert!(
                (value - expected).abs() < 1e-5,
                "{value} instead of {expected}"
            );
        }
        assert_eq!(values.len(), 32);
    }

    const PADDING: usize = 1;

    /// A batcher of one image of 3×4 pixels in two channels, which are 1 to 24.
    fn batcher(crop: usize) -> ImageBatcher {
        let images = Images {
            pixels: (1..=24).collect(),
            labels: vec![0],
            shape: [2, 3, 4],
        };
        let normalization = Normalization {
            mean: &[0.0, 0.0],
            deviation: &[1.0 / 255.0, 1.0 / 255.0],
            padding: PADDING,
        };
        let augmentation = Augmentation { crop, flip: true };
        ImageBatcher::new(Arc::new(images), normalization).with_augmentation(augmentation)
    }

    fn seen(batcher: &ImageBatcher, view: View) -> Vec<f32> {
        let mut pixels = Vec::new();
        batcher.gather(0, view, &mut pixels);
        pixels.into_iter().map(f32::round).collect()
    }

    #[test]
    fn a_view_is_a_window_into_the_image_with_a_black_border() {
        for crop in [0, 1, 2, 5] {
            let batcher = batcher(crop);
            let border = PADDING + crop;
            for (top, left) in (0..=2 * crop).flat_map(|top| (0..=2 * crop).map(move |x| (top, x)))
            {
                let flip = false;
                let pixels = seen(&batcher, View { top, left, flip });
                let mut expected = Vec::new();
                for (channel, row, column) in (0..2)
                    .flat_map(|channel| (0..5).map(move |row| (channel, row)))
                    .flat_map(|(channel, row)| (0..6).map(move |column| (channel, row, column)))
                {
                    let y = (row + top).checked_sub(border).filter(|y| *y < 3);
                    let x = (column + left).checked_sub(border).filter(|x| *x < 4);
                    expected.push(match (y, x) {
                        (Some(y), Some(x)) => (1 + channel * 12 + y * 4 + x) as f32,
                        _ => 0.0,
                    });
                }
                assert_eq!(pixels, expected, "crop {crop}, row {top}, column {left}");
            }
        }
    }

    #[test]
    fn a_mirror_reverses_every_row_and_twice_is_the_image() {
        let batcher = batcher(2);
        for (top, left) in [(0, 0), (1, 4), (2, 2), (4, 3)] {
            let view = |flip| seen(&batcher, View { top, left, flip });
            let mirrored = view(true);
            assert_ne!(mirrored, view(false));
            let twice: Vec<f32> = mirrored
                .chunks(6)
                .flat_map(|row| row.iter().rev().copied())
                .collect();
            assert_eq!(twice, view(false));
        }
    }

    #[test]
    fn batches_of_the_same_seed_are_equal_whatever_their_order() {
        let images = Images {
            pixels: (0..90).map(|pixel| pixel as u8).collect(),
            labels: vec![0; 10],
            shape: [1, 3, 3],
        };
        let normalization = Normalization {
            mean: &[0.0],
            deviation: &[1.0],
            padding: 0,
        };
        let plain = ImageBatcher::new(Arc::new(images), normalization);
        let augmentation = Augmentation {
            crop: 1,
            flip: true,
        };
        let pixels = |batcher: &ImageBatcher, seed, indices: Vec<usize>| {
            let samples = indices.into_iter().map(|index| Sample { index, seed });
            let batch = batcher.batch(samples.collect(), &Device::flex());
            batch.images.try_to_vec_as::<f32>().expect("images")
        };
        let batcher = plain.clone().with_augmentation(augmentation);
        let all = pixels(&batcher, 5, (0..10).collect());
        for (index, image) in all.chunks(9).enumerate() {
            assert_eq!(pixels(&batcher, 5, vec![index]), image);
        }
        assert_ne!(pixels(&batcher, 6, (0..10).collect()), all);

        let none = plain.clone().with_augmentation(Augmentation::default());
        let indices: Vec<usize> = (0..10).collect();
        assert_eq!(
            pixels(&none, 5, indices.clone()),
            pixels(&plain, 6, indices)
        );
    }
}
