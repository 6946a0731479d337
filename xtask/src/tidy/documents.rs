//! Documents: links lead somewhere, tables name an experiment, and the example in the README of a crate is that of its code.

use super::finding::Finding;
use crate::{
    docs::{example, is_document, table},
    failure::Result,
};
use std::path::Path;

const PROFILES: [&str; 4] = ["smoke", "quick", "table", "paper"];

/// All rules for documents, and that documents named in other files are there.
pub(super) fn check(root: &Path, experiments: &[String], file: &Path, text: &str) -> Result<Vec<Finding>> {
    let mut findings = named(root, file, text);
    if is_document(file) {
        findings.extend(links(root, file, text));
        findings.extend(tables(experiments, file, text));
        if let Some(lib) = example::source(root, file) {
            let lib = std::fs::read_to_string(&lib)
                .map_err(|e| crate::failure::Failure::file(&lib, "reading", &e))?;
            let problem = match example::renewed(text, &lib) {
                Ok(new) if new == text => None,
                Ok(_) => Some("its example is not that of src/lib.rs; run `cargo xtask docs`".to_owned()),
                Err(fault) => Some(fault.problem),
            };
            findings.extend(problem.map(|problem| Finding::new(file.display(), problem)));
        }
    }
    Ok(findings)
}

/// Documents that a file names from the root.
fn named(root: &Path, file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, n) in text.lines().zip(1..) {
        for (at, start) in line.match_indices("docs/") {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "/_.-".contains(c)) {
                continue;
            }
            let rest = &line[at + start.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && !"/_.-".contains(c)).unwrap_or(rest.len());
            let Some(name) = rest[..end].rfind(".md").map(|md| &line[at..at + start.len() + md + 3]) else {
                continue;
            };
            // A relative link is looked at as one.
            let linked = line[..at].ends_with("](");
            if !linked && !root.join(name).is_file() {
                findings.push(Finding::at(file.display(), n, format!("names {name}, which is not there")));
            }
        }
    }
    findings
}

fn links(root: &Path, file: &Path, text: &str) -> Vec<Finding> {
    let folder = root.join(file.parent().unwrap_or(Path::new("")));
    let mut findings = Vec::new();
    for (n, target) in targets(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let place = if path.is_empty() { root.join(file) } else { folder.join(path) };
        let problem = if !place.exists() {
            format!("the link {target} leads nowhere")
        } else if !anchor.is_empty() && !has_heading(&place, anchor) {
            format!("the link {target} leads to no heading")
        } else {
            continue;
        };
        findings.push(Finding::at(file.display(), n, problem));
    }
    findings
}

/// Where the links of a document lead, each with its line; code has none.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    for (n, line) in prose(text) {
        for (at, start) in line.match_indices("](") {
            // Within `code` there is an odd number of marks before it.
            if line[..at].matches('`').count() % 2 == 1 && !line[..at].ends_with('`') {
                continue;
            }
            let rest = &line[at + start.len()..];
            let target = rest.split(')').next().unwrap_or(rest);
            targets.extend(target.split_whitespace().next().map(|target| (n, target)));
        }
    }
    targets
}

/// The lines of a document outside of its blocks of code, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Whether the document at `path` has a heading that GitHub gives this anchor.
fn has_heading(path: &Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    prose(&text).any(|(_, line)| {
        let heading = line.trim_start_matches('#');
        heading.len() < line.len() && heading.starts_with(' ') && slug(heading) == anchor
    })
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn tables(experiments: &[String], file: &Path, text: &str) -> Vec<Finding> {
    let finding = |line, problem: String| Finding::at(file.display(), line, problem);
    let blocks = match table::blocks(text) {
        Ok(blocks) => blocks,
        Err(fault) => return vec![finding(fault.line, fault.problem)],
    };
    let unknown = |block: &&table::Block| {
        !experiments.contains(&block.experiment) || !PROFILES.contains(&block.profile.as_str())
    };
    let problem = |block: &table::Block| {
        format!("a table of {} {}, which no experiment makes", block.experiment, block.profile)
    };
    blocks.iter().filter(unknown).map(|block| finding(block.line, problem(block))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn found(root: &Path, file: &str, text: &str) -> Vec<String> {
        fs::write(root.join(file), text).unwrap();
        let findings = check(root, &["a".to_owned()], Path::new(file), text).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    /// A text with the folder of documents in the place of `DOCS`: this file itself names none that is not there.
    fn text(text: &str) -> String {
        text.replace("DOCS", "docs")
    }

    #[test]
    fn links_lead_somewhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join(text("DOCS/b.md")), "# A heading: with `code`\n").unwrap();
        let good = "# Top\n[x](DOCS/b.md) [y](DOCS/b.md#a-heading-with-code) [z](#top) [w](https://a.b/c)\n\
             ```\n[x](nowhere.md)\n```\nand `[x](nowhere.md)`, DOCS/b.md\n";
        assert_eq!(found(root.path(), "a.md", &text(good)), [""; 0]);
        for (bad, problem) in [
            ("[x](gone.md)\n", "a.md:1: the link gone.md leads nowhere"),
            ("\n[x](DOCS/b.md#gone)\n", "a.md:2: the link DOCS/b.md#gone leads to no heading"),
            ("see `DOCS/gone.md`.\n", "a.md:1: names DOCS/gone.md, which is not there"),
        ] {
            assert_eq!(found(root.path(), "a.md", &text(bad)), [text(problem)]);
        }
        assert_eq!(found(root.path(), &text("DOCS/c.md"), "[x](b.md) [y](../a.md)\n"), [""; 0]);
        assert_eq!(found(root.path(), "a.rs", &text("//! See DOCS/gone.md.\n")).len(), 1);
    }

    #[test]
    fn tables_name_an_experiment_and_a_profile() {
        let root = tempfile::tempdir().unwrap();
        let of = |names: &str| format!("<!-- table: {names} -->\n<!-- end of table -->\n");
        assert_eq!(found(root.path(), "a.md", &of("a quick")), [""; 0]);
        assert!(found(root.path(), "a.md", &of("b quick"))[0].contains("no experiment makes"));
        assert!(found(root.path(), "a.md", &of("a fast"))[0].contains("no experiment makes"));
        assert!(found(root.path(), "a.md", &of("a"))[0].contains("expected <!-- table:"));
    }

    #[test]
    fn an_example_that_is_not_of_the_code_is_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("crates/x/src")).unwrap();
        fs::write(root.path().join("crates/x/src/lib.rs"), "//! x\n//! ```\n//! new();\n//! ```\n").unwrap();
        let readme = |body: &str| format!("# x\n\n```rust\n{body}\n```\n");
        assert_eq!(found(root.path(), "crates/x/README.md", &readme("new();")), [""; 0]);
        let old = found(root.path(), "crates/x/README.md", &readme("old();"));
        assert!(old[0].contains("run `cargo xtask docs`"), "{old:?}");
    }
}
