//! What documents say of methods and problems is what the registry says: which method makes sense for which problem, its papers.
//!
//! `SMALTI_UPDATE_DOCS=1 cargo test --release -p smalti-methods --test all documented` writes the documents anew.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::matrix::instrument;
use smalti_methods::{METHODS, PROBLEMS};
use std::path::PathBuf;

const START: &str = "<!-- methods -->\n";
const END: &str = "<!-- end of methods -->\n";

fn document(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// Each paper once, in the order of the methods.
fn papers() -> Vec<&'static str> {
    let mut papers: Vec<&str> = Vec::new();
    for paper in METHODS.iter().flat_map(|method| method.papers) {
        if !papers.contains(paper) {
            papers.push(paper);
        }
    }
    papers
}

/// `Altekrüger et al. 2023`: authors and year of a paper as the registry has it, `A. Author, B. Author. Title. Place, year.`
fn short(paper: &str) -> String {
    let mut authors = Vec::new();
    for word in paper.split(' ').filter(|word| word.chars().count() > 2 || !word.ends_with('.')) {
        authors.push(word.trim_end_matches([',', '.']));
        if word.ends_with('.') {
            break;
        }
    }
    let year = paper.split(|c: char| !c.is_ascii_digit()).rfind(|number| number.len() == 4).unwrap();
    match authors[..] {
        [one] => format!("{one} {year}"),
        [one, other] => format!("{one} and {other} {year}"),
        _ => format!("{} et al. {year}", authors[0]),
    }
}

/// Methods in rows, problems in columns, and the papers in short; `guide` is where the guide lies.
fn matrix(guide: &str) -> String {
    let problems: Vec<String> =
        PROBLEMS.iter().map(|p| format!("[`{0}`]({guide}problems.md#{0})", p.name)).collect();
    let mut text = format!("| method | name | {} | papers |\n", problems.join(" | "));
    text.push_str(&format!("| --- | --- | {}--- |\n", ":---: | ".repeat(PROBLEMS.len())));
    for method in METHODS {
        let makes_sense = |name| (method.applies)(instrument(name).as_ref()).is_ok();
        let cells = PROBLEMS.iter().map(|p| if makes_sense(p.name) { "● | " } else { "| " });
        let papers: Vec<String> = method.papers.iter().map(|paper| short(paper)).collect();
        text.push_str(&format!(
            "| [`{0}`]({guide}methods.md#{0}) | {1} | {2}{3} |\n",
            method.key,
            method.title,
            cells.collect::<String>(),
            papers.join("; ")
        ));
    }
    text
}

/// Why methods make no sense for some problems, as far as the tiny settings of the tests show.
fn reasons() -> String {
    let mut text = String::new();
    for method in METHODS {
        let refused = |name| Some((name, (method.applies)(instrument(name).as_ref()).err()?));
        let refused: Vec<(&str, String)> = PROBLEMS.iter().filter_map(|p| refused(p.name)).collect();
        for (i, (_, reason)) in refused.iter().enumerate() {
            if refused[..i].iter().all(|(_, other)| other != reason) {
                let same = refused.iter().filter(|(_, other)| other == reason);
                let names: Vec<String> = same.map(|(name, _)| format!("`{name}`")).collect();
                text.push_str(&format!("- `{}` on {}: {reason}.\n", method.key, names.join(", ")));
            }
        }
    }
    text
}

/// Compares the lines between the marks of a document with `wanted`, or writes them.
fn check(name: &str, wanted: &str) {
    let path = document(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(START).unwrap_or_else(|| panic!("{name} has no {START}"));
    let (inside, after) = rest.split_once(END).unwrap_or_else(|| panic!("{name} has no {END}"));
    if std::env::var_os("SMALTI_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{START}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(inside, wanted, "{name} is not what the registry says; SMALTI_UPDATE_DOCS=1 renews it");
    }
}

#[test]
fn documents_say_what_the_registry_says() {
    check("README.md", &format!("\n{}\n", matrix("docs/guide/")));
    let papers: String = papers().iter().map(|paper| format!("- {paper}\n")).collect();
    check("docs/guide/methods.md", &format!("\n{}\n{}\n{papers}\n", matrix(""), reasons()));
}

#[test]
fn every_method_and_problem_has_a_section_in_the_guide() {
    let headings = |name: &str| {
        let text = std::fs::read_to_string(document(name)).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
        headings.map(str::to_owned).collect::<Vec<String>>()
    };
    let methods: Vec<&str> = METHODS.iter().map(|method| method.key).collect();
    assert_eq!(headings("docs/guide/methods.md"), methods, "sections of methods.md, in the order of METHODS");
    let problems: Vec<&str> = PROBLEMS.iter().map(|problem| problem.name).collect();
    assert_eq!(
        headings("docs/guide/problems.md"),
        problems,
        "sections of problems.md, in the order of PROBLEMS"
    );
}
