//! Finds the experiments folder and the experiment files in it.

use smalti_base::{Error, Result};
use std::path::{Path, PathBuf};

/// What asks for every experiment.
pub const ALL: &str = "all";

/// The folder `experiments/` of a checkout. Its TOML files with a key `kind` are experiments; others, such as
/// a manifest of data, may lie beside them. Those with `main = true` run where none is asked for.
#[derive(Debug, Clone)]
pub struct Catalogue {
    repository: PathBuf,
    names: Vec<String>,
    main: Vec<String>,
}

impl Catalogue {
    /// The first folder `experiments` that holds an experiment, in `start` or the folders above it.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none.
    pub fn find(start: &Path) -> Result<Self> {
        for repository in start.ancestors() {
            let Ok(entries) = std::fs::read_dir(repository.join("experiments")) else { continue };
            let mut found: Vec<(String, bool)> =
                entries.filter_map(|e| experiment(&e.ok()?.path())).collect();
            if !found.is_empty() {
                found.sort();
                let main = found.iter().filter(|(_, main)| *main).map(|(name, _)| name.clone()).collect();
                let names = found.into_iter().map(|(name, _)| name).collect();
                return Ok(Self { repository: repository.to_owned(), names, main });
            }
        }
        let problem = "there is no folder experiments/ with experiment files here or in a folder above";
        Err(Error::content(start, problem, "run the command within the Smalti checkout"))
    }

    /// The folder that holds `experiments/`.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The files of the experiments `asked`, each once and in that order; every one for [`ALL`]. Where none is asked for,
    /// the main ones, or all if there are no such.
    ///
    /// # Errors
    /// [`Error::Value`] for an unknown name, listing those there are.
    pub fn paths(&self, asked: &[String]) -> Result<Vec<PathBuf>> {
        let main = if self.main.is_empty() { &self.names } else { &self.main };
        let asked = match asked {
            [] => main,
            asked if asked.iter().any(|name| name == ALL) => &self.names,
            asked => asked,
        };
        let mut paths = Vec::new();
        for name in asked {
            if !self.names.contains(name) {
                let known = format!("{ALL}, or one of {}", self.names.join(", "));
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

/// The name of the experiment in the file at `path`, and whether it is a main one. A file whose syntax is wrong counts as one, so that the
/// fault is shown and not passed over.
fn experiment(path: &Path) -> Option<(String, bool)> {
    if path.extension()? != "toml" {
        return None;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let parsed = toml::de::DeTable::parse(&text);
    let table = parsed.as_ref().ok().map(|table| table.get_ref());
    let main = table.and_then(|t| t.get("main")?.get_ref().as_bool()).unwrap_or(false);
    let name = path.file_stem()?.to_str()?.to_owned();
    table.is_none_or(|table| table.contains_key("kind")).then_some((name, main))
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
        std::fs::write(root.path().join("experiments/m.toml"), "kind = 'x'\nmain = true").unwrap();
        let with_main = Catalogue::find(&below).unwrap();
        let names = |asked: &[String]| with_main.paths(asked).unwrap().len();
        assert!(names(&[]) == 1 && with_main.paths(&[]).unwrap()[0].ends_with("experiments/m.toml"));
        assert_eq!((names(&["all".into()]), names(&["a".into()])), (3, 1));
        assert_eq!(catalogue.paths(&["b".into(), "b".into()]).unwrap().len(), 1);
        let error = catalogue.paths(&["c".into()]).unwrap_err().to_string();
        assert!(error.contains("all, or one of a, b, got \"c\""), "{error}");
    }
}
