//! The example in the README of a crate is the first one of its `lib.rs`, which is compiled and run with the tests.

use super::fault::Fault;
use std::path::{Path, PathBuf};

/// The `lib.rs` that the document `file` has its example from, where it is the README of a crate.
pub(crate) fn source(root: &Path, file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|_| file.ends_with("README.md"))?;
    let lib = folder.join("src/lib.rs");
    (folder.starts_with("crates") && root.join(&lib).is_file()).then(|| root.join(lib))
}

/// The README with the example of `lib` in the place of its first block of Rust.
///
/// # Errors
/// Where one of them has none.
pub(crate) fn renewed(readme: &str, lib: &str) -> Result<String, Fault> {
    let example =
        first(lib).ok_or_else(|| Fault::new(1, "src/lib.rs of its crate begins without an example"))?;
    let missing = || Fault::new(1, "has no example: a block that begins with ```rust");
    let (before, rest) = readme.split_once("```rust\n").ok_or_else(missing)?;
    let (_, after) = rest.split_once("```\n").ok_or_else(missing)?;
    Ok(format!("{before}```rust\n{example}```\n{after}"))
}

/// The first example of the documentation of a crate, without the lines that documentation hides.
fn first(lib: &str) -> Option<String> {
    let doc = lib.lines().map_while(|line| line.strip_prefix("//!"));
    let mut lines = doc.map(|line| line.strip_prefix(' ').unwrap_or(line)).skip_while(|line| !fence(line));
    lines.next()?;
    let mut example = String::new();
    for line in lines.take_while(|line| !fence(line)) {
        if line != "#" && !line.starts_with("# ") {
            example.push_str(line);
            example.push('\n');
        }
    }
    (!example.is_empty()).then_some(example)
}

fn fence(line: &str) -> bool {
    line.starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! A crate.\n//!\n//! ```\n//! let a = 1;\n//!\n//! #[allow(unused)]\n//! let b = a;\n//! # Ok(())\n//! ```\n//!\n//! ```\n//! other\n//! ```\n";

    #[test]
    fn the_example_of_the_crate_stands_in_its_readme() {
        let readme = "# x\n\n```rust\nold\n```\n\n```rust\nsecond\n```\n";
        let new = renewed(readme, LIB).unwrap();
        assert_eq!(
            new,
            "# x\n\n```rust\nlet a = 1;\n\n#[allow(unused)]\nlet b = a;\n```\n\n```rust\nsecond\n```\n"
        );
        assert_eq!(renewed(&new, LIB).unwrap(), new);
        assert!(renewed("# x\n", LIB).unwrap_err().problem.contains("has no example"));
        assert!(renewed(readme, "//! x\nfn f() {}\n").unwrap_err().problem.contains("without an example"));
    }

    #[test]
    fn only_readmes_of_crates_have_one() {
        let root = crate::workspace::root().unwrap();
        assert!(source(&root, Path::new("crates/base/README.md")).is_some());
        for file in ["README.md", "docs/notation.md", "xtask/README.md", "crates/base/OTHER.md"] {
            assert_eq!(source(&root, Path::new(file)), None, "{file}");
        }
    }
}
