//! Results that appear whole or not at all.

use smalti_base::{Error, Result, files};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files of a run, collected in a hidden folder within the folder of results and moved into place at the end.
///
/// Until [`Staged::publish`] nothing that readers see has changed; a run that fails leaves the results of the
/// run before it. All writing, which a full disk can stop, is done before the first move.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    hidden: TempDir,
    entries: BTreeSet<PathBuf>,
}

impl Staged {
    /// Starts collecting results for `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::File`] where `folder` cannot be written.
    pub fn beside(folder: &Path) -> Result<Self> {
        let fail = |e| Error::file(folder, "writing", e);
        std::fs::create_dir_all(folder).map_err(fail)?;
        let hidden = tempfile::Builder::new().prefix(".part-").tempdir_in(folder).map_err(fail)?;
        Ok(Self { folder: folder.to_owned(), hidden, entries: BTreeSet::new() })
    }

    /// Adds the file `name` (such as `images/truth.png`).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        files::write_atomically(&self.hidden.path().join("new").join(name), bytes)?;
        self.entries.extend(Path::new(name).iter().next().map(PathBuf::from));
        Ok(())
    }

    /// Moves everything into place; files and folders of the same name are replaced, others stay.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn publish(self) -> Result<()> {
        let (new, old) = (self.hidden.path().join("new"), self.hidden.path().join("old"));
        std::fs::create_dir_all(&old).map_err(|e| Error::file(&old, "writing", e))?;
        for entry in &self.entries {
            let place = self.folder.join(entry);
            let fail = |e| Error::file(&place, "replacing", e);
            // A file is replaced by the rename itself, a folder must first get out of the way.
            if place.is_dir() {
                std::fs::rename(&place, old.join(entry)).map_err(fail)?;
            }
            std::fs::rename(new.join(entry), &place).map_err(fail)?;
        }
        // The results are in place; what cannot be cleaned up is hidden and harmless.
        let _ = self.hidden.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn results_appear_at_once_and_replace_those_before() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/results");
        for round in ["first", "second"] {
            let mut staged = Staged::beside(&folder).unwrap();
            staged.add("table.csv", round.as_bytes()).unwrap();
            staged.add(&format!("images/{round}.png"), b"png").unwrap();
            let before = std::fs::read_to_string(folder.join("table.csv")).unwrap_or_default();
            assert_ne!(before, round, "nothing is visible before the end");
            staged.publish().unwrap();
            assert_eq!(std::fs::read_to_string(folder.join("table.csv")).unwrap(), round);
            assert_eq!(listing(&folder), ["images", "table.csv"]);
            assert_eq!(listing(&folder.join("images")), [format!("{round}.png")]);
        }
        std::fs::write(folder.join("checkpoint"), b"kept").unwrap();
        let mut dropped = Staged::beside(&folder).unwrap();
        dropped.add("table.csv", b"third").unwrap();
        drop(dropped);
        assert_eq!(std::fs::read_to_string(folder.join("table.csv")).unwrap(), "second");
        assert_eq!(listing(&folder), ["checkpoint", "images", "table.csv"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_line() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let error = Staged::beside(&file.join("results")).err().unwrap().to_string();
        assert!(error.contains("results") && !error.contains('\n'), "{error}");
    }
}
