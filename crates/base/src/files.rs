//! Files that are either whole or not there, and what of them fits into memory.

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

/// Whether a file is hidden, and so is not meant by a pattern such as `*.png`: its name begins with a dot, as those of
/// `.DS_Store`, and of the `._image.png` that macOS leaves on other file systems.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Decoded data above this size are taken for those of a corrupt file.
pub(crate) const LARGEST_DECODED_BYTES: u64 = 4 << 30;

/// Bytes that deflate, which makes at most 1032 of one, may come to; the rest is for headers and what is filled in.
pub(crate) fn deflated_at_most(stored: u64) -> u64 {
    stored.saturating_mul(1032).saturating_add(1 << 16)
}

/// Asked before memory is taken for what the head of a file announces, such as `2 x 3 pixels`: refuses `bytes` that are
/// more than `most`, what a file of this length can hold; than [`LARGEST_DECODED_BYTES`]; and than the process may still
/// take, where all that is made of them takes `copies` times as much. `None` is a number that cannot be counted.
///
/// # Errors
/// [`Error::Content`].
pub(crate) fn check_room(path: &Path, what: &str, bytes: Option<u64>, most: u64, copies: u64) -> Result<()> {
    let refuse = |problem: &str, remedy: &str| {
        let size = bytes.map_or("a number of bytes that cannot be counted".into(), |b| format!("{b} bytes"));
        Err(Error::content(path, format!("announces {what}, {size}, {problem}"), remedy))
    };
    match bytes {
        Some(bytes) if bytes <= most && bytes <= LARGEST_DECODED_BYTES => {
            let all = usize::try_from(bytes.saturating_mul(copies)).unwrap_or(usize::MAX);
            if Vec::<u8>::new().try_reserve_exact(all).is_err() {
                return refuse("for which there is no memory", "crop it, or use a machine with more memory");
            }
            Ok(())
        }
        Some(bytes) if bytes <= most => refuse(
            &format!("which is more than the {LARGEST_DECODED_BYTES} that are read"),
            "crop it or cut it into several files",
        ),
        _ => {
            refuse("which is more than the file can hold", "copy or save it again: it is cut off or damaged")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_weighed_before_memory_is_taken() {
        let path = Path::new("a.png");
        let line = |bytes, most, copies| {
            check_room(path, "1 x 9 pixels", bytes, most, copies).map_err(|e| e.to_string()).unwrap_err()
        };
        assert!(check_room(path, "", Some(9), 9, 4).is_ok());
        assert_eq!(
            line(Some(9), 8, 1),
            "a.png: announces 1 x 9 pixels, 9 bytes, which is more than the file can hold; \
             copy or save it again: it is cut off or damaged"
        );
        assert!(line(None, u64::MAX, 1).contains("cannot be counted"));
        assert!(line(Some(5 << 30), u64::MAX, 1).contains("more than the 4294967296 that are read"));
        assert!(line(Some(1 << 30), u64::MAX, 1 << 32).contains("no memory"));
    }

    #[test]
    fn names_that_begin_with_a_dot_are_hidden() {
        for (name, hidden) in
            [("._a.png", true), ("x/.DS_Store", true), ("a.png", false), (".x/a.png", false)]
        {
            assert_eq!(is_hidden(Path::new(name)), hidden, "{name}");
        }
    }
}
