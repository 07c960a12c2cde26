//! The steps that follow a convolution, on tensors of the flex backend.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, TensorData};

use super::super::real::Real;
use super::Steps;
use super::backward::Outgoing;
use super::channel::{Affine, Channel};
use super::forward::Pass;
use super::parts::{Norm, Parts};
use super::planes::Planes;
use super::pool::Windows;
use super::statistics::statistics;

/// The results of [`forward`].
pub(super) struct Forward {
    pub(super) output: FlexTensor,
    /// Mean and biased variance of every channel, `[2, channels]`, where the statistics are those
    /// of the batch.
    pub(super) moments: Option<FlexTensor>,
    pub(super) kept: Kept,
}

/// What the backward pass needs besides the maps.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    planes: Planes,
    /// The normalization of each channel.
    channels: Option<Vec<Channel>>,
    /// Whether the normalization uses the statistics of the batch.
    batch: bool,
    /// The output, if there is a ReLU.
    output: Option<FlexTensor>,
    /// The tap of each pooling window that gets its gradient; empty without pooling.
    taps: Vec<u8>,
    steps: Steps,
}

/// Applies the steps to the maps.
pub(super) fn forward(parts: Parts<FlexTensor>, steps: Steps) -> Forward {
    let parts = parts.map(|tensor| tensor.to_contiguous());
    match parts.maps.dtype() {
        DType::F64 => forward_in::<f64>(&parts, steps),
        _ => forward_in::<f32>(&parts, steps),
    }
}

/// The gradients of maps, gamma, beta and shortcut that are wanted. Running statistics get none.
pub(super) fn backward(
    kept: Kept,
    wanted: Parts<bool>,
    maps: Option<FlexTensor>,
    gradient: FlexTensor,
) -> Parts<Option<FlexTensor>> {
    let gradient = gradient.to_contiguous();
    let maps = maps.map(|maps| maps.to_contiguous());
    match gradient.dtype() {
        DType::F64 => backward_in::<f64>(kept, wanted, maps, gradient),
        _ => backward_in::<f32>(kept, wanted, maps, gradient),
    }
}

fn forward_in<T: Real>(parts: &Parts<FlexTensor>, steps: Steps) -> Forward {
    let planes = parts.planes();
    let maps = T::values(&parts.maps);
    let channels = parts
        .norm
        .as_ref()
        .map(|norm| channels::<T>(planes, maps, norm, steps.epsilon));
    let (channels, moments) = channels.unzip();
    let affine: Option<Vec<Affine<T>>> = channels
        .as_ref()
        .map(|channels: &Vec<Channel>| channels.iter().map(Channel::affine).collect());
    let pass = Pass {
        planes,
        maps,
        channels: affine.as_deref(),
        shortcut: parts.shortcut.as_ref().map(T::values),
        relu: steps.relu,
    };
    let windows = steps.windows(planes);
    let (output, taps) = match &windows {
        Some(windows) => pass.run_pooled(windows),
        None => (pass.run(), Vec::new()),
    };
    let [height, width] = windows.map_or(planes.size, |windows| windows.pooled());
    let shape = [planes.batch_size, planes.channels, height, width];
    let output = tensor(output, shape);
    Forward {
        kept: Kept {
            planes,
            channels,
            batch: parts
                .norm
                .as_ref()
                .is_some_and(|norm| norm.running.is_none()),
            output: steps.relu.then(|| output.clone()),
            taps,
            steps,
        },
        moments: moments.flatten(),
        output,
    }
}

/// The normalization of each channel. Also the moments, if the statistics are those of the batch.
fn channels<T: Real>(
    planes: Planes,
    maps: &[T],
    norm: &Norm<FlexTensor>,
    epsilon: f64,
) -> (Vec<Channel>, Option<FlexTensor>) {
    let values = |tensor| -> Vec<f64> {
        let values = T::values(tensor).iter();
        values.map(|value| (*value).into()).collect()
    };
    let (means, variances): (Vec<f64>, Vec<f64>) = match &norm.running {
        Some(running) => (values(&running.mean), values(&running.variance)),
        None => {
            let moments = statistics(planes, maps).into_iter();
            moments
                .map(|moments| (moments.mean(), moments.variance()))
                .unzip()
        }
    };
    let moments = norm.running.is_none().then(|| {
        let values = means.iter().chain(&variances).copied().map(T::from_f64);
        tensor(values.collect(), [2, planes.channels])
    });
    let weights = values(&norm.gamma).into_iter().zip(values(&norm.beta));
    let channels = means.into_iter().zip(variances).zip(weights);
    let channels = channels.map(|((mean, variance), (gamma, beta))| Channel {
        mean,
        inverse_deviation: (variance + epsilon).sqrt().recip(),
        gamma,
        beta,
    });
    (channels.collect(), moments)
}

fn backward_in<T: Real>(
    kept: Kept,
    wanted: Parts<bool>,
    maps: Option<FlexTensor>,
    gradient: FlexTensor,
) -> Parts<Option<FlexTensor>> {
    let Kept {
        planes,
        channels,
        batch,
        output,
        taps,
        steps,
    } = kept;
    let windows = steps.windows(planes);
    let outgoing = Outgoing {
        planes,
        gradient: T::values(&gradient),
        output: output.as_ref().map(T::values),
        pool: windows.as_ref().map(|windows| (windows, taps.as_slice())),
    };
    let [height, width] = planes.size;
    let of_maps = |values| tensor(values, [planes.batch_size, planes.channels, height, width]);
    // The gradient behind ReLU and pooling is the gradient of the shortcut. Without a normalization
    // it is also the gradient of the maps.
    let through = wanted.shortcut == Some(true) || channels.is_none();
    let passed = through.then(|| match steps.relu || windows.is_some() {
        true => of_maps(outgoing.pass()),
        false => gradient.clone(),
    });
    let mut gradients = wanted.map(|_| None);
    if let Some(shortcut) = &mut gradients.shortcut {
        *shortcut = passed.clone().filter(|_| wanted.shortcut == Some(true));
    }
    let (Some(channels), Some(maps)) = (channels, maps) else {
        gradients.maps = passed.filter(|_| wanted.maps);
        return gradients;
    };
    let outgoing = match &passed {
        Some(passed) => Outgoing::passed(planes, T::values(passed)),
        None => outgoing,
    };
    let maps = T::values(&maps);
    let sums = outgoing.sums(maps, &channels);
    let pairs = channels.iter().zip(&sums);
    if let (Some(gradients), Some(wanted)) = (&mut gradients.norm, wanted.norm) {
        let weights = pairs.clone();
        let weights = weights.map(|(channel, sums)| channel.weight_gradients::<T>(*sums).into());
        let (gamma, beta): (Vec<T>, Vec<T>) = weights.unzip();
        let weight = |values| tensor(values, [planes.channels]);
        gradients.gamma = wanted.gamma.then(|| weight(gamma));
        gradients.beta = wanted.beta.then(|| weight(beta));
    }
    if wanted.maps {
        let count = batch.then(|| planes.batch_size * planes.plane());
        let channels = pairs.map(|(channel, sums)| channel.input_gradient(*sums, count));
        let channels: Vec<_> = channels.collect();
        gradients.maps = Some(of_maps(outgoing.input_gradient(maps, &channels)));
    }
    gradients
}

fn tensor<T: Real, const D: usize>(values: Vec<T>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl Steps {
    /// The pooling windows.
    fn windows(self, planes: Planes) -> Option<Windows> {
        self.pool.map(|window| Windows::new(window, planes.size))
    }
}
