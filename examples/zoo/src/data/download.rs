//! Downloads of the files of data sets.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::Error;
use super::folder::Published;
use crate::output::say;

/// The longest time that a server may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Downloads a file unless it exists, and checks that it is the published file.
///
/// The content is written to a file with the extension `part` until it is complete and correct. An
/// interrupted download continues from that file.
pub fn ensure(published: &Published, path: &Path) -> Result<(), Error> {
    if path.exists() {
        return check(published, path);
    }
    let io = |path: &Path, source| Error::Io {
        file: path.display().to_string(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    }
    let part_path = path.with_added_extension("part");
    let part = Part::open(&part_path, File::lock);
    let mut part = part.map_err(|source| io(&part_path, source))?;
    let part_path = part.path.clone();
    let io = |source| io(&part_path, source);
    if path.exists() {
        // Another process has downloaded the file in the meantime.
        if part.length == 0 {
            let _ = fs::remove_file(&part_path);
        }
        return check(published, path);
    }
    if part.md5() != published.md5 {
        transfer(published, path, &mut part)?;
    }
    let found = part.md5();
    if found != published.md5 {
        fs::remove_file(&part_path).map_err(io)?;
        return Err(Error::Checksum {
            file: part_path.display().to_string(),
            found,
            url: published.url(),
            expected: published.md5,
        });
    }
    part.file.sync_all().map_err(io)?;
    fs::rename(&part_path, path).map_err(io)
}

/// Checks that a file is the published one. Several data sets have files of the same names.
fn check(published: &Published, path: &Path) -> Result<(), Error> {
    let file = path.display().to_string();
    let mut sum = md5::Context::new();
    let read = File::open(path).and_then(|mut content| io::copy(&mut content, &mut sum));
    if let Err(source) = read {
        return Err(Error::Io { file, source });
    }
    let found = format!("{:x}", sum.finalize());
    if found != published.md5 {
        return Err(Error::OtherFile {
            file,
            found,
            url: published.url(),
            expected: published.md5,
        });
    }
    Ok(())
}

/// Downloads the rest of a file, or the whole file if the server cannot send a range.
fn transfer(published: &Published, path: &Path, part: &mut Part) -> Result<(), Error> {
    let (url, part_path) = (published.url(), part.path.clone());
    let error = |source| Error::Download {
        url: url.clone(),
        file: path.display().to_string(),
        part: part_path.display().to_string(),
        source,
    };
    let mut response = get(&url, part.length).map_err(error)?;
    let partial = [
        StatusCode::PARTIAL_CONTENT,
        StatusCode::RANGE_NOT_SATISFIABLE,
    ];
    if partial.contains(&response.status()) && !continues(&response, part.length) {
        // The part is longer than the file, or the server sent another range.
        response = get(&url, 0).map_err(error)?;
    }
    match response.status() {
        StatusCode::OK => part.restart().map_err(error)?,
        StatusCode::PARTIAL_CONTENT if continues(&response, part.length) => {}
        status => {
            return Err(Error::Status {
                url,
                status: status.as_u16(),
                file: path.display().to_string(),
            });
        }
    }
    let progress = progress(published, part.length, response.body().content_length());
    let mut content = progress.wrap_read(response.body_mut().as_reader());
    io::copy(&mut content, part).map_err(error)?;
    progress.finish();
    Ok(())
}

fn get(url: &str, start: u64) -> io::Result<Response<Body>> {
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            // The certificates of the system: a network with its own proxy adds the proxy's certificate
            // there.
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::PlatformVerifier)
                    .build(),
            )
            .timeout_per_read(Some(PATIENCE))
            .build(),
    );
    let mut request = agent.get(url);
    if start > 0 {
        request = request.header(header::RANGE, format!("bytes={start}-"));
    }
    request.call().map_err(ureq::Error::into_io)
}

/// Whether the answer of the server begins where the part ends.
fn continues(response: &Response<Body>, start: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// A progress bar on a terminal. Elsewhere it prints one line.
fn progress(published: &Published, start: u64, rest: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    );
    let bar = match rest {
        Some(rest) => ProgressBar::new(start + rest),
        None => ProgressBar::no_length(),
    };
    if bar.is_hidden() {
        say!("fetching {}", published.url());
    }
    bar.with_position(start)
        .with_message(published.name)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A file that is being downloaded.
struct Part {
    path: PathBuf,
    file: File,
    sum: md5::Context,
    length: u64,
}

impl Part {
    /// Opens the file of that name, and waits while another process has locked it. On a file system without
    /// locks it opens a file whose name has the number of this process.
    fn open(path: &Path, lock: impl Fn(&File) -> io::Result<()>) -> io::Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let (mut path, mut file) = (path.to_path_buf(), options.open(path)?);
        if lock(&file).is_err() {
            path = path.with_added_extension(process::id().to_string());
            file = options.open(&path)?;
        }
        let mut sum = md5::Context::new();
        let length = io::copy(&mut file, &mut sum)?;
        Ok(Self {
            path,
            file,
            sum,
            length,
        })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.sum = md5::Context::new();
        self.length = 0;
        Ok(())
    }

    fn md5(&self) -> String {
        format!("{:x}", self.sum.clone().finalize())
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.sum.consume(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::{TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};

    use tempfile::TempDir;

    use super::*;

    const CONTENT: &[u8] = b"the content of the published file";

    /// How the server answers one request.
    #[derive(Clone, Copy)]
    enum Answer {
        /// With all of the content, or with the range that was asked for.
        Ranges,
        /// With all of the content, also if a range was asked for.
        Whole,
        /// With another range than the one that was asked for: all but the first byte.
        OtherRange,
        /// Announces all of the content, but closes the connection after so many bytes.
        HangUp(usize),
        /// With other bytes.
        Wrong,
        /// With a status.
        Status(&'static str),
    }

    fn answer(stream: TcpStream, answer: Answer) -> Option<String> {
        let mut range = None;
        let mut lines = BufReader::new(&stream).lines();
        while let Some(Ok(line)) = lines.next()
            && !line.is_empty()
        {
            if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
                range = Some(value.to_owned());
            }
        }
        let start = range.as_deref().and_then(|range| {
            let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
            start.parse::<usize>().ok()
        });
        let total = CONTENT.len();
        let (status, headers, body) = match (answer, start) {
            (Answer::Ranges, Some(start)) if start >= total => {
                ("416 Range Not Satisfiable", String::new(), &[][..])
            }
            (Answer::Ranges, Some(start)) => {
                let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
                ("206 Partial Content", range, &CONTENT[start..])
            }
            (Answer::OtherRange, Some(_)) => {
                let range = format!("Content-Range: bytes 1-{}/{total}\r\n", total - 1);
                ("206 Partial Content", range, &CONTENT[1..])
            }
            (Answer::Ranges | Answer::OtherRange | Answer::Whole, _) => {
                ("200 OK", String::new(), CONTENT)
            }
            (Answer::HangUp(length), _) => ("200 OK", String::new(), &CONTENT[..length]),
            (Answer::Wrong, _) => ("200 OK", String::new(), &[b'x'; CONTENT.len()][..]),
            (Answer::Status(status), _) => (status, String::new(), &[][..]),
        };
        let length = match answer {
            Answer::HangUp(_) => total,
            _ => body.len(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        );
        (&stream).write_all(head.as_bytes()).expect("a client");
        (&stream).write_all(body).expect("a client");
        range
    }

    /// A server that gives these answers, and returns the ranges that were asked for.
    fn serve(answers: &'static [Answer]) -> (Published, JoinHandle<Vec<Option<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let published = Published {
            base: format!("http://{address}/files").leak(),
            name: "data.gz",
            md5: format!("{:x}", md5::compute(CONTENT)).leak(),
        };
        let server = thread::spawn(move || {
            let accept = |kind: &Answer| answer(listener.accept().expect("a client").0, *kind);
            answers.iter().map(accept).collect()
        });
        (published, server)
    }

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("new").join("data.gz");
        (folder, path)
    }

    fn files(path: &Path) -> Vec<String> {
        let files = fs::read_dir(path.parent().expect("a folder")).expect("a folder");
        files
            .map(|file| file.expect("a file").file_name().display().to_string())
            .collect()
    }

    #[track_caller]
    fn assert_whole(path: &Path) {
        assert_eq!(fs::read(path).expect("a file"), CONTENT);
        assert_eq!(files(path), ["data.gz"]);
    }

    #[test]
    fn a_file_is_fetched_once() {
        let (published, server) = serve(&[Answer::Ranges]);
        let (_folder, path) = folder();
        ensure(&published, &path).expect("fetched");
        assert_whole(&path);
        assert_eq!(server.join().expect("answered"), [None]);
        // The server is gone.
        ensure(&published, &path).expect("there");
    }

    #[test]
    fn an_interrupted_transfer_is_continued() {
        let (published, server) = serve(&[Answer::HangUp(10), Answer::Ranges]);
        let (_folder, path) = folder();
        let error = ensure(&published, &path).expect_err("interrupted");
        let (error, url) = (error.to_string(), published.url());
        assert!(error.starts_with(&format!("fetching {url}: ")), "{error}");
        let by_hand = format!("or fetch it by hand to {}", path.display());
        assert!(error.ends_with(&by_hand), "{error}");
        assert_eq!(files(&path), ["data.gz.part"]);
        ensure(&published, &path).expect("continued");
        assert_whole(&path);
        let ranges = server.join().expect("answered");
        assert_eq!(ranges, [None, Some("bytes=10-".into())]);
    }

    #[test]
    fn without_locks_each_process_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("data.gz.part");
        let unsupported = |_: &File| Err(io::ErrorKind::Unsupported.into());
        let mut part = Part::open(&path, unsupported).expect("a file");
        part.write_all(CONTENT).expect("written");
        let own = path.with_added_extension(process::id().to_string());
        assert_eq!(part.path, own);
        assert_eq!(fs::read(own).expect("a file"), CONTENT);
        assert_eq!(fs::read(path).expect("a file"), b"");
    }

    #[test]
    fn two_at_once_fetch_a_file_once() {
        let (published, server) = serve(&[Answer::Ranges]);
        let (_folder, path) = folder();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| ensure(&published, &path).expect("fetched"));
            }
        });
        assert_eq!(server.join().expect("answered"), [None]);
        assert_whole(&path);
    }

    #[test]
    fn a_server_without_ranges_sends_all_anew() {
        let (published, server) = serve(&[Answer::HangUp(10), Answer::Whole]);
        let (_folder, path) = folder();
        ensure(&published, &path).expect_err("interrupted");
        ensure(&published, &path).expect("fetched");
        assert_whole(&path);
        server.join().expect("answered");
    }

    #[test]
    fn a_part_that_is_longer_than_the_file_is_fetched_anew() {
        let (published, server) = serve(&[Answer::Ranges, Answer::Ranges]);
        let (_folder, path) = folder();
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path.with_added_extension("part"), [b'x'; 99]).expect("written");
        ensure(&published, &path).expect("fetched");
        assert_whole(&path);
        let ranges = server.join().expect("answered");
        assert_eq!(ranges, [Some("bytes=99-".into()), None]);
    }

    #[test]
    fn another_range_than_the_missing_one_is_not_used() {
        let (published, server) =
            serve(&[Answer::HangUp(10), Answer::OtherRange, Answer::OtherRange]);
        let (_folder, path) = folder();
        ensure(&published, &path).expect_err("interrupted");
        ensure(&published, &path).expect("fetched");
        assert_whole(&path);
        let ranges = server.join().expect("answered");
        assert_eq!(ranges, [None, Some("bytes=10-".into()), None]);
    }

    #[test]
    fn an_https_address_is_addressed_in_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let published = Published {
            base: format!("https://{address}").leak(),
            name: "data.gz",
            md5: "",
        };
        let server = thread::spawn(move || {
            let mut first = [0];
            let (mut stream, _) = listener.accept().expect("a client");
            stream.read_exact(&mut first).expect("a greeting");
            first[0]
        });
        let (_folder, path) = folder();
        ensure(&published, &path).expect_err("no TLS");
        let handshake = 22;
        assert_eq!(server.join().expect("answered"), handshake);
        assert!(!path.exists());
    }

    #[test]
    fn a_part_that_is_whole_needs_no_server() {
        let (published, server) = serve(&[]);
        server.join().expect("answered");
        let (_folder, path) = folder();
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path.with_added_extension("part"), CONTENT).expect("written");
        ensure(&published, &path).expect("renamed");
        assert_whole(&path);
    }

    #[test]
    fn another_content_is_removed_and_both_sums_are_named() {
        let (published, server) = serve(&[Answer::Wrong]);
        let (_folder, path) = folder();
        let error = ensure(&published, &path).expect_err("wrong").to_string();
        let found = format!("{:x}", md5::compute([b'x'; CONTENT.len()]));
        let expected = format!(
            "{}.part: MD5 sum {found} after fetching {}, expected {}; it is removed",
            path.display(),
            published.url(),
            published.md5
        );
        assert_eq!(error, expected);
        assert!(files(&path).is_empty());
        server.join().expect("answered");
    }

    #[test]
    fn another_file_of_the_same_name_is_neither_used_nor_replaced() {
        let (published, server) = serve(&[]);
        server.join().expect("answered");
        let (_folder, path) = folder();
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "another").expect("written");
        let error = ensure(&published, &path).expect_err("another").to_string();
        assert!(error.contains("leave out --download"), "{error}");
        assert_eq!(fs::read(&path).expect("a file"), b"another");
    }

    #[test]
    fn a_status_is_named() {
        for (answers, status) in [
            (&[Answer::Status("404 Not Found")], 404),
            (&[Answer::Status("500 Internal Server Error")], 500),
        ] {
            let (published, server) = serve(answers);
            let (_folder, path) = folder();
            let error = ensure(&published, &path).expect_err("no file").to_string();
            let expected = format!(
                "fetching {}: the server answered {status}, expected 200; try again later, or find the \
                 file elsewhere and save it as {}",
                published.url(),
                path.display()
            );
            assert_eq!(error, expected);
            assert!(!path.exists());
            server.join().expect("answered");
        }
    }
}
