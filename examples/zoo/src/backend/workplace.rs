//! The devices of a training.

use std::time::Duration;

use burn::tensor::Device;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::{ExecutionStrategy, MultiDeviceOptim};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Backend, DeviceName};
use crate::Error;

/// How several devices train together.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parallel {
    /// The first device adds up the gradients of all and makes the step.
    Multi,
    /// Every device makes the step, with gradients that all have reduced; needs cuda.
    Ddp,
}

/// Where a training computes.
pub(crate) struct Workplace {
    pub(crate) devices: Vec<Device>,
    pub(crate) parallel: Parallel,
    /// The least time between two readings of a device.
    pub(crate) reading_interval: Duration,
}

impl Workplace {
    /// So many devices from the named one on.
    ///
    /// # Errors
    /// Those of [`DeviceName::devices`], and [`Error::Flags`] where the devices cannot train that way.
    pub(crate) fn new(name: &DeviceName, count: usize, parallel: Parallel) -> Result<Self, Error> {
        if parallel == Parallel::Ddp && name.backend != Backend::Cuda {
            let reason = format!(
                "--parallel ddp: Burn 0.22 reduces gradients over devices on cuda, not on {name}; \
                 --parallel multi works on flex, ndarray, wgpu and cuda"
            );
            return Err(Error::Flags(reason));
        }
        if count > 1 && name.backend == Backend::Remote {
            // The server loses them at random, and the run then waits for ever.
            let reason = "--devices: Burn 0.22 loses tensors that move between two devices of a \
                          server; train on one of them";
            return Err(Error::Flags(reason.into()));
        }
        Ok(Self {
            devices: name.devices(count)?,
            parallel,
            // A CPU is never waited for. On others, as often as a person reads.
            reading_interval: match name.backend.is_asynchronous() {
                true => Duration::from_secs(1),
                false => Duration::ZERO,
            },
        })
    }

    /// The device that validates and tests.
    pub(crate) fn main(&self) -> &Device {
        &self.devices[0]
    }

    pub(crate) fn strategy(&self) -> ExecutionStrategy {
        let devices = || self.devices.iter().map(|device| device.clone().autodiff());
        match (self.devices.as_slice(), self.parallel) {
            ([device], _) => ExecutionStrategy::single(device.clone()),
            (_, Parallel::Multi) => {
                ExecutionStrategy::multi(devices().collect(), MultiDeviceOptim::OptimMainDevice)
            }
            // A sum, as with `multi`: every loss is weighted by its share of the batch.
            (_, Parallel::Ddp) => ExecutionStrategy::ddp(
                devices().collect(),
                DistributedConfig {
                    all_reduce_op: ReduceOperation::Sum,
                },
            ),
        }
    }
}
