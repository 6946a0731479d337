//! Rules for the text of files.

use super::finding::Finding;
use std::path::Path;

// The words are put together here, so that this file does not breach its own rules.
const STRAYS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];
const MACHINE: [&str; 7] = [
    concat!("/", "home"),
    concat!("/", "root"),
    concat!("/", "Users"),
    concat!("/", "tmp"),
    concat!("/", "var/tmp"),
    concat!("/", "work"),
    concat!("/", "mnt"),
];

/// All rules that apply to this file.
pub(super) fn check(file: &Path, text: &str) -> Vec<Finding> {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let mut findings = machine_paths(file, text);
    if extension == "rs" {
        findings.extend(topic(file, text));
        findings.extend(unfinished(file, text));
    }
    if !["md", "lock"].contains(&extension) {
        findings.extend(strays(file, text));
    }
    findings
}

/// A Rust file says first what it is about.
fn topic(file: &Path, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty());
    (!said).then(|| Finding::at(file.display(), 1, "starts without a `//!` line that says its topic"))
}

fn strays(file: &Path, text: &str) -> Vec<Finding> {
    each_line(file, text, |line| {
        let word = STRAYS.into_iter().find(|word| occurs(line, word, is_word, is_word))?;
        Some(format!("a stray {word}; do it or open an issue"))
    })
}

fn unfinished(file: &Path, text: &str) -> Vec<Finding> {
    each_line(file, text, |line| {
        let call = UNFINISHED.into_iter().find(|call| line.contains(call))?;
        Some(format!("{call}) is unfinished code"))
    })
}

/// No file may lead to a folder of the machine that it was written on.
fn machine_paths(file: &Path, text: &str) -> Vec<Finding> {
    // What may stand before: nothing of a longer path or of an address.
    let before = |c: char| is_word(c) || ".-}>)*".contains(c);
    let after = |c: char| is_word(c) || "-.".contains(c);
    each_line(file, text, |line| {
        let start = MACHINE.into_iter().find(|start| occurs(line, start, before, after))?;
        Some(format!("a path of one machine ({start}); make it relative or an option"))
    })
}

fn each_line(file: &Path, text: &str, problem: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let lines = text.lines().zip(1..);
    lines.filter_map(|(line, n)| Some(Finding::at(file.display(), n, problem(line)?))).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `what` occurs where the neighbours `before` and `after` do not make it a part of something longer.
fn occurs(line: &str, what: &str, before: impl Fn(char) -> bool, after: impl Fn(char) -> bool) -> bool {
    line.match_indices(what).any(|(i, _)| {
        let left = line[..i].chars().next_back();
        let right = line[i + what.len()..].chars().next();
        !left.is_some_and(&before) && !right.is_some_and(&after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, text: &str) -> Vec<String> {
        check(Path::new(name), text).iter().map(ToString::to_string).collect()
    }

    fn only_problem(name: &str, text: &str) -> String {
        let problems = problems(name, text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.into_iter().next().unwrap()
    }

    #[test]
    fn a_good_file_passes() {
        let text = "//! One topic.\n\n/// target/tmp/x, {dir}/tmp/, a.b/home/page and /tmpfs are no machine paths.\n";
        assert_eq!(problems("good.rs", text), [""; 0]);
    }

    #[test]
    fn a_file_without_its_topic_is_found() {
        for text in ["", "use x;\n//! late\n", "//!\n", "// plain\n"] {
            assert!(only_problem("a.rs", text).starts_with("a.rs:1: starts without"));
        }
        assert_eq!(problems("a.py", "print(1)\n"), [""; 0]);
    }

    #[test]
    fn strays_are_found_as_whole_words() {
        for word in STRAYS {
            let text = format!("//! x\n// {word}: later\n");
            assert!(only_problem("a.rs", &text).starts_with(&format!("a.rs:2: a stray {word}")));
            assert_eq!(problems("a.rs", &format!("//! x\nlet {word}S = {word}_1;\n")), [""; 0]);
            assert_eq!(problems("a.md", &format!("no {word} is left\n")), [""; 0]);
        }
    }

    #[test]
    fn unfinished_code_is_found() {
        for call in UNFINISHED {
            let text = format!("//! x\nfn f() {{ {call}) }}\n");
            assert!(only_problem("a.rs", &text).ends_with("is unfinished code"));
        }
    }

    #[test]
    fn machine_paths_are_found_in_every_text_file() {
        for start in MACHINE {
            for name in ["a.py", "a.md", "a.toml"] {
                assert!(only_problem(name, &format!("open(\"{start}/me/x.png\")\n")).contains("one machine"));
                assert!(only_problem(name, &format!("cd {start}\n")).contains(start));
            }
        }
    }
}
