//! The command line of the benches beside Burn's `Conv2d`.

use burn::tensor::Device;
use clap::Parser;
use linearconv_zoo::backend::{DeviceName, DeviceNameParser};

use crate::policies::Policy;
use crate::report::{Columns, Report, Times};
use crate::rows::Rows;
use crate::timing::open;

/// Compare LinearConv with Burn's Conv2d: times, speeds as shares of the machine's peak, and memory.
#[derive(Parser)]
pub struct Args {
    /// Where to compute; `list` prints what is there.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser, default_value = "flex")]
    pub backend: DeviceName,

    /// Show the times of dense layers, full coefficients and rank 10 on another device beside, as
    /// ratios to the same baseline.
    #[arg(long, value_name = "DEVICE", value_parser = DeviceNameParser)]
    pub beside: Option<DeviceName>,

    #[command(flatten)]
    pub rows: Rows,
}

/// What runs on the other device too.
pub const BESIDE: [Policy; 3] = [Policy::Dense, Policy::Full, Policy::Rank10];

impl Args {
    pub fn device(&self) -> Device {
        open(&self.backend)
    }

    /// The other device.
    pub fn beside(&self) -> Option<Device> {
        self.beside.as_ref().map(open)
    }

    /// A report of these columns, and of some more on the other device.
    pub fn report(&self, names: Vec<String>) -> Report {
        let device = self.device();
        let mut columns = vec![Columns { names, device }];
        if let (Some(name), Some(device)) = (&self.beside, self.beside()) {
            let names = BESIDE.map(|policy| format!("{policy}, {name}")).into();
            columns.push(Columns { names, device });
        }
        Report::new(Times::Ratios, columns)
    }
}
