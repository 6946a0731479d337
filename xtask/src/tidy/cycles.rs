//! No import cycles: the files of a package use each other in one direction only.
//!
//! # The rule
//! File A uses file B where A's code names an item that is *defined* in B. Names are looked up as the compiler does:
//!
//! - A `use` that is not public counts, wherever it stands, and so does every path in code, in macros and in arguments of
//!   attributes: `crate::a::X`, `super::x()`, `self::y::Z`, and `y::Z` or `Z` where `y` is a child or has been imported.
//! - Re-exports (`pub use`, and private imports that a child reaches through its parent) and globs are followed to the file
//!   that defines the item. So a parent that only declares its children (`mod x;`) and re-exports their items uses none of
//!   them, and a child that imports a sibling through it uses the sibling. A parent whose own code names what it re-exports
//!   uses the child; a child that names what the parent's file defines uses the parent: both together are a cycle.
//! - A module named alone (`use super::y;`) is no use of its file; what is named in it is.
//! - Inline modules belong to the file that they stand in.
//!
//! Left out: what is compiled for tests alone (`#[cfg(test)]`, `#[test]`, programs of `tests` folders), comments, strings,
//! visibilities, items of other packages, and what the text does not name: methods and fields of values.
//!
//! A finding is a set of files each of which leads to all others, with the uses between them: items, and the lines that
//! name them first.

mod graph;
mod modules;
mod names;

use super::finding::Finding;
use crate::failure::Result;
use cargo_metadata::{Metadata, TargetKind};
use graph::{Graph, Usage};
use std::path::Path;

/// Cycles in the library and the programs of every package.
pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        for target in &package.targets {
            if target.kind.contains(&TargetKind::Test) {
                continue;
            }
            let modules = modules::read(target.src_path.as_std_path())?;
            findings.extend(found(root, &names::uses(&modules)));
        }
    }
    Ok(findings)
}

/// A finding for each cycle.
fn found(root: &Path, graph: &Graph) -> Vec<Finding> {
    let shown = |file: &Path| file.strip_prefix(root).unwrap_or(file).display().to_string();
    let finding = |files: Vec<&Path>| {
        let mut problem = format!("an import cycle of {} files; cut one of these uses:", files.len());
        for Usage { from, to, names } in graph.between(&files) {
            let names: Vec<String> = names.iter().map(|(name, line)| format!("{name} ({line})")).collect();
            problem += &format!("\n    {} uses {} of {}", shown(from), names.join(", "), shown(to));
        }
        Finding::new(shown(files[0]), problem)
    };
    graph.cycles().into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The uses that make the cycles of a crate of these files, the first of which is its root.
    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path: PathBuf = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let modules = modules::read(&folder.path().join(files[0].0)).unwrap();
        found(folder.path(), &names::uses(&modules)).iter().map(ToString::to_string).collect()
    }

    fn only_cycle(files: &[(&str, &str)]) -> String {
        let all = cycles(files);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    const NONE: [String; 0] = [];

    #[test]
    fn two_files_that_use_each_other_are_found() {
        let cycle = only_cycle(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
            ("b.rs", "pub struct B;\nfn f(_: &B) -> usize {\n    size_of::<super::a::A>()\n}\n"),
        ]);
        assert!(cycle.starts_with("a.rs: an import cycle of 2 files"), "{cycle}");
        assert!(
            cycle.contains("\n    a.rs uses B (1) of b.rs")
                && cycle.contains("\n    b.rs uses A (3) of a.rs")
        );
    }

    #[test]
    fn three_files_through_a_parent_are_found() {
        let cycle = only_cycle(&[
            ("lib.rs", "mod top;\n"),
            ("top/mod.rs", "mod a;\nmod b;\npub const LIMIT: usize = 3;\npub fn run() { a::run() }\n"),
            ("top/a.rs", "use super::b;\npub fn run() { println!(\"{}\", b::run()) }\n"),
            ("top/b.rs", "pub fn run() -> usize { super::LIMIT }\n"),
        ]);
        assert!(cycle.contains("of 3 files"), "{cycle}");
        for usage in [
            "top/mod.rs uses run (4) of top/a.rs",
            "top/a.rs uses run (2) of top/b.rs",
            "top/b.rs uses LIMIT (1)",
        ] {
            assert!(cycle.contains(usage), "{cycle}");
        }
    }

    #[test]
    fn a_facade_is_no_cycle() {
        let files = [
            ("lib.rs", "pub mod top;\npub use top::{A, b};\n"),
            ("top.rs", "mod a;\npub mod b;\npub use a::A;\npub use b::*;\n"),
            ("top/a.rs", "use super::B;\npub struct A(B);\n"),
            ("top/b.rs", "use crate::top::c::C;\npub mod c;\npub struct B(C);\n"),
            ("top/b/c.rs", "pub struct C;\n"),
        ];
        // `crate::top::c` is found through the glob.
        assert_eq!(cycles(&files), NONE);
    }

    #[test]
    fn a_facade_whose_code_uses_what_it_exports_is_a_cycle() {
        let files = |parent: &'static str| {
            [
                ("lib.rs", parent),
                ("a.rs", "use super::Real;\npub struct A;\nimpl A { pub fn f<T: Real>(&self, _: T) {} }\n"),
            ]
        };
        assert_eq!(cycles(&files("mod a;\npub use a::A;\npub trait Real {}\n")), NONE);
        let cycle = only_cycle(&files("mod a;\npub use a::A;\npub trait Real {}\nimpl A {}\n"));
        assert!(
            cycle.contains("lib.rs uses A (4) of a.rs") && cycle.contains("a.rs uses Real (1) of lib.rs")
        );
    }

    #[test]
    fn globs_macros_and_inline_modules_are_seen() {
        let cycle = only_cycle(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use super::b::*;\npub fn a() { assert!(b() > 0); }\n"),
            (
                "b.rs",
                "pub fn b() -> usize { 1 }\nmod inner {\n    fn f() { vec![super::super::a::a()]; }\n}\n",
            ),
        ]);
        assert!(
            cycle.contains("a.rs uses b (2) of b.rs") && cycle.contains("b.rs uses a (3) of a.rs"),
            "{cycle}"
        );
    }

    #[test]
    fn tests_comments_and_visibilities_do_not_count() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod tests;\n"),
            ("a.rs", "use super::b::B;\npub(in crate::a) struct A(B);\n"),
            (
                "b.rs",
                "//! [`crate::a::A`]\npub struct B; // crate::a::A\nimpl B {\n    #[cfg(test)]\n    fn f(_: crate::a::A) {}\n}\n\
                 #[cfg(test)]\nuse super::a;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            ),
            ("tests.rs", "use crate::{a::A, b::B};\npub fn help() {}\n"),
        ];
        assert_eq!(cycles(&files), NONE);
    }
}
