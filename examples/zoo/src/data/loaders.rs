use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use burn::data::dataloader::{DataLoader, DataLoaderBuilder, DataLoaderIterator};
use burn::data::dataset::transform::ShuffledDataset;
use burn::data::dataset::{Dataset as _, DatasetError, InMemDataset};
use burn::tensor::Device;

use super::augmentation::split_mix;
use super::{Dataset, DatasetName, Error, ImageBatch, ImageBatcher, Sample};

/// How a data set is split and put into batches.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Images in a batch.
    pub batch_size: usize,
    /// The share of training images that are held out for validation.
    pub validation_share: f64,
    /// The most training images to use, validation included.
    pub train_limit: Option<usize>,
    /// The most test images to use.
    pub test_limit: Option<usize>,
    /// What the split, the order and the augmentation are drawn from.
    pub seed: u64,
    /// The epoch that the first pass over the training images is, from 1.
    pub first_epoch: usize,
}

/// Batches of the three parts of a data set.
pub struct Loaders {
    /// To train on. The order of images and their augmentation depend on the seed and the epoch
    /// alone, so a run that goes on from a checkpoint sees the batches that it would have seen.
    pub train: Arc<dyn DataLoader<ImageBatch>>,
    /// The images to train on, always in the same order and without augmentation.
    pub calibration: Arc<dyn DataLoader<ImageBatch>>,
    /// Held out from the training set to choose the best epoch.
    pub valid: Arc<dyn DataLoader<ImageBatch>>,
    /// The test set, to be read once.
    pub test: Arc<dyn DataLoader<ImageBatch>>,
}

impl Loaders {
    /// Splits a data set.
    ///
    /// # Errors
    /// [`Error::TooFew`] where no image is left to train on or to hold out.
    pub fn new(
        name: DatasetName,
        dataset: Dataset,
        config: &LoaderConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let (train, valid) = split(dataset.train.len(), config)?;
        let test_limit = config.test_limit.unwrap_or(usize::MAX);
        let test: Vec<usize> = (0..dataset.test.len().min(test_limit)).collect();

        let (images, test_images) = (Arc::new(dataset.train), Arc::new(dataset.test));
        let plain = ImageBatcher::new(images.clone(), name.normalization());
        let builder = |batcher: ImageBatcher| {
            DataLoaderBuilder::new(batcher)
                .batch_size(config.batch_size)
                .set_device(device.clone())
        };
        let in_order = |indices: Vec<usize>| {
            let samples = indices.into_iter().map(|index| Sample { index, seed: 0 });
            InMemDataset::new(samples.collect())
        };
        let calibration = builder(plain.clone()).build(in_order(train.clone()));
        let order = EpochOrder::new(train, config.seed);
        let augmented = plain.clone().with_augmentation(name.augmentation());
        Ok(Self {
            train: Arc::new(EpochLoader {
                batches: builder(augmented).build(order.clone()),
                order,
                epoch: Arc::new(AtomicUsize::new(config.first_epoch)),
                device: device.clone(),
            }),
            calibration,
            valid: builder(plain).build(in_order(valid)),
            test: builder(ImageBatcher::new(test_images, name.normalization()))
                .build(in_order(test)),
        })
    }
}

/// Draws images up to the limit and holds out a share of them, at least one.
fn split(count: usize, config: &LoaderConfig) -> Result<(Vec<usize>, Vec<usize>), Error> {
    let mut train = shuffled((0..count).collect(), config.seed);
    train.truncate(config.train_limit.unwrap_or(count));
    if train.len() < 2 {
        return Err(Error::TooFew { found: train.len() });
    }
    let held_out = ((train.len() as f64 * config.validation_share) as usize).max(1);
    let valid = train.split_off(train.len() - held_out);
    Ok((train, valid))
}

fn shuffled(indices: Vec<usize>, seed: u64) -> Vec<usize> {
    let shuffled = ShuffledDataset::new(InMemDataset::new(indices), seed);
    (0..shuffled.len())
        .filter_map(|index| shuffled.get(index).ok())
        .collect()
}

/// The training images in the order of the present epoch.
#[derive(Clone)]
struct EpochOrder {
    indices: Arc<Vec<usize>>,
    seed: u64,
    samples: Arc<RwLock<Vec<Sample>>>,
}

impl EpochOrder {
    fn new(indices: Vec<usize>, seed: u64) -> Self {
        let order = Self {
            indices: Arc::new(indices),
            seed,
            samples: Arc::default(),
        };
        order.draw(0);
        order
    }

    fn draw(&self, epoch: usize) {
        let seed = split_mix(self.seed, epoch as u64);
        let order = shuffled(self.indices.to_vec(), seed);
        let samples = order.into_iter().map(|index| Sample { index, seed });
        *self.samples.write().unwrap_or_else(PoisonError::into_inner) = samples.collect();
    }
}

impl burn::data::dataset::Dataset<Sample> for EpochOrder {
    fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        let samples = self.samples.read().unwrap_or_else(PoisonError::into_inner);
        Ok(samples[index])
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// Draws a new order for each pass, and seeds the device, so that dropout depends on the epoch
/// alone too.
struct EpochLoader {
    batches: Arc<dyn DataLoader<ImageBatch>>,
    order: EpochOrder,
    epoch: Arc<AtomicUsize>,
    device: Device,
}

impl DataLoader<ImageBatch> for EpochLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageBatch> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        self.order.draw(epoch);
        self.device.seed(split_mix(self.order.seed, epoch as u64));
        self.batches.iter()
    }

    fn num_items(&self) -> usize {
        self.batches.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        Arc::new(Self {
            batches: self.batches.to_device(device),
            order: self.order.clone(),
            epoch: self.epoch.clone(),
            device: device.clone(),
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageBatch>> {
        self.batches.slice(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(train_limit: Option<usize>) -> LoaderConfig {
        LoaderConfig {
            batch_size: 4,
            validation_share: 0.1,
            train_limit,
            test_limit: None,
            seed: 3,
            first_epoch: 1,
        }
    }

    #[test]
    fn a_split_covers_every_image_once_and_depends_on_the_seed_alone() {
        let (train, valid) = split(100, &config(None)).expect("enough");
        assert_eq!((train.len(), valid.len()), (90, 10));
        let mut all = [train.clone(), valid.clone()].concat();
        all.sort();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(
            split(100, &config(None)).expect("enough"),
            (train.clone(), valid)
        );
        let other = LoaderConfig {
            seed: 4,
            ..config(None)
        };
        assert_ne!(split(100, &other).expect("enough").0, train);
    }

    #[test]
    fn a_limit_leaves_images_for_training_and_validation() {
        let (train, valid) = split(100, &config(Some(2))).expect("enough");
        assert_eq!((train.len(), valid.len()), (1, 1));
        for (count, limit) in [(1, None), (9, Some(1)), (0, None)] {
            let error = split(count, &config(limit)).expect_err("too few");
            assert!(matches!(error, Error::TooFew { .. }));
        }
    }

    /// The labels that an epoch loader gives in its next passes; images are told by their label.
    fn passes(first_epoch: usize, count: usize) -> Vec<Vec<i64>> {
        let images = super::super::Images {
            pixels: vec![0; 28 * 28 * 40],
            labels: (0..40).collect(),
            shape: [1, 28, 28],
        };
        let dataset = Dataset {
            train: images.clone(),
            test: images,
        };
        let config = LoaderConfig {
            first_epoch,
            ..config(None)
        };
        let device = Device::flex();
        let loaders = Loaders::new(DatasetName::Mnist, dataset, &config, &device).expect("enough");
        let labels = |batch: ImageBatch| batch.labels.try_to_vec_as::<i64>().expect("labels");
        let pass = |_| {
            let batches = loaders.train.iter();
            batches
                .flat_map(|batch| labels(batch.expect("a batch")))
                .collect()
        };
        (0..count).map(pass).collect()
    }

    #[test]
    fn every_epoch_has_an_order_of_its_own_whatever_came_before() {
        let all = passes(1, 3);
        assert_ne!(all[0], all[1]);
        assert_ne!(all[1], all[2]);
        assert_eq!(passes(3, 1)[0], all[2]);
        let sorted = all.iter().map(|pass| {
            let mut pass = pass.clone();
            pass.sort();
            pass
        });
        let sorted: Vec<_> = sorted.collect();
        assert_eq!(sorted[0].len(), 36);
        assert_eq!(sorted[0], sorted[2]);
    }
}
