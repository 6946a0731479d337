//! Standard output and error, which may be closed or full: neither ends a computation.

use smalti_base::{Error, Result};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Says a line to who sits before the screen; lost where nobody does.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The command of this process as a shell can read it; what is no text is written in bytes.
pub fn command_line() -> String {
    let typed = |word: OsString| {
        word.into_string().unwrap_or_else(|word| format!("$'{}'", word.as_encoded_bytes().escape_ascii()))
    };
    std::env::args_os().map(typed).collect::<Vec<_>>().join(" ")
}

/// Standard output. What cannot be printed is in the folder of results as well, so that the work goes on.
#[derive(Debug, Default)]
pub struct Output {
    failed: Option<std::io::Error>,
}

impl Output {
    /// Prints `text` and an end of line, unless an earlier attempt has failed.
    pub fn print(&mut self, text: &str) {
        if self.failed.is_none() {
            let mut out = std::io::stdout().lock();
            self.failed = writeln!(out, "{text}").and_then(|()| out.flush()).err();
        }
    }

    /// Whether everything was printed, or nobody wanted to read it (a closed pipe).
    ///
    /// # Errors
    /// [`Error::File`] for any other reason, such as a full disk.
    pub fn finish(self) -> Result<()> {
        match self.failed {
            Some(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(Error::file(Path::new("standard output"), "writing", e))
            }
            _ => Ok(()),
        }
    }
}
