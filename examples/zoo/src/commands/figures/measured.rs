//! What trained networks are measured for: the time of inference, and how far filters are correlated.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use linearconv::{Conv, Inference, correlation_matrix};
use serde::{Deserialize, Serialize};

use super::records::{NETWORKS, VARIANTS};
use crate::Error;
use crate::memory::keep_freed_memory;
use crate::models::{AnyNetwork, IMAGE_SIDE, Layer, Layered as _, Network, NetworkName};
use crate::output::say;
use crate::weights::load;

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    /// The time of inference of each network.
    pub times: Vec<Time>,
    /// The correlation of the filters of some layers.
    pub correlations: Vec<Correlation>,
}

/// How long a network takes that is made for inference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Time {
    /// The name of its result.
    pub name: String,
    /// Images in a batch.
    pub batch: usize,
    /// The median time of a batch, in milliseconds.
    pub milliseconds: f64,
}

/// How far the filters of a layer are correlated, the primary filters alone where the layer has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Correlation {
    /// The name of the result.
    pub name: String,
    /// The number of the layer, from 1.
    pub layer: usize,
    /// How many filters there are.
    pub filters: usize,
    /// The mean of the absolute correlations off the diagonal.
    pub mean: f64,
    /// The correlations of the first filters, at most [`SHOWN`], in hundredths.
    pub hundredths: Vec<Vec<i8>>,
}

/// How many filters of a layer are shown.
pub(super) const SHOWN: usize = 32;
/// The runs whose filters are correlated, and what the figure calls them.
pub(super) const CORRELATED: [(&str, &str); 3] = [
    ("base-cifar10-dense-0", "dense"),
    ("base-cifar10-without-loss-0", "LinearConv without the loss"),
    ("base-cifar10-full-0", "LinearConv with the loss"),
];

const BUDGETS: [&str; 3] = ["to-0.5", "to-0.35", "to-0.25"];
const BATCH: usize = 32;
/// Networks take turns: a pause in which threads fall asleep, and calls in a row, the first of which do not
/// count.
const TURNS: usize = 9;
const PAUSE: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_millis(50);
const TURN: Duration = Duration::from_millis(350);

impl Measured {
    /// Measures the networks that the runs of a folder have trained. Nothing else should run meanwhile.
    ///
    /// # Errors
    /// Names the weights that cannot be read.
    pub fn of(runs: &Path) -> Result<Self, Error> {
        keep_freed_memory();
        let mut times = Vec::new();
        for network in NETWORKS {
            times.extend(times_of(network, runs)?);
        }
        let mut correlations = Vec::new();
        for (name, _) in CORRELATED {
            let path = runs.join(name).join("model.bpk");
            let mut network = trained(NetworkName::Base, &path)?;
            let convs = network
                .layers()
                .into_iter()
                .filter_map(|layer| match layer {
                    Layer::Conv { conv, .. } => filters(conv),
                    Layer::Linear { .. } => None,
                });
            for (index, filters) in convs.enumerate() {
                correlations.push(Correlation::of(name, index + 1, filters)?);
            }
        }
        Ok(Self {
            times,
            correlations,
        })
    }
}

/// The network of a run.
fn trained(network: NetworkName, path: &Path) -> Result<AnyNetwork, Error> {
    let loaded = load(network, path, &Device::flex());
    let loaded = loaded.map_err(|source| Error::Load {
        path: path.into(),
        source: Box::new(source),
    })?;
    Ok(loaded.network)
}

/// The filters that a layer learns directly.
fn filters(conv: &Conv) -> Option<Tensor<4>> {
    match conv {
        Conv::Dense(conv) => Some(conv.weight.val()),
        Conv::Linear(conv) => Some(conv.primary.val()),
        _ => None,
    }
}

impl Correlation {
    fn of(name: &str, layer: usize, filters: Tensor<4>) -> Result<Self, Error> {
        let matrix = correlation_matrix(filters.flatten::<2>(1, 3));
        let [count, _] = matrix.dims();
        let values = matrix.into_data().convert::<f32>().try_to_vec::<f32>();
        let values = values.map_err(|error| Error::Training(error.to_string()))?;
        let rows: Vec<&[f32]> = values.chunks(count).collect();
        let sum: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
        let diagonal: f64 = (0..count).map(|at| f64::from(rows[at][at].abs())).sum();
        let hundredths = |row: &[f32]| -> Vec<i8> {
            let shown = row.iter().take(SHOWN);
            shown.map(|value| (value * 100.0).round() as i8).collect()
        };
        Ok(Self {
            name: name.into(),
            layer,
            filters: count,
            mean: (sum - diagonal) / (count * (count - 1)).max(1) as f64,
            hundredths: rows.iter().take(SHOWN).map(|row| hundredths(row)).collect(),
        })
    }
}

/// The times of the networks of one architecture, which take turns.
fn times_of(network: NetworkName, runs: &Path) -> Result<Vec<Time>, Error> {
    let variants = VARIANTS.iter().map(|(variant, _)| format!("{variant}-0"));
    let kinds = variants.chain(BUDGETS.map(String::from));
    let mut contestants: Vec<(String, Inference<AnyNetwork>)> = Vec::new();
    for kind in kinds {
        let name = format!("{network}-cifar10-{kind}");
        let files = ["compressed.bpk", "model.bpk"].map(|file| runs.join(&name).join(file));
        let Some(file) = files.iter().find(|file| file.exists()) else {
            say!("{name}: no such run");
            continue;
        };
        let network = trained(network, file)?;
        contestants.push((name, Inference::new(network)));
    }
    let mut times = Vec::new();
    for batch in [1, BATCH] {
        let size = [batch, 3, IMAGE_SIDE, IMAGE_SIDE];
        let images = Tensor::random(size, Distribution::Default, &Device::flex());
        let mut samples = vec![Vec::new(); contestants.len()];
        for _ in 0..TURNS {
            for ((_, network), samples) in contestants.iter().zip(&mut samples) {
                turn(network, &images, samples);
            }
        }
        for ((name, _), samples) in contestants.iter().zip(&mut samples) {
            samples.sort();
            times.push(Time {
                name: name.clone(),
                batch,
                milliseconds: samples[samples.len() / 2].as_secs_f64() * 1e3,
            });
        }
    }
    Ok(times)
}

/// Calls in a row.
fn turn(network: &Inference<AnyNetwork>, images: &Tensor<4>, samples: &mut Vec<Duration>) {
    thread::sleep(PAUSE);
    let started = Instant::now();
    loop {
        let call = Instant::now();
        let counts = started.elapsed() > WARM_UP;
        drop(network.forward(images.clone()).into_data());
        if counts {
            samples.push(call.elapsed());
        }
        if counts && started.elapsed() > TURN {
            return;
        }
    }
}
