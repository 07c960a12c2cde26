//! The tensors of the steps that follow a convolution.

use burn::backend::flex::FlexTensor;

use super::planes::Planes;

/// One value for each tensor: the tensor itself, its gradient, or whether the gradient is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<V> {
    /// `[batch_size, channels, height, width]`
    pub(super) maps: V,
    pub(super) norm: Option<Norm<V>>,
    /// The shape is that of the maps.
    pub(super) shortcut: Option<V>,
}

/// The tensors of a normalization, of shape `[channels]` each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm<V> {
    pub(super) gamma: V,
    pub(super) beta: V,
    /// The statistics to normalize by. `None`: the statistics of the batch.
    pub(super) running: Option<Running<V>>,
}

/// Running statistics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running<V> {
    pub(super) mean: V,
    pub(super) variance: V,
}

/// The most tensors that the steps can have.
pub(super) const MAX_PARTS: usize = 6;

impl<V> Parts<V> {
    pub(super) fn as_ref(&self) -> Parts<&V> {
        Parts {
            maps: &self.maps,
            norm: self.norm.as_ref().map(|norm| Norm {
                gamma: &norm.gamma,
                beta: &norm.beta,
                running: norm.running.as_ref().map(|running| Running {
                    mean: &running.mean,
                    variance: &running.variance,
                }),
            }),
            shortcut: self.shortcut.as_ref(),
        }
    }

    /// Maps the values, in the order of [`values`](Self::values).
    pub(super) fn map<W>(self, mut map: impl FnMut(V) -> W) -> Parts<W> {
        Parts {
            maps: map(self.maps),
            norm: self.norm.map(|norm| Norm {
                gamma: map(norm.gamma),
                beta: map(norm.beta),
                running: norm.running.map(|running| Running {
                    mean: map(running.mean),
                    variance: map(running.variance),
                }),
            }),
            shortcut: self.shortcut.map(map),
        }
    }

    /// The values of the tensors that exist, at most [`MAX_PARTS`].
    pub(super) fn values(self) -> impl Iterator<Item = V> {
        let norm = self.norm.into_iter().flat_map(|norm| {
            let running = norm.running.into_iter();
            let running = running.flat_map(|running| [running.mean, running.variance]);
            [norm.gamma, norm.beta].into_iter().chain(running)
        });
        [self.maps].into_iter().chain(norm).chain(self.shortcut)
    }
}

impl Parts<FlexTensor> {
    /// The sizes of the maps.
    pub(super) fn planes(&self) -> Planes {
        let [batch_size, channels, height, width] = self.maps.layout().shape().dims();
        Planes {
            batch_size,
            channels,
            size: [height, width],
        }
    }
}
