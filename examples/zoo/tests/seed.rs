//! A run is drawn from its seed alone. This is the only test of its binary: flex has one random
//! generator for the process, so a test beside it would draw from the same one.

use clap::Parser;
use linearconv_zoo::cli::Args;
use linearconv_zoo::execute;
use linearconv_zoo::models::VggConfig;
use linearconv_zoo::recipe::Recipe;

#[test]
fn runs_repeat_exactly_and_differ_by_seed() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let losses = |name: &str, seed: &str| {
        let out_dir = parent.path().join(name).display().to_string();
        let flags = ["vgg11", "--seed", seed, "--out-dir", &out_dir];
        let limits = [
            "--train-limit",
            "22",
            "--test-limit",
            "5",
            "--batch-size",
            "5",
        ];
        let args = Args::try_parse_from(flags.into_iter().chain(limits)).expect("flags");
        let report = execute("vgg11", Recipe::default(), args, |config, device| {
            VggConfig::Vgg11.try_init(config, device)
        });
        let epoch = report.expect("a result").epochs[0];
        (epoch.train_loss, epoch.valid_loss)
    };
    let first = losses("first", "3");
    assert_eq!(losses("second", "3"), first);
    assert_ne!(losses("third", "4"), first);
}
