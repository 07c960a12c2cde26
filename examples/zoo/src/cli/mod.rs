//! The command line that all networks have in common.

mod convolutions;
mod files;
mod training;
mod values;

pub use convolutions::ConvArgs;
use files::CONVOLUTIONS;
pub use files::FileArgs;
pub use training::TrainingArgs;
pub(crate) use values::{
    check_count, check_needed, count_or_none, is_share, is_share_below_1, is_weight, points,
    positive, share, share_below_1,
};

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::models::NetworkName;

/// Train a network with LinearConv, or dense, and test it.
#[derive(Parser, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The kind of convolutions.
    #[command(flatten)]
    pub conv: ConvArgs,

    /// The data, the recipe and the devices of the training.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// The files that are loaded and exported.
    #[command(flatten)]
    pub files: FileArgs,

    /// Continue the run whose results are in DIR, with its settings. It continues from its last
    /// complete checkpoint, or starts over if no epoch was finished. --backend, --devices and --parallel
    /// move it to other devices. With the same number of threads the result is that of an
    /// uninterrupted run. The number of epochs cannot change, because the learning rate falls to zero
    /// at the last epoch: a longer training is a new run.
    #[arg(long, value_name = "DIR", conflicts_with_all = CONVOLUTIONS, conflicts_with_all = SETTINGS)]
    pub resume: Option<PathBuf>,
}

/// The flags that exclude --resume, because a resumed run has kept its settings, beside those of the convolutions.
const SETTINGS: [&str; 14] = [
    "dataset",
    "data_dir",
    "download",
    "partial",
    "recipe",
    "epochs",
    "batch_size",
    "lr",
    "correlation_weight",
    "seed",
    "train_limit",
    "test_limit",
    "out_dir",
    "load",
];

impl Args {
    /// Reads the command line of a network's example. If the command line is wrong, prints a message and
    /// exits, as clap does.
    pub fn read(network: NetworkName) -> Self {
        let args = Self::parse();
        if let Err(message) = args.check(network) {
            let mut command = Self::command().bin_name(network.to_string());
            command.error(ErrorKind::ValueValidation, message).exit();
        }
        args
    }

    /// Checks what clap does not check: the flags of the convolutions, and that `--load` stands beside the flags
    /// that need it.
    ///
    /// # Errors
    /// A message that names the flags.
    pub fn check(&self, network: NetworkName) -> Result<(), String> {
        self.conv.coefficients(network)?;
        let files = &self.files;
        let (needed, loads) = (
            "--load FILE, which the flags of a training exclude",
            files.load.is_some(),
        );
        check_needed([
            ("--evaluate", files.evaluate, needed, loads),
            ("--predict", !files.predict.is_empty(), needed, loads),
        ])
    }
}

#[cfg(test)]
mod tests {
    use linearconv::CoefficientsConfig;

    use super::*;
    use crate::train::Recipe;

    fn parse(flags: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["vgg11"].into_iter().chain(flags.split_whitespace()))
    }

    fn coefficients(flags: &str) -> Result<Option<CoefficientsConfig>, String> {
        parse(flags)
            .expect("flags")
            .conv
            .coefficients(NetworkName::Vgg11)
    }

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_describe_the_coefficients() {
        let full = Ok(Some(CoefficientsConfig::Full));
        assert_eq!(coefficients(""), full);
        assert_eq!(coefficients("--variant full"), full);
        assert_eq!(coefficients("--variant rank"), full);
        assert_eq!(coefficients("--variant rank --rank 1"), full);
        assert_eq!(coefficients("--variant dense"), Ok(None));
        assert_eq!(
            coefficients("--variant rank --rank 0.25"),
            Ok(Some(CoefficientsConfig::RankRatio { ratio: 0.25 }))
        );
        assert_eq!(
            coefficients("--variant low-rank"),
            Ok(Some(CoefficientsConfig::LowRank { rank: 10 }))
        );
        assert_eq!(
            coefficients("--variant low-rank --rank 3"),
            Ok(Some(CoefficientsConfig::LowRank { rank: 3 }))
        );
        assert_eq!(
            coefficients("--variant sparse --sparsity 0.5"),
            Ok(Some(CoefficientsConfig::Sparse { sparsity: 0.5 }))
        );
    }

    #[test]
    fn values_that_a_variant_does_not_take_are_named() {
        for (flags, message) in [
            (
                "--variant dense --rank 1",
                "--rank goes with --variant rank or low-rank",
            ),
            (
                "--variant dense --channel-ratio 0.5",
                "--channel-ratio goes with every --variant but dense",
            ),
            (
                "--variant full --sparsity 0.5",
                "--sparsity goes with --variant sparse",
            ),
            ("--variant rank --rank 1.5", "--rank 1.5: with"),
            ("--variant rank --rank NaN", "--rank NaN: with"),
            ("--variant rank --rank 0", "--rank 0: with"),
            ("--variant low-rank --rank 2.5", "--rank 2.5: with"),
            ("--variant low-rank --rank 0", "--rank 0: with"),
            ("--variant low-rank --rank inf", "--rank inf: with"),
            ("--variant sparse --sparsity 1", "--sparsity 1: at least 0"),
        ] {
            let error = coefficients(flags).expect_err(flags);
            assert!(error.starts_with(message), "{flags}: {error}");
        }
    }

    #[test]
    fn unknown_and_impossible_values_are_refused() {
        for flags in [
            "--variant dens",
            "--dataset imagenet",
            "--backend tpu",
            "--epochs 0",
            "--batch-size -1",
            "--lr 0",
            "--lr 2",
            "--lr NaN",
            "--correlation-weight -0.1",
            "--correlation-weight inf",
            "--train-limit 0",
        ] {
            let error = parse(flags).expect_err(flags).to_string();
            let value = flags.split(' ').nth(1).expect("a value");
            assert!(error.contains(value), "{flags}: {error}");
        }
    }

    #[test]
    fn flags_override_the_recipe() {
        let recipe = |flags: &str| {
            let args = parse(flags).expect("flags");
            args.training.recipe(NetworkName::Vgg11)
        };
        let expected = Recipe {
            epochs: 7,
            batch_size: 8,
            learning_rate: 0.5,
            correlation_weight: 0.0,
            train_limit: Some(9),
            ..recipe("")
        };
        let flags = "--epochs 7 --batch-size 8 --lr 0.5 --correlation-weight 0 --train-limit 9";
        assert_eq!(recipe(flags), expected);
        assert_eq!(recipe("--recipe paper").epochs, 250);
    }

    #[test]
    fn resume_takes_all_settings_from_the_run_but_where_to_compute() {
        assert!(parse("--resume runs/one").expect("flags").resume.is_some());
        let elsewhere = parse("--resume runs/one --backend flex:0 --devices 2").expect("flags");
        assert_eq!(elsewhere.training.device_name().to_string(), "flex:0");
        assert_eq!(elsewhere.training.devices, Some(2));

        let places = [
            "resume", "backend", "devices", "parallel", "help", "export", "dense", "force",
        ];
        // The flags that require --load.
        let places = [&places[..], &["evaluate", "predict"]].concat();
        let command = Args::command();
        let resume = command.get_arguments().find(|arg| arg.get_id() == "resume");
        let excluded = command.get_arg_conflicts_with(resume.expect("a flag"));
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            assert_ne!(
                excluded.iter().any(|other| other.get_id() == id),
                places.contains(&id),
                "{id}"
            );
        }
        let error = parse("--resume runs/one --epochs 3")
            .expect_err("conflict")
            .to_string();
        assert!(error.contains("--resume"), "{error}");
    }
}
