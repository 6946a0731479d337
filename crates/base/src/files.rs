//! Files that are either whole or not there.

use crate::error::{Error, Result};
use std::{fs, io::Write, path::Path};

/// Writes `bytes` to `path` atomically: into a temporary file beside it, synced, then renamed.
///
/// After a crash or on a full disk the old file (or none) is there, never a part of the new one.
/// The folder is made where it is missing. A new file gets the permissions that the process gives to any file
/// (0666 less the umask); a file that is replaced keeps its own; a link at `path` is replaced by the file.
///
/// # Errors
/// [`Error::File`] with the remedy.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let fail = |e| Error::file(path, "writing", e);
    fs::create_dir_all(folder).map_err(fail)?;
    let mut temporary = temporary_in(folder).map_err(fail)?;
    temporary.as_file_mut().write_all(bytes).map_err(fail)?;
    if let Ok(old) = fs::metadata(path) {
        temporary.as_file().set_permissions(old.permissions()).map_err(fail)?;
    }
    temporary.as_file().sync_all().map_err(fail)?;
    temporary.persist(path).map_err(|e| fail(e.error))?;
    // The rename itself is made durable; a file system that cannot sync folders is no reason to fail.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A file beside the one to be written, removed on drop, readable by whoever may read any new file.
fn temporary_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The kind alone: the message names the file that is asked for, not the temporary one.
    builder.tempfile_in(folder).map_err(|e| e.kind().into())
}

/// Reads a whole file.
///
/// # Errors
/// [`Error::File`] with the remedy.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::file(path, "reading", e))
}
