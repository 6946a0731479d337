//! A lock that one process at a time holds on a place, and that says who does.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A lock file that this process holds until it is dropped.
///
/// The system lets go of it when the process ends, however it ends: a file that a killed process left behind is no lock. It
/// holds the number of the process, which is what another one is told.
///
/// ```
/// use smalti_base::lock::Lock;
/// # fn main() -> smalti_base::Result<()> {
/// # let root = tempfile::tempdir().unwrap();
/// # let folder = root.path();
/// let lock = Lock::acquire(&folder.join(".results.lock"), &folder.join("results"))?;
/// let refused = Lock::acquire(&folder.join(".results.lock"), &folder.join("results")).unwrap_err();
/// assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
/// drop(lock);
/// assert!(Lock::acquire(&folder.join(".results.lock"), &folder.join("results")).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    /// Locks the file at `path`, which is made for it in a folder that is there, on behalf of `place`, which messages name.
    ///
    /// On a file system that has no locks it only warns.
    ///
    /// # Errors
    /// [`Error::Content`] naming `place` and the process that holds the lock; [`Error::File`] where the file cannot be made.
    pub fn acquire(path: &Path, place: &Path) -> Result<Self> {
        let fail = |e| Error::file(place, "writing", e);
        loop {
            let options = &mut OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(path, place)),
                Err(TryLockError::Error(e))
                    if e.kind() == ErrorKind::Unsupported || e.raw_os_error() == Some(libc::ENOLCK) =>
                {
                    tracing::warn!(
                        "{}: the file system has no locks ({e}); run one process at a time there",
                        place.display()
                    );
                }
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // Whoever held it may have removed the file between our opening and our lock: then this is a lock on nothing.
            if !is_at(&file, path) {
                continue;
            }
            file.set_len(0).and_then(|()| file.write_all(holder().as_bytes())).map_err(fail)?;
            return Ok(Self { path: path.to_owned(), _held: file });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: nobody else's file can be at this place.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the file at `path` is the open `file`.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let number = |of: std::io::Result<fs::Metadata>| of.ok().map(|of| (of.dev(), of.ino()));
        let (open, there) = (number(file.metadata()), number(fs::metadata(path)));
        open.is_some() && open == there
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// What the file holds: this process.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let on = if host.trim().is_empty() { String::new() } else { format!(" on {}", host.trim()) };
    format!("process {}{on}\n", std::process::id())
}

fn held(path: &Path, place: &Path) -> Error {
    let text = fs::read_to_string(path).unwrap_or_default();
    let by = text.lines().next().filter(|line| !line.is_empty()).unwrap_or("another process");
    let problem = format!("is in use by {by}");
    Error::content(place, problem, "wait until that has ended, or choose another folder")
}
