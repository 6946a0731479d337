//! The files of the data set are fetched, never committed.

use super::finding::Finding;
use crate::{
    failure::{Failure, Result},
    manifest::{Manifest, sha256},
};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Looks for files of the manifest among the files of the checkout, under whatever name.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let manifest = Manifest::read(root)?;
    // Only a file of the right size can be one of them, so hardly any is hashed.
    let sizes: HashSet<u64> = manifest.files.iter().map(|file| file.bytes).collect();
    let mut findings = Vec::new();
    for file in files {
        let path = root.join(file);
        let size = fs::metadata(&path).map_err(|e| Failure::file(&path, "reading", &e))?.len();
        if !sizes.contains(&size) {
            continue;
        }
        let hash = sha256(&path)?;
        if let Some(entry) = manifest.files.iter().find(|entry| entry.sha256 == hash) {
            let problem = format!("is {} of the data set, which is fetched and never committed", entry.name);
            findings.push(Finding::new(file.display(), problem));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::checkout_with;

    #[test]
    fn a_file_of_the_data_set_is_found_under_any_name() {
        let root = checkout_with(&[("sic/ref.png", b"pixels".as_slice())]);
        fs::write(root.path().join("innocent.bin"), b"pixels").unwrap();
        fs::write(root.path().join("same_size.bin"), b"pixelz").unwrap();
        let files = ["innocent.bin".into(), "same_size.bin".into(), "experiments/data.toml".into()];
        let findings = check(root.path(), &files).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with("innocent.bin: is sic/ref.png of the data set"));
        assert!(check(root.path(), &files[1..]).unwrap().is_empty());
    }
}
