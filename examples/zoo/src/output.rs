//! Output for people. The reader may close the output at any time, as `head` does. That does not end a
//! training.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Writes a line to the standard error. Ignores a standard error that is closed.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}
pub(crate) use say;

/// Prints a result or an error, and returns the exit code of the program.
pub fn exit<T: Display, E: Display>(result: Result<T, E>) -> ExitCode {
    match result {
        Ok(result) => print(&result, &mut io::stdout()),
        Err(error) => {
            say!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a result. An output that its reader has closed is a success. Any other error is a failure.
fn print(result: &impl Display, output: &mut impl Write) -> ExitCode {
    let written = write!(output, "{result}").and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            say!("error: the result could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_closed_output_is_a_success() {
        let code = |kind| format!("{:?}", print(&"a table", &mut Broken(kind)));
        assert_eq!(
            code(ErrorKind::BrokenPipe),
            format!("{:?}", ExitCode::SUCCESS)
        );
        assert_eq!(
            code(ErrorKind::StorageFull),
            format!("{:?}", ExitCode::FAILURE)
        );
    }
}
