//! What the filters of a network answer to images, seen while it runs: its blocks record the inputs
//! of their convolutions during a forward pass.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::data::dataloader::DataLoader;
use burn::module::ParamId;
use burn::tensor::{Tensor, s};
use linearconv::{Conv, responses};

use crate::Error;
use crate::data::ImageBatch;
use crate::models::Network;

/// Output pixels that are kept of a layer for each of its filters: enough for a fit of their
/// combinations.
const PIXELS_PER_FILTER: usize = 8;

/// By the weights of convolutions, `[filters, pixels]`.
type Responses = HashMap<ParamId, Tensor<2>>;

thread_local! {
    static RESPONSES: RefCell<Option<Responses>> = const { RefCell::new(None) };
}

/// Notes what the filters of a dense convolution of one group answer, until there is enough of it;
/// does nothing outside [`calibrate`].
pub fn record(conv: &Conv, input: &Tensor<4>) {
    let Conv::Dense(conv) = conv else { return };
    if conv.groups != 1 {
        // Their filters are fitted themselves: what one answers, others cannot combine.
        return;
    }
    RESPONSES.with_borrow_mut(|all| {
        let Some(all) = all else { return };
        let id = conv.weight.id;
        let missing = missing(conv.weight.lazy_shape()[0], all.get(&id));
        if missing == 0 {
            return;
        }
        let new = responses(conv, input.clone());
        // An odd step reaches every column of images whose sides are powers of two.
        let step = ((new.dims()[1] / missing).max(1) - 1) | 1;
        let mut kept = vec![new.slice_dim(1, s![..;step as isize])];
        kept.extend(all.remove(&id));
        all.insert(id, Tensor::cat(kept, 1));
    });
}

fn missing(filters: usize, responses: Option<&Tensor<2>>) -> usize {
    let pixels = responses.map_or(0, |responses| responses.dims()[1]);
    (PIXELS_PER_FILTER * filters).saturating_sub(pixels)
}

/// Runs batches through a network in its validation state until there are enough responses of
/// every dense convolution, or no more images, for
/// [`Compression::with_responses`](linearconv::Compression::with_responses).
///
/// # Errors
/// [`Error::Training`] where a batch cannot be read.
pub fn calibrate<N: Network>(
    network: &N,
    batches: &dyn DataLoader<ImageBatch>,
) -> Result<Responses, Error> {
    let mut all = Responses::new();
    for batch in batches.iter() {
        let batch = batch.map_err(|error| Error::Training(error.to_string()))?;
        RESPONSES.set(Some(all));
        network.forward(batch.images);
        all = RESPONSES.take().unwrap_or_default();
        if all.values().all(|of| missing(of.dims()[0], Some(of)) == 0) {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
    use burn::data::dataset::InMemDataset;
    use burn::module::Module;
    use burn::nn::PaddingConfig2d;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::{Device, Tensor};

    use super::*;

    /// One convolution whose first filter answers with its input, a second whose maps are smaller.
    #[derive(Module, Debug)]
    struct Copy {
        wide: Conv,
        narrow: Conv,
    }

    impl Network for Copy {
        fn forward(&self, images: Tensor<4>) -> Tensor<2> {
            for conv in [&self.wide, &self.narrow] {
                record(conv, &images);
            }
            images.flatten::<2>(1, 3)
        }
    }

    fn network(device: &Device) -> Copy {
        let conv = |stride: usize, filters| {
            let config = Conv2dConfig::new([1, filters], [1, 1])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Valid)
                .with_initializer(burn::nn::Initializer::Ones);
            Conv::Dense(config.init(device))
        };
        Copy {
            wide: conv(1, 4),
            narrow: conv(8, 16),
        }
    }

    /// Batches of 8 images, every pixel of which is its column.
    fn batches(images: usize, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        #[derive(Clone)]
        struct Columns;
        impl burn::data::dataloader::batcher::Batcher<usize, ImageBatch> for Columns {
            fn batch(&self, items: Vec<usize>, device: &Device) -> ImageBatch {
                let columns = Tensor::arange(0..32, device).float();
                ImageBatch {
                    images: columns
                        .reshape([1, 1, 1, 32])
                        .expand([items.len(), 1, 32, 32]),
                    labels: Tensor::zeros([items.len()], device),
                    share: 1.0,
                }
            }
        }
        DataLoaderBuilder::new(Columns)
            .batch_size(8)
            .set_device(device.clone())
            .build(InMemDataset::new((0..images).collect()))
    }

    #[test]
    fn responses_are_enough_and_of_all_columns() {
        let device = Device::flex();
        let network = network(&device);
        let of = |images| {
            let batches = batches(images, &device);
            let mut all = calibrate(&network, batches.as_ref()).expect("batches");
            [&network.wide, &network.narrow].map(|conv| {
                let Conv::Dense(conv) = conv else {
                    panic!("dense")
                };
                all.remove(&conv.weight.id).expect("recorded")
            })
        };
        let [wide, narrow] = of(80);
        assert!(
            (8 * 4..=2 * 8 * 4).contains(&wide.dims()[1]),
            "{:?}",
            wide.dims()
        );
        // The first batch has 8 · 4 · 4 pixels, which is all that is needed.
        assert_eq!(narrow.dims(), [16, 8 * 16]);
        let mut columns = wide
            .slice_dim(0, 0..1)
            .try_to_vec_as::<f32>()
            .expect("responses");
        columns.sort_by(f32::total_cmp);
        columns.dedup();
        assert!(columns.len() > 16, "{columns:?}");

        // As many as there are.
        let [_, narrow] = of(4);
        assert_eq!(narrow.dims(), [16, 4 * 16]);
    }
}
