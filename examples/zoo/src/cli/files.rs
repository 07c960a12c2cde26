//! The flags that load, use and export weights.

use std::path::PathBuf;

/// The files that are loaded and exported.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct FileArgs {
    /// Start from the weights of FILE: burnpack, SafeTensors, or a checkpoint of PyTorch or of the
    /// reference implementation. The file decides the kind and the rank of every layer, and the
    /// numbers of classes and channels. With --evaluate, --predict or --export nothing is trained.
    #[arg(long, value_name = "FILE", conflicts_with_all = CONVOLUTIONS)]
    pub load: Option<PathBuf>,

    /// Test the loaded network on the test images of the data set.
    #[arg(long, requires = "load")]
    pub evaluate: bool,

    /// Print the three likeliest classes of each image (PNG or JPEG, any size, colour or grey).
    #[arg(long, value_name = "IMAGE", num_args = 1.., requires = "load")]
    pub predict: Vec<PathBuf>,

    /// Write the network to FILE, whose name ends in `.safetensors`, or in `.onnx` with
    /// `--features onnx`.
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,

    /// With --export: write dense convolutions in place of primary filters and coefficients.
    #[arg(long, requires = "export")]
    pub dense: bool,

    /// With --export: replace FILE if it exists.
    #[arg(long, requires = "export")]
    pub force: bool,
}

/// The flags of the convolutions, which a file of weights makes needless.
pub(super) const CONVOLUTIONS: [&str; 6] = [
    "variant",
    "rank",
    "sparsity",
    "channel_ratio",
    "layers",
    "evaluation",
];

impl FileArgs {
    /// Whether a network is trained.
    pub fn trains(&self) -> bool {
        let Self {
            load,
            evaluate,
            predict,
            export,
            ..
        } = self;
        load.is_none() || !evaluate && predict.is_empty() && export.is_none()
    }
}
