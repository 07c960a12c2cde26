//! The documentation is true: its commands run as they are printed, and print what is written.
//!
//! Every block of shell commands in the pages below has a comment before it:
//!
//! - `<!-- check: quick -->`: the commands run here.
//! - `<!-- check: full -->`: they take minutes, and run by `.ci/documentation`.
//! - `<!-- check: no: REASON -->`: they do not run.
//! - `<!-- check: full alone -->`: they run, and what comes next is not what they print.
//!
//! Each line of the block of text, or of the table, that comes next in the same section must be in what they
//! print, in that order; other lines may be between. Words must be equal, and numbers as [`Number::agrees`]
//! says. Here a time may be any time, so that a busy machine fails no test; `.ci/documentation` compares times.
#![cfg(unix)]

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// What is checked of a block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Quick,
    Full,
    No,
}

/// Commands of a page, and what the page says that they print.
#[derive(Debug)]
struct Block {
    /// The page, and the number of the line where the block begins.
    place: String,
    check: Check,
    commands: String,
    expected: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// README, the guide, and the pages of the examples and figures.
fn pages() -> Vec<PathBuf> {
    let guide = fs::read_dir(root().join("docs")).expect("the guide");
    let guide = guide.map(|entry| entry.expect("a page").path());
    let mut pages: Vec<_> = guide
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages.push(root().join("README.md"));
    pages.push(root().join("examples/README.md"));
    pages.push(root().join("figs/README.md"));
    pages
}

fn blocks() -> Vec<Block> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page");
        let name = path.strip_prefix(root()).expect("below the root");
        parse(&name.to_string_lossy(), &text)
    };
    pages().into_iter().flat_map(read).collect()
}

/// The blocks of commands of a page. Panics where a block has no comment that says whether it is checked.
fn parse(page: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut check = None;
    let mut alone = false;
    // Whether what comes next may be what the last block prints.
    let mut follows = false;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let place = format!("{page}:{}", number + 1);
        if let Some(comment) = line.strip_prefix("<!-- check: ") {
            let comment = comment.trim_end_matches("-->").trim();
            alone = comment.ends_with(" alone");
            let comment = comment.trim_end_matches(" alone");
            check = Some(match comment.split_once(": ") {
                None if comment == "quick" => Check::Quick,
                None if comment == "full" => Check::Full,
                Some(("no", _)) => Check::No,
                _ => panic!("{place}: `{comment}` is no check"),
            });
        } else if let Some(language) = line.strip_prefix("```") {
            let block = lines.by_ref().map(|(_, line)| line.to_string());
            let block: Vec<String> = block.take_while(|line| line != "```").collect();
            match language {
                "sh" => {
                    let check = check.take();
                    blocks.push(Block {
                        check: check.unwrap_or_else(|| panic!("{place}: checked or not?")),
                        commands: block.join("\n"),
                        expected: Vec::new(),
                        place,
                    });
                    follows = !alone;
                }
                "text" if follows => {
                    blocks.last_mut().expect("commands").expected = block;
                    follows = false;
                }
                _ => follows = false,
            }
        } else if line.starts_with('|') && follows {
            let expected = &mut blocks.last_mut().expect("commands").expected;
            expected.push(line.into());
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                expected.push(line.into());
            }
            follows = false;
        } else if line.starts_with('#') {
            follows = false;
        }
    }
    blocks
}

/// Whether times are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Any,
    Compared,
}

/// A part of a line.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Number(Number),
}

#[derive(Debug, PartialEq)]
struct Number {
    value: f64,
    decimals: usize,
    /// Whether it is a time, by its unit.
    is_time: bool,
}

/// Another machine may take so many times as long, or be as much faster.
const TIME: f64 = 4.0;
/// Threads round differently, and so a training ends differently.
const POINTS: f64 = 1.5;
const RELATIVE: f64 = 0.15;

impl Number {
    /// A whole number is equal. A time is within a factor of four. Another number is within 1.5 if it is
    /// ten or more, as an accuracy in percent is, and within 15 % if it is less.
    fn agrees(&self, printed: &Self, times: Times) -> bool {
        let (written, printed) = (self.value, printed.value);
        if self.is_time && times == Times::Any {
            return true;
        }
        if self.is_time {
            let rounding = 0.1_f64.powi(self.decimals as i32);
            return printed <= written * TIME + rounding && written <= printed * TIME + rounding;
        }
        let tolerance = match self.decimals {
            0 => 0.0,
            _ if written.abs() >= 10.0 => POINTS,
            decimals => (RELATIVE * written.abs()).max(0.1_f64.powi(decimals as i32)),
        };
        (written - printed).abs() <= tolerance
    }
}

/// Words and numbers. What is between the columns of a table does not count.
fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = |ends: fn(char) -> bool| rest.find(ends).unwrap_or(rest.len());
        if first.is_whitespace() || "|-".contains(first) {
            rest = &rest[first.len_utf8()..];
        } else if first.is_ascii_digit() {
            let digits = end(|c| !c.is_ascii_digit() && c != '.');
            let text = rest[..digits].trim_end_matches('.');
            rest = &rest[text.len()..];
            let Ok(value) = text.parse() else {
                // Such as a version.
                tokens.push(Token::Word(text.into()));
                continue;
            };
            let unit: String = (rest.trim_start().chars())
                .take_while(|c| c.is_alphabetic())
                .collect();
            let decimals = text
                .split_once('.')
                .map_or(0, |(_, decimals)| decimals.len());
            tokens.push(Token::Number(Number {
                value,
                decimals,
                is_time: ["s", "ms", "min", "h"].contains(&unit.as_str()),
            }));
        } else {
            let end = end(|c| c.is_whitespace() || c.is_ascii_digit() || "|-".contains(c));
            tokens.push(Token::Word(rest[..end].into()));
            rest = &rest[end..];
        }
    }
    tokens
}

fn agree(written: &str, printed: &str, times: Times) -> bool {
    let (written, printed) = (tokens(written), tokens(printed));
    written.len() == printed.len()
        && written.iter().zip(&printed).all(|pair| match pair {
            (Token::Number(written), Token::Number(printed)) => written.agrees(printed, times),
            (written, printed) => written == printed,
        })
}

/// The first expected line that the output does not have behind the others.
fn missing<'a>(expected: &'a [String], output: &str, times: Times) -> Option<&'a str> {
    let mut printed = output.lines();
    // Not a line that only rules a table.
    let says = |line: &&String| line.contains(|c: char| !c.is_whitespace() && !"|-:".contains(c));
    let expected = expected.iter().filter(says);
    let mut missing = expected.filter(|line| !printed.any(|printed| agree(line, printed, times)));
    missing.next().map(String::as_str)
}

/// A folder that has what the root of the repository has, but for what was built and trained there.
fn like_root() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(root()).expect("the root") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if ![".git", "runs", "target"].contains(&&*name.to_string_lossy()) {
            symlink(entry.path(), folder.path().join(name)).expect("a link");
        }
    }
    folder
}

/// Runs the commands in a folder, with the repository's manifest, and returns what they print.
fn run(block: &Block, folder: &Path) -> Result<String, String> {
    let manifest = root().join("Cargo.toml");
    let script = format!(
        "set -e\nexec 2>&1\n\
         cargo() {{ local command=$1; shift; command cargo \"$command\" --manifest-path '{}' \"$@\"; }}\n{}",
        manifest.display(),
        block.commands
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script])
        .current_dir(folder)
        .stdin(Stdio::null());
    // What cargo tells this test is not for the packages that it builds.
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG")) {
        bash.env_remove(name);
    }
    let output = bash.output().map_err(|error| format!("bash: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(text),
    }
}

/// Runs the blocks of one page after the other, each page in a folder of its own.
fn check(which: &[Check], times: Times) {
    let mut wrong = String::new();
    let mut folder: Option<(String, tempfile::TempDir)> = None;
    for block in blocks().iter().filter(|block| which.contains(&block.check)) {
        let page = block.place.split(':').next().expect("a page");
        let same = folder.as_ref().is_some_and(|(last, _)| last == page);
        if !same {
            folder = Some((page.into(), like_root()));
        }
        let path = folder.as_ref().expect("a folder").1.path();
        let Block {
            place, commands, ..
        } = block;
        match run(block, path) {
            Err(output) => writeln!(wrong, "{place}: a command fails:\n{commands}\n{output}"),
            Ok(output) => match missing(&block.expected, &output, times) {
                Some(line) => writeln!(wrong, "{place}: not printed:\n{line}\nbut:\n{output}"),
                None => writeln!(wrong),
            },
        }
        .expect("text");
    }
    assert!(wrong.trim().is_empty(), "{wrong}");
}

#[test]
fn quick_commands_print_what_is_written() {
    check(&[Check::Quick], Times::Any);
}

#[test]
#[ignore = "takes long: .ci/documentation runs it"]
fn all_commands_print_what_is_written() {
    check(&[Check::Quick, Check::Full], Times::Compared);
}

#[test]
fn every_page_has_commands_that_run() {
    let blocks = blocks();
    let checked = |page: &str, check: &Check| {
        blocks
            .iter()
            .any(|block| block.place.starts_with(page) && block.check == *check)
    };
    assert!(checked("README.md", &Check::Quick));
    let expected = blocks.iter().filter(|block| !block.expected.is_empty());
    assert!(expected.count() >= 3);
}

#[test]
fn links_lead_to_files() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut prose = String::new();
        for (index, part) in text.split("```").enumerate() {
            if index % 2 == 0 {
                prose += part;
            }
        }
        let inline = prose
            .split("](")
            .skip(1)
            .filter_map(|link| link.split(')').next());
        let defined = prose.lines().filter_map(|line| {
            let (_, link) = line.strip_prefix('[')?.split_once("]: ")?;
            Some(link.trim())
        });
        for link in inline.chain(defined) {
            let path = link.split('#').next().expect("a path");
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = page.parent().expect("a folder").join(path);
            assert!(target.exists(), "{}: {link} does not exist", page.display());
        }
    }
}

#[test]
fn wrong_numbers_and_words_are_found() {
    let agree = |written, printed| self::agree(written, printed, Times::Compared);
    let written = "test accuracy 96.90 % of 1000 images in 12.0 s";
    let same = [
        "test accuracy 96.20 % of 1000 images in 31.5 s",
        "test  accuracy 97.9 % of 1000 images in 4 s",
    ];
    for printed in same {
        assert!(agree(written, printed), "{printed}");
    }
    let other = [
        "test accuracy 95.20 % of 1000 images in 12.0 s",
        "test accuracy 96.90 % of 1001 images in 12.0 s",
        "test accuracy 96.90 % of 1000 images in 52.0 s",
        "valid accuracy 96.90 % of 1000 images in 12.0 s",
        "test accuracy 96.90 % of 1000 images",
    ];
    for printed in other {
        assert!(!agree(written, printed), "{printed}");
    }
    assert!(agree(
        "| base | dense | 399050 | 0.53 |",
        " base   dense  399050   0.50 "
    ));
    assert!(!agree(
        "| base | dense | 399050 | 0.53 |",
        " base   dense  399050   0.40 "
    ));
    assert!(agree("version 1.2.3 of 7.", "version 1.2.3 of 7."));
    assert!(!agree("version 1.2.3", "version 1.2.4"));
    assert!(self::agree("in 12.0 s", "in 300.5 s", Times::Any));
    assert!(!self::agree("in 12.0 s", "in 12.0 points", Times::Any));
}

#[test]
fn pages_are_read_as_they_are_written() {
    let page = "Text\n<!-- check: quick -->\n```sh\na \\\n  b\n```\n\n```text\nprinted 1\n```\n\
                <!-- check: no: takes a GPU -->\n```sh\nc\n```\n| table |\n|---|\n| 2 |\n";
    let blocks = parse("page", page);
    assert_eq!(blocks.len(), 2);
    assert_eq!(
        (&blocks[0].check, blocks[0].commands.as_str()),
        (&Check::Quick, "a \\\n  b")
    );
    assert_eq!(blocks[0].expected, ["printed 1"]);
    assert_eq!(blocks[1].expected.len(), 3);
    assert_eq!(
        missing(&blocks[0].expected, "first\nprinted 1\nlast", Times::Any),
        None
    );
    assert_eq!(
        missing(&blocks[0].expected, "printed 2", Times::Any),
        Some("printed 1")
    );
    let unchecked = std::panic::catch_unwind(|| parse("page", "```sh\na\n```\n"));
    assert!(unchecked.is_err());
}
