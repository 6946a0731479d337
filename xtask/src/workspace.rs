//! This checkout: its root, its files and what cargo knows about its packages.

use crate::{
    child,
    failure::{Failure, Result},
};
use cargo_metadata::{Metadata, MetadataCommand};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the checkout, above the folder of this package.
pub(crate) fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = PathBuf::from(package);
    package.parent().map(Path::to_owned).ok_or_else(|| Failure::new("run it as `cargo xtask`"))
}

/// The packages of the workspace, without what they depend on; reads no network.
pub(crate) fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new().current_dir(root).no_deps().exec().map_err(|e| {
        let text = e.to_string();
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Failure::new(format!("cargo metadata failed: {line}; check the Cargo.toml files"))
    })
}

/// The tracked and the new files that git does not ignore, relative to the root.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = child::output(&mut git)?;
    let mut files: Vec<PathBuf> = list.split_terminator('\0').map(PathBuf::from).collect();
    // A file that is deleted but still in git's index is no file.
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// The names of the experiments: the stems of `experiments/*.toml`, without the manifest of the data.
pub(crate) fn experiments(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("experiments");
    let entries = std::fs::read_dir(&folder).map_err(|e| Failure::file(&folder, "reading", &e))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".toml").map(str::to_owned))
        .filter(|name| name != "data")
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_packages_of_this_checkout_are_found() {
        let root = root().unwrap();
        let files = files(&root).unwrap();
        assert!(files.contains(&PathBuf::from("xtask/src/main.rs")));
        assert!(!files.iter().any(|file| file.starts_with("target") || file.starts_with(".libtorch")));
        assert!(metadata(&root).unwrap().packages.iter().any(|package| package.name.as_str() == "xtask"));
    }

    #[test]
    fn the_manifest_of_the_data_is_no_experiment() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("experiments");
        std::fs::create_dir(&folder).unwrap();
        for file in ["b.toml", "a.toml", "data.toml", "notes.md"] {
            std::fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(experiments(root.path()).unwrap(), ["a", "b"]);
    }
}
