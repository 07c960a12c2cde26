//! Devices of another process, on this machine or on another machine.

use burn::remote::RemoteHost;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::Device;

/// The first `count` devices of the server at an address.
///
/// # Errors
/// The reason why there is no connection, or the number of devices if the server has fewer.
pub(super) fn devices(address: &str, count: usize) -> Result<Vec<Device>, String> {
    let host = RemoteHost::websocket(address);
    let devices = host.devices().map_err(|error| error.to_string())?;
    let devices = devices.into_vec();
    if devices.len() < count {
        let served = devices.len();
        return Err(format!("the server has {served} devices, not {count}"));
    }
    Ok(devices.into_iter().take(count).collect())
}

/// Serves devices on a port, on all networks of this machine, until the process ends.
///
/// # Errors
/// The reason why the port cannot be served.
pub(crate) fn serve(devices: Vec<Device>, port: u16) -> Result<(), String> {
    let server = RemoteServer::new(devices);
    let served = server.serve(WebSocketTransport::new(port));
    served.map_err(|error| error.to_string())
}
