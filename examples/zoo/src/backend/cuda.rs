//! The GPUs that CUDA finds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceType};

/// All GPUs, or none if the driver is missing.
pub(super) fn found() -> Vec<Device> {
    Device::enumerate(DeviceType::Cuda).into_vec()
}

/// The name of a GPU and the architecture that its kernels are compiled for.
///
/// # Errors
/// The reason why the GPU cannot be opened.
pub(super) fn describe(device: &Device) -> Result<String, String> {
    let identity = guarded(|| device.identity())?;
    let identity = identity.ok_or("it does not say what it is")?;
    Ok(format!("{}; CUDA; {}", identity.name, identity.fingerprint))
}

/// Initializes a GPU.
///
/// # Errors
/// The reason why the GPU cannot be opened.
pub(super) fn open(device: Device) -> Result<Device, String> {
    guarded(|| device.sync())?.map_err(|error| error.to_string())?;
    Ok(device)
}

/// Turns a panic into an error. Burn panics when CUDA cannot be initialized: when the driver is too old, or
/// when another process uses the GPU exclusively.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()));
        text.unwrap_or_else(|| "CUDA could not be initialized".into())
    })
}
