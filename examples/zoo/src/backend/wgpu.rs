//! The adapters that wgpu finds.

use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::wgpu::{AdapterInfo, DeviceType as Kind};
use burn::tensor::{Device, DeviceKind, DeviceType};

use crate::output::say;

/// An upper bound for the number of adapters of one kind in a machine.
const MOST_OF_A_KIND: usize = 16;

/// All adapters: discrete GPUs first, software renderers last.
pub(super) fn found() -> Vec<Device> {
    let mut devices = Device::enumerate(DeviceType::Wgpu).into_vec();
    let ranks = kinds();
    devices.sort_by_key(|device| ranks.iter().position(|kind| is(device, kind)));
    devices
}

/// The names that Burn has for adapters, the best adapters first.
fn kinds() -> Vec<DeviceKind> {
    let indexed = [
        DeviceKind::DiscreteGpu,
        DeviceKind::IntegratedGpu,
        DeviceKind::VirtualGpu,
    ];
    let indexed = indexed.into_iter();
    let indexed = indexed.flat_map(|kind| (0..MOST_OF_A_KIND).map(kind));
    indexed.chain([DeviceKind::Cpu]).collect()
}

fn is(device: &Device, kind: &DeviceKind) -> bool {
    *device == Device::wgpu(kind.clone())
}

/// Name, kind, graphics API and driver of an adapter.
///
/// # Errors
/// The reason why the adapter cannot be opened.
pub(super) fn describe(device: &Device) -> Result<String, String> {
    let info = adapter(device)?;
    let kind = match info.device_type {
        Kind::DiscreteGpu => "discrete GPU",
        Kind::IntegratedGpu => "integrated GPU",
        Kind::VirtualGpu => "virtual GPU",
        Kind::Cpu => "software renderer on the CPU",
        Kind::Other => "of unknown kind",
    };
    let AdapterInfo {
        name,
        backend,
        driver,
        driver_info,
        ..
    } = info;
    Ok(format!(
        "{name}; {kind}; {backend:?}; driver {driver} {driver_info}"
    ))
}

/// Initializes a device. Prints a warning if the device is a software renderer.
///
/// # Errors
/// The reason why the device cannot be opened.
pub(super) fn open(device: Device) -> Result<Device, String> {
    let info = adapter(&device)?;
    if info.device_type == Kind::Cpu {
        say!(
            "warning: {} is a software renderer: it computes on the CPU, far slower than flex",
            info.name
        );
    }
    Ok(device)
}

/// Initializes an adapter, only once in a process, and returns its description.
fn adapter(device: &Device) -> Result<AdapterInfo, String> {
    static OPENED: Mutex<Vec<(DeviceKind, AdapterInfo)>> = Mutex::new(Vec::new());

    let kind = kinds().into_iter().find(|kind| is(device, kind));
    let kind = kind.ok_or_else(|| format!("Burn has no name for {device:?}"))?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, info)) = opened.iter().find(|(open, _)| *open == kind) {
        return Ok(info.clone());
    }
    let options = Device::wgpu_options().device_kind(kind.clone());
    let (_, setup) = options
        .init_with_setup()
        .map_err(|error| error.to_string())?;
    let info = setup.adapter.get_info();
    opened.push((kind, info.clone()));
    Ok(info)
}
