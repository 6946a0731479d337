//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod cycles;
mod data;
mod documents;
mod finding;
mod layers;
mod test_files;
mod text;

use crate::{
    failure::{Failure, Result},
    workspace,
};
use finding::Finding;
use std::path::Path;

/// Checks the checkout and prints every breach.
pub(crate) fn tidy(root: &Path) -> Result {
    let findings = findings(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => Err(Failure::new(format!("breaches of the rules: {n}, listed above; mend them"))),
    }
}

fn findings(root: &Path) -> Result<Vec<Finding>> {
    let files = workspace::files(root)?;
    let experiments = workspace::experiments(root)?;
    let mut findings = Vec::new();
    for file in &files {
        let path = root.join(file);
        let bytes = std::fs::read(&path).map_err(|e| Failure::file(&path, "reading", &e))?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            findings.extend(text::check(file, text));
            findings.extend(test_files::check(&files, file, text));
            findings.extend(documents::check(root, &experiments, file, text)?);
        }
    }
    let metadata = workspace::metadata(root)?;
    findings.extend(layers::check(&metadata)?);
    findings.extend(cycles::check(root, &metadata)?);
    findings.extend(data::check(root, &files)?);
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_checkout_is_tidy() {
        let findings = super::findings(&crate::workspace::root().unwrap()).unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", lines.join("\n"));
    }
}
