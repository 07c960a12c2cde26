//! The steps that follow a convolution, as one operation of the flex backend: normalization,
//! shortcut, ReLU and max pooling.
//!
//! Burn's own operations take several passes over memory each, and its normalization runs on one
//! thread. Here a forward pass reads the maps once for the statistics and once for the output. A
//! backward pass reads them once for the sums and once for the gradient of the maps. Only the maps
//! and the output are kept for the backward pass; the neighbouring convolutions keep them anyway.
//! The output holds the mask of ReLU. Pooling also keeps one byte for each window.

mod backward;
mod call;
mod channel;
mod extension;
mod forward;
mod lanes;
mod moments;
mod parts;
mod planes;
mod pool;
mod statistics;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use extension::EpilogueBackend;
use parts::{Norm, Parts, Running};

/// The settings of the steps behind the convolution, without their tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// The epsilon of the normalization.
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    /// Height and width of the pooling windows, which lie side by side.
    pub(crate) pool: Option<[usize; 2]>,
}

/// The weights of a normalization.
pub(crate) struct Weights {
    pub(crate) gamma: Tensor<1>,
    pub(crate) beta: Tensor<1>,
    /// Running mean and variance. `None`: the statistics are those of the batch.
    pub(crate) running: Option<[Tensor<1>; 2]>,
}

/// The most values of a pooling window: one byte tells which is the largest.
const MOST_TAPS: usize = 1 << u8::BITS;

/// Whether the operation can apply these steps to the maps, on this thread.
pub(crate) fn supports(
    maps: &Tensor<4>,
    norm: Option<&Weights>,
    shortcut: Option<&Tensor<4>>,
) -> bool {
    let [_, channels, ..] = maps.dims();
    let of_channels =
        |tensor: &Tensor<1>| tensor.dims() == [channels] && tensor.dtype() == maps.dtype();
    let norm = norm.is_none_or(|norm| {
        let running = norm.running.iter().flatten();
        [&norm.gamma, &norm.beta]
            .into_iter()
            .chain(running)
            .all(of_channels)
    });
    let shortcut = shortcut
        .is_none_or(|shortcut| shortcut.dims() == maps.dims() && shortcut.dtype() == maps.dtype());
    super::enabled(maps) && norm && shortcut
}

/// Whether the operation can pool maps of this size by these windows.
pub(crate) fn supports_pool([height, width]: [usize; 2], window: [usize; 2]) -> bool {
    let taps = window[0] * window[1];
    (1..=MOST_TAPS).contains(&taps) && height >= window[0] && width >= window[1]
}

/// Applies the steps. Where the statistics are those of the batch, also returns the mean and the
/// biased variance of each channel.
///
/// # Shapes
/// - maps, shortcut: `[batch_size, channels, height, width]`
/// - output: as the maps, or one value for each pooling window
/// - statistics: `[channels]` each
pub(crate) fn epilogue(
    maps: Tensor<4>,
    norm: Option<Weights>,
    shortcut: Option<Tensor<4>>,
    steps: Steps,
) -> (Tensor<4>, Option<[Tensor<1>; 2]>) {
    let parts = Parts {
        maps: maps.into_dispatch(),
        norm: norm.map(|norm| Norm {
            gamma: norm.gamma.into_dispatch(),
            beta: norm.beta.into_dispatch(),
            running: norm.running.map(|[mean, variance]| Running {
                mean: mean.into_dispatch(),
                variance: variance.into_dispatch(),
            }),
        }),
        shortcut: shortcut.map(Tensor::into_dispatch),
    };
    let (output, moments) = Dispatch::epilogue(parts, steps);
    let statistics = moments.map(|moments| {
        let moments = Tensor::<2>::from_dispatch(moments);
        [0, 1].map(|row| moments.clone().narrow(0, row, 1).squeeze_dim(0))
    });
    (Tensor::from_dispatch(output), statistics)
}
