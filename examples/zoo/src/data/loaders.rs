use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder, DataLoaderIterator, Progress};
use burn::data::dataset::transform::ShuffledDataset;
use burn::data::dataset::{Dataset as _, DatasetError, InMemDataset};
use burn::tensor::Device;

use super::augmentation::split_mix;
use super::{Dataset, DatasetName, Error, ImageBatch, ImageBatcher, Sample};

/// How a data set is split and divided into batches.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Images in a batch.
    pub batch_size: usize,
    /// The fraction of the training images that is held out for validation.
    pub validation_share: f64,
    /// The largest number of training images to use; the validation images are among them.
    pub train_limit: Option<usize>,
    /// The largest number of test images to use.
    pub test_limit: Option<usize>,
    /// The seed of the split, the order and the augmentation.
    pub seed: u64,
    /// The number of the epoch that the first pass over the training images is, from 1.
    pub first_epoch: usize,
    /// The number of devices that divide every batch of training images.
    pub devices: usize,
}

/// Batches of the three parts of a data set.
pub struct Loaders {
    /// The training images. Their order and their augmentation depend on the seed and the epoch alone. So a
    /// run that continues from a checkpoint sees the same batches as an uninterrupted run.
    ///
    /// For several devices, burn-train slices this loader. Each slice has its part of every batch.
    pub train: Arc<dyn DataLoader<ImageBatch>>,
    /// The number of batches in an epoch of training.
    pub steps_per_epoch: usize,
    /// The training images, always in the same order and without augmentation.
    pub calibration: Arc<dyn DataLoader<ImageBatch>>,
    /// The images that are held out from the training set, to choose the best epoch.
    pub valid: Arc<dyn DataLoader<ImageBatch>>,
    /// The test images. A training run reads them once.
    pub test: Arc<dyn DataLoader<ImageBatch>>,
}

impl Loaders {
    /// Splits a data set.
    ///
    /// # Errors
    /// - [`Error::TooFew`] if no image is left for training or for validation.
    /// - [`Error::TooFewForDevices`] if a device would have no image of a batch.
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
        let parts = Parts {
            images: train.len(),
            batch_size: config.batch_size,
            count: config.devices,
        };
        if parts.steps() == 0 {
            return Err(Error::TooFewForDevices {
                found: train.len(),
                devices: config.devices,
            });
        }
        Ok(Self {
            steps_per_epoch: parts.steps(),
            train: Arc::new(EpochLoader {
                batcher: plain.clone().with_augmentation(name.augmentation()),
                images: Arc::new(train),
                seed: config.seed,
                epoch: AtomicUsize::new(config.first_epoch),
                parts,
                part: None,
                device: device.clone(),
            }),
            calibration,
            valid: builder(plain).build(in_order(valid)),
            test: builder(ImageBatcher::new(test_images, name.normalization()))
                .build(in_order(test)),
        })
    }
}

/// Draws images up to the limit. Holds out a fraction of them for validation, at least one image.
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

/// How the images of an epoch are divided into batches, and how a batch is divided among devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    images: usize,
    batch_size: usize,
    count: usize,
}

impl Parts {
    /// The number of batches. Every device needs an image of every batch. So a last batch with fewer images
    /// than devices is left out; other epochs use its images, because their order differs.
    fn steps(&self) -> usize {
        let rest = self.images % self.batch_size;
        let last = usize::from(rest >= self.count && rest > 0);
        match self.batch_size >= self.count {
            true => self.images / self.batch_size + last,
            false => 0,
        }
    }

    /// The images of a batch, as places in the order of the epoch.
    fn batch(&self, step: usize) -> Range<usize> {
        let start = step * self.batch_size;
        start..(start + self.batch_size).min(self.images)
    }

    /// A device's images of a batch. The numbers of images of two devices differ by one at most.
    fn part(&self, step: usize, part: usize) -> Range<usize> {
        let batch = self.batch(step);
        let bound = |part: usize| batch.start + batch.len() * part / self.count;
        bound(part)..bound(part + 1)
    }
}

/// Draws a new order for each pass. Also seeds the device for each pass, so that dropout depends on the seed
/// and the epoch alone.
struct EpochLoader {
    batcher: ImageBatcher,
    /// The places of the training images in the data set.
    images: Arc<Vec<usize>>,
    seed: u64,
    epoch: AtomicUsize,
    parts: Parts,
    /// The device whose part of every batch is loaded; none for whole batches.
    part: Option<usize>,
    device: Device,
}

impl EpochLoader {
    fn copy(&self, part: Option<usize>, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        Arc::new(Self {
            batcher: self.batcher.clone(),
            images: self.images.clone(),
            seed: self.seed,
            epoch: AtomicUsize::new(self.epoch.load(Ordering::Relaxed)),
            parts: self.parts,
            part,
            device: device.clone(),
        })
    }

    fn range(&self, step: usize) -> Range<usize> {
        match self.part {
            Some(part) => self.parts.part(step, part),
            None => self.parts.batch(step),
        }
    }
}

impl DataLoader<ImageBatch> for EpochLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageBatch> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) as u64;
        let seed = split_mix(self.seed, epoch);
        // Each device draws its own dropout.
        let part = self.part.unwrap_or(0) as u64;
        self.device.seed(seed.wrapping_add(part));
        let order = shuffled(self.images.to_vec(), seed);
        let samples = order.into_iter().map(|index| Sample { index, seed });
        Box::new(Epoch {
            samples: samples.collect(),
            step: 0,
            processed: 0,
            total: self.num_items(),
            loader: self,
        })
    }

    fn num_items(&self) -> usize {
        (0..self.parts.steps())
            .map(|step| self.range(step).len())
            .sum()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        self.copy(self.part, device)
    }

    /// burn-train divides `num_items` among devices and gives the rest to the last device. Here the begin of
    /// a slice only tells which device it is for. Its images come from every batch, not from one range.
    fn slice(&self, start: usize, _end: usize) -> Arc<dyn DataLoader<ImageBatch>> {
        let length = self.num_items() / self.parts.count;
        self.copy(Some(start / length), &self.device)
    }
}

/// One pass over the training images.
struct Epoch<'a> {
    samples: Vec<Sample>,
    step: usize,
    processed: usize,
    total: usize,
    loader: &'a EpochLoader,
}

impl Iterator for Epoch<'_> {
    type Item = Result<ImageBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let EpochLoader {
            batcher,
            parts,
            device,
            ..
        } = self.loader;
        if self.step == parts.steps() {
            return None;
        }
        let range = self.loader.range(self.step);
        let share = range.len() as f64 / parts.batch(self.step).len() as f64;
        self.step += 1;
        self.processed += range.len();
        let batch = batcher.batch(self.samples[range].to_vec(), device);
        Some(Ok(ImageBatch { share, ..batch }))
    }
}

impl DataLoaderIterator<ImageBatch> for Epoch<'_> {
    fn progress(&self) -> Progress {
        let unit = Some("items".into());
        Progress::new(self.processed, self.total, unit)
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
            devices: 1,
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

    /// Loaders of 40 images, each with a label of its own; 36 of the images are for training.
    fn loaders(config: &LoaderConfig) -> Loaders {
        let images = super::super::Images {
            pixels: vec![0; 28 * 28 * 40],
            labels: (0..40).collect(),
            shape: [1, 28, 28],
        };
        let dataset = Dataset {
            train: images.clone(),
            test: images,
        };
        Loaders::new(DatasetName::Mnist, dataset, config, &Device::flex()).expect("enough")
    }

    /// The labels of every batch of the next pass.
    fn batches(loader: &dyn DataLoader<ImageBatch>) -> Vec<Vec<i64>> {
        let labels = |batch: ImageBatch| batch.labels.try_to_vec_as::<i64>().expect("labels");
        let batches = loader.iter();
        batches
            .map(|batch| labels(batch.expect("a batch")))
            .collect()
    }

    fn passes(first_epoch: usize, count: usize) -> Vec<Vec<i64>> {
        let config = LoaderConfig {
            first_epoch,
            ..config(None)
        };
        let loaders = loaders(&config);
        let pass = |_| batches(loaders.train.as_ref()).concat();
        (0..count).map(pass).collect()
    }

    /// The slices that burn-train makes of a loader for several devices.
    fn slices(
        loader: &Arc<dyn DataLoader<ImageBatch>>,
        devices: usize,
    ) -> Vec<Arc<dyn DataLoader<ImageBatch>>> {
        let devices = vec![Device::flex(); devices];
        burn::data::dataloader::split::split_dataloader(loader.clone(), &devices)
    }

    #[test]
    fn devices_share_every_batch_of_one_device() {
        // 36 images: batches of 5 leave one image over, batches of 7 and 8 leave some, batches of 4 none.
        for (batch_size, devices) in [(4, 2), (4, 4), (5, 2), (7, 2), (7, 3), (8, 3), (36, 5)] {
            let config = LoaderConfig {
                batch_size,
                devices,
                ..config(None)
            };
            let whole = loaders(&config);
            let parts = slices(&loaders(&config).train, devices);
            for _epoch in 0..2 {
                let expected = batches(whole.train.as_ref());
                let shares: Vec<_> = parts.iter().map(|part| batches(part.as_ref())).collect();
                assert_eq!(expected.len(), whole.steps_per_epoch);
                for (step, batch) in expected.iter().enumerate() {
                    let of_step: Vec<_> = shares.iter().map(|share| share[step].clone()).collect();
                    assert_eq!(of_step.concat(), *batch, "{batch_size}, {devices}, {step}");
                    let sizes = of_step.iter().map(Vec::len);
                    let (least, most) = (sizes.clone().min(), sizes.max());
                    assert!(least > Some(0) && most <= least.map(|least| least + 1));
                }
            }
            let weights = parts.iter().map(|part| {
                let first = part.iter().next().expect("a batch").expect("a batch");
                first.share
            });
            assert!((weights.sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn too_few_images_for_the_devices_are_an_error() {
        let parts = |images, batch_size, count| Parts {
            images,
            batch_size,
            count,
        };
        assert_eq!(parts(10, 4, 2).steps(), 3);
        assert_eq!(parts(9, 4, 2).steps(), 2);
        assert_eq!(parts(9, 4, 5).steps(), 0);
        assert_eq!(parts(2, 4, 3).steps(), 0);
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
