//! The GPUs that CUDA finds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceType};

/// The GPUs, none where the driver is missing.
pub(super) fn found() -> Vec<Device> {
    Device::enumerate(DeviceType::Cuda).into_vec()
}

/// The name of a GPU and what its kernels are compiled for.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn describe(device: &Device) -> Result<String, String> {
    let identity = guarded(|| device.identity())?;
    let identity = identity.ok_or("it does not say what it is")?;
    Ok(format!("{}; CUDA; {}", identity.name, identity.fingerprint))
}

/// The device, initialized.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn open(device: Device) -> Result<Device, String> {
    guarded(|| device.sync())?.map_err(|error| error.to_string())?;
    Ok(device)
}

/// Burn has no fallible way to initialize CUDA: a driver that is too old or a GPU that is in use
/// alone by another process is a panic.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()));
        text.unwrap_or_else(|| "CUDA could not be initialized".into())
    })
}
