//! Finds the experiments folder and the experiment files in it.

use smalti_base::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder `experiments/` of a checkout.
#[derive(Debug, Clone)]
pub struct Catalogue {
    repository: PathBuf,
    names: Vec<String>,
}

impl Catalogue {
    /// The first folder `experiments` that holds a TOML file, in `start` or the folders above it.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none.
    pub fn find(start: &Path) -> Result<Self> {
        for repository in start.ancestors() {
            let Ok(entries) = std::fs::read_dir(repository.join("experiments")) else { continue };
            let names = entries.filter_map(|e| {
                let name = e.ok()?.file_name().into_string().ok()?;
                name.strip_suffix(".toml").map(str::to_owned)
            });
            let mut names: Vec<String> = names.collect();
            if !names.is_empty() {
                names.sort();
                return Ok(Self { repository: repository.to_owned(), names });
            }
        }
        let problem = "there is no folder experiments/ with *.toml files here or in a folder above";
        Err(Error::content(start, problem, "run the command within the Smalti checkout"))
    }

    /// The folder that holds `experiments/`.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The files of the experiments `asked`, each once and in that order; all there are where none is asked for.
    ///
    /// # Errors
    /// [`Error::Value`] for an unknown name, listing those there are.
    pub fn paths(&self, asked: &[String]) -> Result<Vec<PathBuf>> {
        let asked = if asked.is_empty() { &self.names } else { asked };
        let mut paths = Vec::new();
        for name in asked {
            if !self.names.contains(name) {
                let known = format!("one of {}", self.names.join(", "));
                return Err(Error::value("--experiment", known, name));
            }
            let path = self.repository.join("experiments").join(format!("{name}.toml"));
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_are_found_from_below_and_listed_where_unknown() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("crates/deep");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(root.path().join("experiments")).unwrap();
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(root.path().join("experiments").join(name), "").unwrap();
        }
        let catalogue = Catalogue::find(&below).unwrap();
        assert_eq!(catalogue.repository(), root.path());
        let all = catalogue.paths(&[]).unwrap();
        assert!(all.len() == 2 && all[0].ends_with("experiments/a.toml"));
        assert_eq!(catalogue.paths(&["b".into(), "b".into()]).unwrap().len(), 1);
        let error = catalogue.paths(&["c".into()]).unwrap_err().to_string();
        assert!(error.contains("one of a, b") && error.contains('c'), "{error}");
    }
}
