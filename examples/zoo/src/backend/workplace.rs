//! The devices that a training uses.

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
    /// The first device adds up the gradients of all devices and makes the step.
    Multi,
    /// The devices reduce their gradients together, and every device makes the step; needs cuda.
    Ddp,
}

/// The devices of a training, and how they work together.
pub(crate) struct Workplace {
    pub(crate) devices: Vec<Device>,
    pub(crate) parallel: Parallel,
    /// The shortest time between two readings of a device.
    pub(crate) reading_interval: Duration,
}

impl Workplace {
    /// Opens `count` devices, the named device first.
    ///
    /// # Errors
    /// The errors of [`DeviceName::devices`], and [`Error::Flags`] if the devices cannot train together in
    /// this way.
    pub(crate) fn new(name: &DeviceName, count: usize, parallel: Parallel) -> Result<Self, Error> {
        if parallel == Parallel::Ddp && name.backend != Backend::Cuda {
            let reason = format!(
                "--parallel ddp: Burn 0.22 reduces gradients over devices on cuda, not on {name}; \
                 --parallel multi works on flex, ndarray, wgpu and cuda"
            );
            return Err(Error::Flags(reason));
        }
        if count > 1 && name.backend == Backend::Remote {
            // The server loses such tensors at random, and the run then waits for ever.
            let reason = "--devices: Burn 0.22 loses tensors that move between two devices of a \
                          server; train on one device of the server";
            return Err(Error::Flags(reason.into()));
        }
        Ok(Self {
            devices: name.devices(count)?,
            parallel,
            // Reading from a CPU does not wait. On other devices once a second is often enough for a person.
            reading_interval: match name.backend.is_asynchronous() {
                true => Duration::from_secs(1),
                false => Duration::ZERO,
            },
        })
    }

    /// The device for validation and test.
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
            // A sum, as with `multi`: every loss is weighted by its fraction of the batch.
            (_, Parallel::Ddp) => ExecutionStrategy::ddp(
                devices().collect(),
                DistributedConfig {
                    all_reduce_op: ReduceOperation::Sum,
                },
            ),
        }
    }
}
