//! What the fuzz targets have in common: the readers of outside bytes, which the random changes of
//! `examples/zoo/tests/outside_bytes.rs` test too, and the limits that hold for every case.

#[path = "../../examples/zoo/tests/outside/mod.rs"]
pub mod outside;

mod allocator;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs, process};

use clap::CommandFactory;
use linearconv_zoo::cli::Args;
use linearconv_zoo::commands::{CompareArgs, CompressArgs, FiguresArgs, SummaryArgs};

use outside::Reader;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn last_panic() -> MutexGuard<'static, String> {
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The readers of a fuzz target, each with a folder for its files.
pub struct Target(Vec<(Reader, PathBuf)>);

impl Target {
    /// Some readers. The folders are in `TMPDIR`.
    ///
    /// # Panics
    /// If the folders cannot be created.
    pub fn new(readers: Vec<Reader>) -> Self {
        // libfuzzer-sys ends the process at any panic. A reader may catch a panic of Burn.
        panic::set_hook(Box::new(|panic| *last_panic() = panic.to_string()));
        let parent = env::temp_dir().join(format!("linearconv-fuzz-{}", process::id()));
        let folder = |index: usize| {
            let folder = parent.join(index.to_string());
            fs::create_dir_all(&folder).expect("a folder");
            folder
        };
        let readers = readers.into_iter().enumerate();
        Self(
            readers
                .map(|(index, reader)| (reader, folder(index)))
                .collect(),
        )
    }

    /// Reads bytes: the first byte chooses the reader. A panic ends the process.
    pub fn read(&self, bytes: &[u8]) {
        let Some((which, bytes)) = bytes.split_first() else {
            return;
        };
        let (reader, folder) = &self.0[usize::from(*which) % self.0.len()];
        let read = panic::catch_unwind(AssertUnwindSafe(|| reader.reads(bytes, folder)));
        if read.is_err() {
            eprintln!("{}: {}", reader.name, last_panic());
            process::abort();
        }
    }
}

/// Writes the valid bytes of some readers as libFuzzer's first inputs: the files of a folder. Beside the folder, a
/// file with `.dict` at its end gets the words of command lines.
///
/// # Panics
/// If a file cannot be written.
fn write_seeds(target: &Target, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    for (index, (reader, _)) in target.0.iter().enumerate() {
        let seed = [&[index as u8], &reader.valid[..]].concat();
        fs::write(folder.join(index.to_string()), seed).expect("written");
    }
    fs::write(folder.with_added_extension("dict"), dictionary()).expect("written");
}

/// What a fuzz target does first. It sets the most bytes that one allocation may have. If there is a variable
/// `SEEDS`, the target only writes its seeds to that folder.
///
/// # Panics
/// If a seed cannot be written.
pub fn begin(target: &Target, limit: usize) {
    if let Some(folder) = env::var_os("SEEDS") {
        write_seeds(target, Path::new(&folder));
        process::exit(0);
    }
    allocator::limit(limit);
}

/// A fuzz target: its readers, and the most bytes that one allocation may have.
#[macro_export]
macro_rules! target {
    ($readers:ident, $limit:expr) => {
        static TARGET: ::std::sync::LazyLock<$crate::Target> =
            ::std::sync::LazyLock::new(|| $crate::Target::new($crate::outside::$readers()));

        ::libfuzzer_sys::fuzz_target!(
            init: $crate::begin(&TARGET, $limit),
            |bytes: &[u8]| TARGET.read(bytes)
        );
    };
}

/// The flags of all programs, and the values that flags name.
fn dictionary() -> String {
    let commands = [
        Args::command(),
        CompareArgs::command(),
        CompressArgs::command(),
        FiguresArgs::command(),
        SummaryArgs::command(),
    ];
    let mut words = BTreeSet::new();
    for argument in commands.iter().flat_map(|command| command.get_arguments()) {
        // A word is a line.
        words.extend(
            argument
                .get_long()
                .map(|flag| format!("\"\\x0a--{flag}\\x0a\"\n")),
        );
        let values = argument.get_possible_values();
        words.extend(
            values
                .iter()
                .map(|value| format!("\"{}\"\n", value.get_name())),
        );
    }
    words.into_iter().collect()
}
