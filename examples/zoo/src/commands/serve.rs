//! A process that computes for other processes, through Burn's remote backend.

use clap::Parser;

use crate::Error;
use crate::backend::{DeviceName, DeviceNameParser, remote};
use crate::cli::positive;
use crate::output::say;

/// Compute for runs of other processes, which reach this process with
/// `--backend remote:ws://HOST:PORT`. Everybody who can reach the port can use the devices, and the
/// connection is not encrypted: serve only in a network that you trust.
#[derive(Parser, Clone, Debug)]
pub struct ServeArgs {
    /// The first device to serve; `list` prints all devices.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser, default_value = "flex")]
    pub backend: DeviceName,

    /// Serve N devices: the device of --backend and the devices after it.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 1)]
    pub devices: usize,

    /// The port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub port: u16,
}

/// Serves until the process is interrupted.
///
/// # Errors
/// The errors of [`DeviceName::devices`], and [`Error::Device`] if the port cannot be served.
pub fn serve(args: &ServeArgs) -> Result<&'static str, Error> {
    let devices = args.backend.devices(args.devices)?;
    say!("{} on port {}", args.backend, args.port);
    remote::serve(devices, args.port).map_err(|reason| Error::Device {
        name: format!("port {}", args.port),
        reason,
    })?;
    Ok("")
}
