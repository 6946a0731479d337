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

/// Puts everything within the folder `from` into the folder `to`, which is made where it is missing, as another name of the same
/// file, or as a copy where the file system has no such links. What is there under the same name stays.
///
/// # Errors
/// [`Error::File`].
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::file(to, "writing", e))?;
    for entry in fs::read_dir(from).map_err(|e| Error::file(from, "reading", e))? {
        let entry = entry.map_err(|e| Error::file(from, "reading", e))?;
        link(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Puts the file or folder `from` at `to` in the way of [`link_tree`].
///
/// # Errors
/// [`Error::File`].
pub fn link(from: &Path, to: &Path) -> Result<()> {
    // A link to a folder is linked as what it is.
    if from.is_dir() && !from.is_symlink() {
        return link_tree(from, to);
    }
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::copy(from, to).map(drop).map_err(|e| Error::file(to, "writing", e)),
    }
}

/// Reads a whole file.
///
/// # Errors
/// [`Error::File`] with the remedy.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::file(path, "reading", e))
}
