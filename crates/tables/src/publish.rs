//! Results that readers see whole or not at all, from one process at a time.

use smalti_base::lock::Lock;
use smalti_base::{Error, Result, files};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The folder of the results of a run, `OUT/NAME/PROFILE`, claimed by this process until the last clone is dropped.
///
/// Results are collected in a hidden folder beside it, which takes its place at the end by one exchange of names: a reader of the
/// folder sees the results of the run before or those of this one, whatever ends the process at whatever time. What else lies in
/// the folder, such as `state/`, is in the new one, too. All writing, which a full disk can stop, is done before the exchange.
///
/// ```text
/// OUT/NAME/PROFILE                 what readers see
/// OUT/NAME/.PROFILE.lock           held while a process is at work; names it
/// OUT/NAME/.PROFILE.part-XXXXXX/   what is collected; removed at the end, or by the next run where the process was killed
/// ```
#[derive(Debug, Clone)]
pub struct Results(Arc<Claim>);

#[derive(Debug)]
struct Claim {
    folder: PathBuf,
    hidden: TempDir,
    // Given up after the hidden folder is gone.
    _lock: Lock,
}

/// What a run writes: none of it stays beside results of another run.
const OWN: [&str; 6] = ["table.csv", "table.md", "distances.csv", "run.toml", "report.html", "images"];

/// What unfinished files and folders begin with.
const PART: &str = ".part-";

/// Bytes that must fit on the disk before the work begins: about those of a table with its pictures.
const ROOM: usize = 4 << 20;

impl Results {
    /// Claims `folder`, which need not be there yet, and removes what a killed process has left behind.
    ///
    /// # Errors
    /// [`Error::Content`] naming the process that is at work there; [`Error::File`] where nothing can be written, or the disk is
    /// full.
    pub fn claim(folder: &Path) -> Result<Self> {
        let fail = |e| Error::file(folder, "writing", e);
        // A link to a folder elsewhere stays what it is.
        let folder =
            &if folder.is_symlink() { fs::canonicalize(folder).map_err(fail)? } else { folder.to_owned() };
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Err(Error::value("folder of results", "a folder with a name", folder.display()));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        fs::create_dir_all(parent).map_err(fail)?;
        if is_mount_point(folder, parent) {
            let problem = "is where another file system begins, so that no other folder can take its name";
            return Err(Error::content(folder, problem, "choose a folder within it"));
        }
        let lock = Lock::acquire(&parent.join(hidden(name, ".lock")), folder)?;
        let part = hidden(name, PART);
        clean(folder, parent, &part).map_err(fail)?;
        let hidden = tempfile::Builder::new().prefix(&part).tempdir_in(parent).map_err(fail)?;
        room(hidden.path()).map_err(fail)?;
        if folder.exists() {
            tempfile::tempfile_in(folder).map_err(fail)?;
        }
        fs::create_dir(hidden.path().join("new")).map_err(fail)?;
        Ok(Self(Arc::new(Claim { folder: folder.clone(), hidden, _lock: lock })))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Where results are collected.
    pub fn collected(&self) -> PathBuf {
        self.0.hidden.path().join("new")
    }

    /// Adds the file `name` (such as `images/truth.png`).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(&self, name: &str, bytes: &[u8]) -> Result<()> {
        files::write_atomically(&self.collected().join(name), bytes)
    }

    /// Puts what was collected in place.
    ///
    /// # Errors
    /// [`Error::File`]; what readers see is then as it was.
    pub fn publish(&self) -> Result<()> {
        self.publish_by(exchange, |_| ())
    }

    /// [`Results::publish`] with `exchange` as the exchange of names; `reached` is told of every point where the process may end.
    fn publish_by(
        &self,
        exchange: impl Fn(&Path, &Path) -> std::io::Result<()>,
        mut reached: impl FnMut(&str),
    ) -> Result<()> {
        let (folder, new, old) = (self.folder(), self.collected(), self.0.hidden.path().join("old"));
        let fail = |e| Error::file(folder, "replacing", e);
        reached("all is collected");
        if !folder.exists() {
            fs::rename(&new, folder).map_err(fail)?;
        } else {
            for entry in fs::read_dir(folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let (name, to) = (entry.file_name(), new.join(entry.file_name()));
                let own = OWN.iter().any(|own| name == *own) || starts_with(&name, OsStr::new(PART));
                if !own && !to.exists() {
                    files::link(&entry.path(), &to)?;
                    reached("a file of others is linked");
                }
            }
            let permissions = fs::metadata(folder).map_err(fail)?.permissions();
            fs::set_permissions(&new, permissions).map_err(fail)?;
            if exchange(&new, folder).is_ok() {
                reached("names are exchanged");
                let _ = fs::rename(&new, &old);
            } else {
                // Two renames where the file system knows no exchange; the next run completes them.
                fs::rename(folder, &old).map_err(fail)?;
                reached("the old folder is away");
                fs::rename(&new, folder).or_else(|e| fs::rename(&old, folder).and(Err(e))).map_err(fail)?;
                reached("the new folder is there");
            }
        }
        synced(folder);
        // The results are in place; what cannot be cleaned up is hidden, and the next run's.
        let _ = fs::create_dir(&new);
        reached("another may be collected");
        let _ = fs::remove_dir_all(&old);
        reached("the old folder is removed");
        Ok(())
    }
}

/// `.PROFILE` and an ending.
fn hidden(name: &OsStr, ending: &str) -> OsString {
    [OsStr::new("."), name, OsStr::new(ending)].into_iter().collect()
}

fn starts_with(name: &OsStr, with: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(with.as_encoded_bytes())
}

/// Ends what a killed process has begun: a folder that it had moved away comes back, and what it had not finished goes.
fn clean(folder: &Path, parent: &Path, part: &OsStr) -> std::io::Result<()> {
    for entry in fs::read_dir(parent)?.filter_map(std::io::Result::ok) {
        if starts_with(&entry.file_name(), part) {
            let old = entry.path().join("old");
            if old.is_dir() && !folder.exists() {
                fs::rename(&old, folder)?;
            }
            fs::remove_dir_all(entry.path())?;
        }
    }
    clean_within(folder, false)?;
    clean_within(&folder.join("state"), true)
}

/// Removes what is unfinished in a folder, and in those within it where it is to go `deep`.
fn clean_within(folder: &Path, deep: bool) -> std::io::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(std::io::Result::ok) {
        let (path, is_folder) = (entry.path(), entry.file_type()?.is_dir());
        match starts_with(&entry.file_name(), OsStr::new(PART)) {
            true if is_folder => fs::remove_dir_all(path)?,
            true => fs::remove_file(path)?,
            false if is_folder && deep => clean_within(&path, deep)?,
            false => {}
        }
    }
    Ok(())
}

/// Whether another file system begins at `folder`: no other folder can take its name.
fn is_mount_point(folder: &Path, parent: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |of: &Path| fs::metadata(of).ok().map(|of| of.dev());
        device(folder).is_some_and(|own| device(parent) != Some(own))
    }
    #[cfg(not(unix))]
    {
        let _ = (folder, parent);
        false
    }
}

/// Whether there is room on the disk: it is taken and given back.
fn room(folder: &Path) -> std::io::Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![b'.'; ROOM])?;
    file.sync_data()
}

/// One step for every reader: the two folders have each other's names.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The exchange is made durable; a file system that cannot sync folders is no reason to fail.
fn synced(folder: &Path) {
    for at in [Some(folder), folder.parent()].into_iter().flatten() {
        if let Ok(file) = fs::File::open(at) {
            let _ = file.sync_all();
        }
    }
}

#[cfg(all(test, unix))]
mod cases;
