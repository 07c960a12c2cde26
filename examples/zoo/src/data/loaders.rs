use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::transform::ShuffledDataset;
use burn::data::dataset::{Dataset as _, InMemDataset};
use burn::tensor::Device;

use super::{Error, ImageBatch, ImageBatcher, Images};
use crate::cli::Args;
use crate::recipe::Recipe;

/// Batches of the three parts of a data set.
pub struct Loaders {
    /// To train on, in an order that changes every epoch.
    pub train: Arc<dyn DataLoader<ImageBatch>>,
    /// Held out from the training set to choose the best epoch.
    pub valid: Arc<dyn DataLoader<ImageBatch>>,
    /// The test set, to be read once.
    pub test: Arc<dyn DataLoader<ImageBatch>>,
}

impl Loaders {
    /// Reads and splits the data set that the command line names.
    ///
    /// # Errors
    /// Those of [`DatasetName::load`](super::DatasetName::load), and [`Error::TooFew`].
    pub fn new(args: &Args, recipe: &Recipe, device: &Device) -> Result<Self, Error> {
        let dataset = args.dataset.load(args.data_dir.as_deref())?;
        let limit = args.train_limit.unwrap_or(usize::MAX);
        let (train, valid) = split(
            dataset.train.len(),
            limit,
            recipe.validation_share,
            args.seed,
        )?;
        let test_limit = args.test_limit.unwrap_or(usize::MAX);
        let test = (0..dataset.test.len().min(test_limit)).collect();

        let normalization = args.dataset.normalization();
        let builder = |images: &Arc<Images>| {
            DataLoaderBuilder::new(ImageBatcher::new(images.clone(), normalization))
                .batch_size(recipe.batch_size)
                .set_device(device.clone())
        };
        let (images, test_images) = (Arc::new(dataset.train), Arc::new(dataset.test));
        Ok(Self {
            train: builder(&images)
                .shuffle(args.seed)
                .build(InMemDataset::new(train)),
            valid: builder(&images).build(InMemDataset::new(valid)),
            test: builder(&test_images).build(InMemDataset::new(test)),
        })
    }
}

/// Draws at most `limit` of `count` images and holds out a share of them, at least one.
fn split(
    count: usize,
    limit: usize,
    held_out_share: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), Error> {
    let indices = ShuffledDataset::new(InMemDataset::new((0..count).collect()), seed);
    let mut train: Vec<usize> = (0..count.min(limit))
        .filter_map(|index| indices.get(index).ok())
        .collect();
    if train.len() < 2 {
        return Err(Error::TooFew { found: train.len() });
    }
    let held_out = ((train.len() as f64 * held_out_share) as usize).max(1);
    let valid = train.split_off(train.len() - held_out);
    Ok((train, valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_covers_every_image_once_and_depends_on_the_seed_alone() {
        let (train, valid) = split(100, usize::MAX, 0.1, 3).expect("enough");
        assert_eq!((train.len(), valid.len()), (90, 10));
        let mut all = [train.clone(), valid.clone()].concat();
        all.sort();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(
            split(100, usize::MAX, 0.1, 3).expect("enough"),
            (train.clone(), valid)
        );
        assert_ne!(split(100, usize::MAX, 0.1, 4).expect("enough").0, train);
    }

    #[test]
    fn a_limit_leaves_images_for_training_and_validation() {
        let (train, valid) = split(100, 2, 0.1, 3).expect("enough");
        assert_eq!((train.len(), valid.len()), (1, 1));
        for (count, limit) in [(1, 9), (9, 1), (0, 9)] {
            assert!(matches!(
                split(count, limit, 0.1, 3),
                Err(Error::TooFew { .. })
            ));
        }
    }
}
