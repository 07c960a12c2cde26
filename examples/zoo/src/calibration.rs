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
        let step = (new.dims()[1] / missing).max(1);
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
