//! The figures are those of the recorded results.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use linearconv_zoo::commands::{FiguresArgs, figures};

fn figs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../figs")
}

fn draw(results: &Path, folder: &Path) -> Vec<PathBuf> {
    let args = FiguresArgs {
        results: results.into(),
        out_dir: folder.into(),
        ..FiguresArgs::parse_from(["figures"])
    };
    let written = figures(&args).expect("figures").to_string();
    written.lines().map(PathBuf::from).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn figures_and_tables_are_those_of_the_results() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = draw(&figs().join("results"), folder.path());
    assert!(written.len() >= 12, "{written:?}");
    for path in written {
        let name = path.file_name().expect("a name");
        let again = "run `cargo run --example figures`";
        assert!(
            read(&path) == read(&figs().join(name)),
            "{name:?} is old: {again}"
        );
    }
}

#[test]
fn the_guide_has_the_tables_of_the_results() {
    let guide = read(&figs().join("../docs/claims.md"));
    let table = read(&figs().join("results.md"));
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{table}");
    for row in rows {
        assert!(guide.contains(row), "docs/claims.md does not have: {row}");
    }
}

#[test]
fn without_results_the_figures_are_empty() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = draw(folder.path(), folder.path());
    for path in &written {
        assert!(!read(path).is_empty(), "{path:?}");
    }
    // No network, no row.
    assert_eq!(read(&folder.path().join("training.csv")).lines().count(), 1);
}

#[test]
fn what_is_no_result_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("broken.json"), "{}").expect("a file");
    let args = FiguresArgs {
        results: folder.path().into(),
        out_dir: folder.path().into(),
        ..FiguresArgs::parse_from(["figures"])
    };
    let error = figures(&args).expect_err("no result").to_string();
    assert!(error.contains("broken.json"), "{error}");
}
