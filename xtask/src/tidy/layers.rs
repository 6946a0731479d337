//! Dependencies point downwards only, and every package keeps the workspace's lints.

use super::finding::Finding;
use crate::failure::{Failure, Result};
use cargo_metadata::{DependencyKind, Metadata, Package};
use std::path::Path;

/// The layers, lowest first: each may use those before it.
const LAYERS: [&str; 9] =
    ["base", "kernels", "operators", "flows", "priors", "solvers", "methods", "tables", "cli"];

/// The highest layer that the laws of testkit may know.
const TESTKIT_BELOW: &str = "methods";

/// A use of one package of ours by another.
struct Use<'a> {
    user: &'a str,
    used: &'a str,
    development: bool,
}

/// Layering and lints of all packages of the workspace.
pub(super) fn check(metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let user = short(&package.name);
        if !known(user) {
            findings.push(Finding::new(&package.name, "has no layer; add it to xtask/src/tidy/layers.rs"));
        }
        for dependency in &package.dependencies {
            let development = dependency.kind == DependencyKind::Development;
            let used = Use { user, used: short(&dependency.name), development };
            findings.extend(downwards(&used).map(|problem| Finding::new(&package.name, problem)));
        }
        findings.extend(lints(package)?);
    }
    Ok(findings)
}

/// `smalti-base` is `base` here; other packages keep their name.
fn short(name: &str) -> &str {
    name.strip_prefix("smalti-").unwrap_or(name)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == name)
}

fn known(name: &str) -> bool {
    layer(name).is_some() || ["testkit", "bench", "xtask"].contains(&name)
}

/// What is wrong with one package's using another, if anything.
fn downwards(Use { user, used, development }: &Use<'_>) -> Option<String> {
    let ours = known(used);
    let allowed = match (*user, *used) {
        // xtask builds in seconds: neither libtorch nor what stands on it.
        ("xtask", "tch" | "torch-sys") => {
            return Some(format!("must build without libtorch, but uses {used}"));
        }
        ("xtask", _) => !ours,
        _ if !ours => true,
        // Leaves.
        (_, "bench" | "xtask") => false,
        // Laws are for tests only.
        (_, "testkit") => *development,
        ("bench", _) => true,
        ("testkit", _) => layer(used) < layer(TESTKIT_BELOW),
        _ => layer(used) < layer(user),
    };
    let kind = if *development { "dev-dependency" } else { "dependency" };
    (!allowed).then(|| match *used {
        "testkit" => "uses testkit outside of its dev-dependencies".to_owned(),
        _ => format!("has the {kind} {used}, which does not lie below it ({})", LAYERS.join(" < ")),
    })
}

fn lints(package: &Package) -> Result<Option<Finding>> {
    let path = package.manifest_path.as_std_path();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, "reading", &e))?;
    Ok(keeps_lints(path, &text)?.then_some(()).map_or_else(
        || Some(Finding::new(&package.name, "Cargo.toml lacks `[lints] workspace = true`")),
        |()| None,
    ))
}

fn keeps_lints(path: &Path, manifest: &str) -> Result<bool> {
    let table: toml::Table =
        manifest.parse().map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    let flag = table.get("lints").and_then(|lints| lints.get("workspace"));
    Ok(flag.and_then(toml::Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(user: &str, used: &str, development: bool) -> bool {
        downwards(&Use { user, used, development }).is_some()
    }

    #[test]
    fn downwards_is_right() {
        for (user, used) in [("flows", "base"), ("tables", "solvers"), ("cli", "tables"), ("priors", "flows")]
        {
            assert!(!wrong(user, used, false), "{user} -> {used}");
        }
        assert!(!wrong("bench", "solvers", false) && !wrong("bench", "testkit", true));
        assert!(!wrong("testkit", "solvers", false));
        assert!(!wrong("base", "testkit", true));
        assert!(!wrong("base", "tch", false) && !wrong("xtask", "clap", false));
    }

    #[test]
    fn upwards_and_sideways_are_wrong() {
        for (user, used) in
            [("base", "flows"), ("operators", "priors"), ("solvers", "tables"), ("flows", "flows")]
        {
            assert!(wrong(user, used, false) && wrong(user, used, true), "{user} -> {used}");
        }
    }

    #[test]
    fn testkit_outside_of_tests_is_wrong() {
        assert!(wrong("flows", "testkit", false));
        assert!(wrong("testkit", "tables", false) && wrong("testkit", "cli", true));
    }

    #[test]
    fn leaves_carry_nothing() {
        assert!(
            wrong("cli", "bench", true)
                && wrong("tables", "xtask", false)
                && wrong("testkit", "bench", false)
        );
    }

    #[test]
    fn xtask_knows_no_libtorch() {
        for used in ["tch", "torch-sys", "base", "testkit"] {
            assert!(wrong("xtask", used, false) && wrong("xtask", used, true), "{used}");
        }
    }

    #[test]
    fn a_package_without_the_lints_is_found() {
        let keeps = |text: &str| keeps_lints(Path::new("Cargo.toml"), text).unwrap();
        assert!(keeps("[lints]\nworkspace = true\n"));
        assert!(!keeps("[package]\nname = \"x\"\n") && !keeps("[lints.rust]\nunused = \"allow\"\n"));
        assert!(!keeps("[lints]\nworkspace = false\n"));
    }

    #[test]
    fn an_unknown_package_has_no_layer() {
        assert!(!known(short("smalti-misc")) && known(short("smalti-base")) && known("xtask"));
    }
}
