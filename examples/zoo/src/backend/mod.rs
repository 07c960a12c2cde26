//! Backends and their devices, by the names of the command line.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "remote")]
pub(crate) mod remote;
#[cfg(feature = "wgpu")]
mod wgpu;
mod workplace;

pub use workplace::Parallel;
pub(crate) use workplace::Workplace;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use clap::ValueEnum;
use clap::builder::TypedValueParser;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::value_name::value_name;

/// A backend of Burn.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// CPU, pure Rust; always compiled in.
    Flex,
    /// CPU, a backend that Burn has deprecated; needs `--features ndarray`.
    Ndarray,
    /// GPU through Vulkan, Metal, DirectX or WebGPU; needs `--features wgpu`.
    Wgpu,
    /// NVIDIA GPU; needs `--features cuda`.
    Cuda,
    /// The devices of another process, given by its address; needs `--features remote`.
    Remote,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value_name(self))
    }
}

impl Backend {
    /// Whether the program was built with this backend.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::Flex => true,
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Remote => cfg!(feature = "remote"),
        }
    }

    /// Whether operations run after their call has returned, so that reading a value waits for them.
    pub fn is_asynchronous(self) -> bool {
        !matches!(self, Self::Flex | Self::Ndarray)
    }

    fn compiled_in() -> Vec<String> {
        let all = Self::value_variants().iter();
        let compiled_in = all.filter(|backend| backend.is_compiled_in());
        compiled_in.map(Self::to_string).collect()
    }
}

/// A device by name: a backend and, after a colon, the number or the address of the device. For example
/// `flex`, `wgpu`, `wgpu:1`, `cuda:0`, `remote:ws://192.0.2.1:3000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName {
    /// The backend.
    pub backend: Backend,
    place: Place,
}

/// Which device of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// The device that the backend prefers.
    Preferred,
    /// The device at this place in the list of devices.
    Index(usize),
    /// The devices of the server at this address.
    Address(String),
}

impl Default for DeviceName {
    fn default() -> Self {
        Self {
            backend: Backend::Flex,
            place: Place::Preferred,
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.backend;
        match &self.place {
            Place::Preferred => write!(f, "{backend}"),
            Place::Index(index) => write!(f, "{backend}:{index}"),
            Place::Address(address) => write!(f, "{backend}:{address}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = match text.split_once(':') {
            Some((name, place)) => (name, Some(place)),
            None => (text, None),
        };
        let backend = Backend::from_str(name, false).map_err(|_| {
            let compiled_in = Backend::compiled_in().join(", ");
            format!("no backend `{name}`; compiled in: {compiled_in}; `--backend list` prints all devices")
        })?;
        let place = match (backend, place) {
            (Backend::Remote, Some(address)) if address.starts_with("ws://") => {
                Place::Address(address.into())
            }
            (Backend::Remote, _) => {
                return Err("remote needs the address of a server: remote:ws://HOST:PORT".into());
            }
            (_, None) => Place::Preferred,
            (_, Some(index)) => Place::Index(index.parse().map_err(|_| {
                format!("`{index}` is not the number of a device, as in {backend}:0")
            })?),
        };
        Ok(Self { backend, place })
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// The errors of [`devices`](Self::devices).
    pub fn device(&self) -> Result<Device, Error> {
        Ok(self.devices(1)?.remove(0))
    }

    /// Opens `count` devices: the named device and the devices after it in the list. A CPU stands for any
    /// number of devices, which all use its cores.
    ///
    /// # Errors
    /// - [`Error::BackendNotCompiled`] if the program was built without the backend.
    /// - [`Error::DeviceAbsent`] if there are fewer devices.
    /// - [`Error::Device`] if a device exists but does not work.
    pub fn devices(&self, count: usize) -> Result<Vec<Device>, Error> {
        let Self { backend, place } = self;
        if !backend.is_compiled_in() {
            return Err(Error::BackendNotCompiled {
                name: backend.to_string(),
                compiled_in: Backend::compiled_in().join(", "),
            });
        }
        let failed = |reason: String| Error::Device {
            name: self.to_string(),
            reason,
        };
        let first = match place {
            #[cfg(feature = "remote")]
            Place::Address(address) => return remote::devices(address, count).map_err(failed),
            Place::Index(index) => *index,
            _ => 0,
        };
        let found = found(*backend);
        let wanted: Vec<Device> = match found.as_slice() {
            [cpu] if !backend.is_asynchronous() && first == 0 => vec![cpu.clone(); count],
            found => found.iter().skip(first).take(count).cloned().collect(),
        };
        if wanted.len() < count {
            return Err(Error::DeviceAbsent {
                name: self.to_string(),
                count,
                list: list(),
            });
        }
        let open = |device| open(*backend, device).map_err(failed);
        wanted.into_iter().map(open).collect()
    }

    /// Describes a device of this name in words.
    ///
    /// # Errors
    /// [`Error::Device`] if the device does not work.
    pub fn describe(&self, device: &Device) -> Result<String, Error> {
        describe(self.backend, device).map_err(|reason| Error::Device {
            name: self.to_string(),
            reason,
        })
    }
}

/// The backends that are compiled in, and the devices that exist, one on each line.
pub fn list() -> String {
    let mut lines = Vec::new();
    for backend in Backend::value_variants() {
        if !backend.is_compiled_in() {
            lines.push(format!(
                "{backend:<8} not compiled in: --features {backend}"
            ));
            continue;
        }
        if *backend == Backend::Remote {
            lines.push(format!(
                "{backend:<8} remote:ws://HOST:PORT, where `cargo run --example serve` runs"
            ));
            continue;
        }
        let found = found(*backend);
        if found.is_empty() {
            lines.push(format!("{backend:<8} compiled in, but no device is there"));
        }
        for (index, device) in found.iter().enumerate() {
            let name = match backend.is_asynchronous() {
                true => format!("{backend}:{index}"),
                false => backend.to_string(),
            };
            let what = describe(*backend, device);
            let what = what.unwrap_or_else(|reason| format!("does not work: {reason}"));
            lines.push(format!("{name:<8} {what}"));
        }
    }
    lines.join("\n")
}

/// The devices of a backend that is compiled in. The first is the device that the backend prefers.
fn found(backend: Backend) -> Vec<Device> {
    match backend {
        Backend::Flex => vec![Device::flex()],
        #[cfg(feature = "ndarray")]
        #[expect(
            deprecated,
            reason = "Burn keeps it for comparison, and so does this flag"
        )]
        Backend::Ndarray => vec![Device::ndarray()],
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => wgpu::found(),
        #[cfg(feature = "cuda")]
        Backend::Cuda => cuda::found(),
        _ => Vec::new(),
    }
}

/// Describes a device in words. The error is the reason why the device does not work.
fn describe(backend: Backend, device: &Device) -> Result<String, String> {
    match backend {
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => wgpu::describe(device),
        #[cfg(feature = "cuda")]
        Backend::Cuda => cuda::describe(device),
        Backend::Remote => Ok(format!("{device:?}")),
        _ => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let plural = if cores == 1 { "" } else { "s" };
            Ok(format!("CPU, {cores} core{plural}"))
        }
    }
}

/// Initializes a device, if its backend needs that. The error is the reason why the device does not work.
fn open(backend: Backend, device: Device) -> Result<Device, String> {
    match backend {
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => wgpu::open(device),
        #[cfg(feature = "cuda")]
        Backend::Cuda => cuda::open(device),
        _ => Ok(device),
    }
}

/// Reads the name of a device from the command line. The name `list` prints all devices and ends the program,
/// as `--help` does.
#[derive(Clone)]
pub struct DeviceNameParser;

impl TypedValueParser for DeviceNameParser {
    type Value = DeviceName;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<DeviceName, clap::Error> {
        if value == "list" {
            return Err(as_help(list()));
        }
        let parse: fn(&str) -> Result<DeviceName, String> = str::parse;
        parse.parse_ref(command, arg, value)
    }
}

/// Makes clap print a text as it prints a help text: to stdout, and then the program ends.
fn as_help(text: String) -> clap::Error {
    let help = clap::Command::new("list").override_help(text + "\n");
    match help.try_get_matches_from(["list", "--help"]) {
        Err(help) => help,
        Ok(_) => clap::Error::new(clap::error::ErrorKind::DisplayHelp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<DeviceName, String> {
        text.parse()
    }

    #[test]
    fn names_round_trip() {
        for text in [
            "flex",
            "ndarray:0",
            "wgpu",
            "wgpu:1",
            "cuda:0",
            "remote:ws://192.0.2.1:3000",
        ] {
            let name = name(text).expect(text);
            assert_eq!(name.to_string(), text);
            let json = serde_json::to_string(&name).expect("JSON");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<DeviceName>(&json).expect(text), name);
        }
    }

    #[test]
    fn other_names_are_refused_with_what_there_is() {
        for (text, message) in [
            ("tpu", "no backend `tpu`; compiled in: flex"),
            ("", "no backend ``"),
            ("wgpu:", "`` is not the number of a device, as in wgpu:0"),
            ("wgpu:-1", "`-1` is not the number of a device"),
            (
                "cuda:one",
                "`one` is not the number of a device, as in cuda:0",
            ),
            ("remote", "remote needs the address of a server"),
            ("remote:3000", "remote needs the address of a server"),
        ] {
            let error = name(text).expect_err(text);
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_cpu_stands_for_any_number_of_devices() {
        for text in ["flex", "flex:0"] {
            let devices = name(text).expect(text).devices(3).expect(text);
            assert_eq!(devices, vec![Device::flex(); 3]);
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_with_those_that_are() {
        let error = name("flex:1").expect("a name").device().expect_err("one");
        let error = error.to_string();
        assert!(error.starts_with("`flex:1` is not there"), "{error}");
        assert!(error.contains("flex     CPU, "), "{error}");
    }

    #[test]
    fn every_backend_is_listed() {
        let list = list();
        for backend in Backend::value_variants() {
            let line = list
                .lines()
                .find(|line| line.starts_with(&backend.to_string()));
            let line = line.unwrap_or_else(|| panic!("{backend} is missing: {list}"));
            let without = line.contains("not compiled in: --features");
            assert_eq!(without, !backend.is_compiled_in(), "{line}");
        }
    }
}
