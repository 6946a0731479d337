//! No file of a test program is left out of it: a module that nobody declares is compiled by nobody.

use super::finding::Finding;
use std::path::{Path, PathBuf};

/// Files beside a `main.rs` in a folder of a `tests` folder that its `text` does not declare.
pub(super) fn check(files: &[PathBuf], main: &Path, text: &str) -> Vec<Finding> {
    let Some(folder) = main.parent().filter(|_| is_test_program(main)) else { return Vec::new() };
    let left_out = |file: &&PathBuf| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        file.parent() == Some(folder)
            && file.extension().is_some_and(|extension| extension == "rs")
            && *file != main
            && !text.lines().any(|line| line == format!("mod {name};"))
    };
    let problem = || format!("is in no test program: add it to {}", main.display());
    files.iter().filter(left_out).map(|file| Finding::new(file.display(), problem())).collect()
}

fn is_test_program(file: &Path) -> bool {
    let tests = file.parent().and_then(Path::parent).and_then(Path::file_name);
    file.ends_with("main.rs") && tests.is_some_and(|tests| tests == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_nobody_declares_is_found() {
        let main = Path::new("a/tests/all/main.rs");
        let files = ["a/tests/all/one.rs", "a/tests/all/two.rs", "a/tests/all/x.json", "a/src/three.rs"];
        let mut files: Vec<PathBuf> = files.map(PathBuf::from).into();
        files.push(main.to_owned());
        let found =
            |text| -> Vec<String> { check(&files, main, text).iter().map(ToString::to_string).collect() };
        assert_eq!(found("mod one;\nmod two;\n"), Vec::<String>::new());
        assert_eq!(
            found("mod one;\n// mod two;\n"),
            ["a/tests/all/two.rs: is in no test program: add it to a/tests/all/main.rs"]
        );
        assert!(check(&files, Path::new("a/src/main.rs"), "").is_empty());
    }
}
