//! Finds the experiments folder and the experiment files in it.

use smalti_base::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder `experiments/` of a checkout. Its TOML files with a key `kind` are experiments; others, such as
/// a manifest of data, may lie beside them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    repository: PathBuf,
    names: Vec<String>,
}

impl Catalogue {
    /// The first folder `experiments` that holds an experiment, in `start` or the folders above it.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none.
    pub fn find(start: &Path) -> Result<Self> {
        for repository in start.ancestors() {
            let Ok(entries) = std::fs::read_dir(repository.join("experiments")) else { continue };
            let mut names: Vec<String> = entries.filter_map(|e| experiment(&e.ok()?.path())).collect();
            if !names.is_empty() {
                names.sort();
                return Ok(Self { repository: repository.to_owned(), names });
            }
        }
        let problem = "there is no folder experiments/ with experiment files here or in a folder above";
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
                return Err(Error::value("--experiment", known, format!("{name:?}")));
            }
            let path = self.repository.join("experiments").join(format!("{name}.toml"));
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

/// The name of the experiment in the file at `path`. A file whose syntax is wrong counts as one, so that the
/// fault is shown and not passed over.
fn experiment(path: &Path) -> Option<String> {
    if path.extension()? != "toml" {
        return None;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let is_experiment =
        toml::de::DeTable::parse(&text).map_or(true, |table| table.get_ref().contains_key("kind"));
    is_experiment.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
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
        let files = [
            ("b.toml", "kind = 'x'"),
            ("a.toml", "kind ="),
            ("data.toml", "files = []"),
            ("c.md", "kind = 1"),
        ];
        for (name, text) in files {
            std::fs::write(root.path().join("experiments").join(name), text).unwrap();
        }
        let catalogue = Catalogue::find(&below).unwrap();
        assert_eq!(catalogue.repository(), root.path());
        let all = catalogue.paths(&[]).unwrap();
        assert!(all.len() == 2 && all[0].ends_with("experiments/a.toml"));
        assert_eq!(catalogue.paths(&["b".into(), "b".into()]).unwrap().len(), 1);
        let error = catalogue.paths(&["c".into()]).unwrap_err().to_string();
        assert!(error.contains("one of a, b, got \"c\""), "{error}");
    }
}
