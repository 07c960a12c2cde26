use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Images, Normalization};

/// Normalised images with their labels.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// Images, `[batch_size, channels, height, width]`.
    pub images: Tensor<4>,
    /// Classes, `[batch_size]`.
    pub labels: Tensor<1, Int>,
}

/// Makes batches of images that are named by their index.
#[derive(Clone)]
pub struct ImageBatcher {
    images: Arc<Images>,
    padding: usize,
    /// For each channel, what each byte becomes.
    tables: Vec<[f32; 256]>,
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
        }
    }
}

impl Batcher<usize, ImageBatch> for ImageBatcher {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> ImageBatch {
        let [channels, height, width] = self.images.shape;
        let padding = self.padding;
        let [padded_height, padded_width] = [height, width].map(|side| side + 2 * padding);

        let mut pixels =
            Vec::with_capacity(indices.len() * channels * padded_height * padded_width);
        for index in &indices {
            let planes = self.images.image(*index).chunks_exact(height * width);
            for (plane, table) in planes.zip(&self.tables) {
                let black = |count: usize| std::iter::repeat_n(table[0], count);
                pixels.extend(black(padding * padded_width));
                for row in plane.chunks_exact(width) {
                    pixels.extend(black(padding));
                    pixels.extend(row.iter().map(|byte| table[usize::from(*byte)]));
                    pixels.extend(black(padding));
                }
                pixels.extend(black(padding * padded_width));
            }
        }
        let labels = indices
            .iter()
            .map(|index| i32::from(self.images.labels[*index]));
        let shape = [indices.len(), channels, padded_height, padded_width];
        ImageBatch {
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(
                TensorData::new(labels.collect::<Vec<i32>>(), [indices.len()]),
                device,
            ),
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
        let batch =
            ImageBatcher::new(Arc::new(images), normalization).batch(vec![0], &Device::flex());
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
}
