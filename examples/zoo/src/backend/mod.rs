//! The choice among the backends that are compiled in.

use std::fmt;

use burn::tensor::Device;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::value_name::value_name;

/// A backend of Burn.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// CPU, pure Rust; always compiled in.
    Flex,
    /// CPU, Burn's former default; needs `--features ndarray`.
    Ndarray,
    /// GPU through Vulkan, Metal, DirectX or WebGPU; needs `--features wgpu`.
    Wgpu,
    /// NVIDIA GPU; needs `--features cuda`.
    Cuda,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value_name(self))
    }
}

impl Backend {
    /// The default device of this backend.
    ///
    /// # Errors
    /// [`Error::BackendNotCompiled`] where the binary was built without its feature.
    pub fn device(self) -> Result<Device, Error> {
        match self {
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(
                deprecated,
                reason = "Burn keeps it for comparison, and so does this flag"
            )]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(not(feature = "ndarray"))]
            Self::Ndarray => Err(Error::BackendNotCompiled { name: "ndarray" }),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu => Err(Error::BackendNotCompiled { name: "wgpu" }),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => Err(Error::BackendNotCompiled { name: "cuda" }),
        }
    }
}
