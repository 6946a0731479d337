//! Tables of results in documents: the lines between `<!-- table: EXPERIMENT PROFILE -->` and `<!-- end of table -->`.
//!
//! They are those of `table.md` of a run, without seconds: these belong to a machine. Where `short` stands after the profile they have
//! neither notes nor rows of methods that did not run.

use super::fault::{Fault, read};
use crate::failure::{Failure, Result};
use serde::Deserialize;
use std::{ops::Range, path::Path};

const START: &str = "<!-- table:";
const END: &str = "<!-- end of table -->";

/// The column that tables in documents lack.
const SECONDS: &str = "s / image";

/// The column with the first score of a row, and what stands there where there is none.
const SCORE: usize = 2;
const NONE: [&str; 3] = ["", "-", "–"];

/// A table of a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The experiment that makes it.
    pub(crate) experiment: String,
    /// The profile.
    pub(crate) profile: String,
    /// Whether it has no notes, and no rows without figures.
    short: bool,
    /// The line of its first mark, counted from 1.
    pub(crate) line: usize,
    /// What lies between the lines of its marks.
    pub(super) inside: Range<usize>,
}

/// The tables of a document.
///
/// # Errors
/// A mark that is not as it should be, or that lacks the other one.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, Fault> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut at = 0;
    for (line, n) in text.split_inclusive('\n').zip(1..) {
        let (begin, words) = (at, line.trim());
        at += line.len();
        match open.take() {
            Some(block) if words == END => {
                blocks.push(Block { inside: block.inside.start..begin, ..block });
            }
            Some(_) if words.starts_with(START) => {
                return Err(Fault::new(n, format!("a table begins before the last one ended with {END}")));
            }
            Some(block) => open = Some(block),
            None if words.starts_with(START) => open = Some(opened(words, n, at)?),
            None if words == END => return Err(Fault::new(n, "the end of a table that has no beginning")),
            None => {}
        }
    }
    match open {
        None => Ok(blocks),
        Some(block) => Err(Fault::new(block.line, format!("a table without its end, {END}"))),
    }
}

fn opened(mark: &str, line: usize, inside: usize) -> Result<Block, Fault> {
    let names = mark.strip_prefix(START).and_then(|rest| rest.strip_suffix("-->"));
    match names.unwrap_or_default().split_whitespace().collect::<Vec<_>>()[..] {
        [experiment, profile, ref rest @ ..] if matches!(rest, [] | ["short"]) => Ok(Block {
            experiment: experiment.to_owned(),
            profile: profile.to_owned(),
            short: !rest.is_empty(),
            line,
            inside: inside..inside,
        }),
        _ => Err(Fault::new(line, format!("expected {START} EXPERIMENT PROFILE [short] -->"))),
    }
}

/// What `run.toml` beside a table tells of its run.
#[derive(Debug, Deserialize)]
struct Made {
    seed: u64,
    threads: usize,
    processor: String,
    gpu: Option<String>,
    smalti: String,
    libtorch: String,
}

/// What belongs into `block` by the results in `folder`, where there are some.
pub(super) fn from_results(folder: &Path, block: &Block) -> Result<Option<String>> {
    let (table, run) = (folder.join("table.md"), folder.join("run.toml"));
    if !table.is_file() {
        return Ok(None);
    }
    let made = match run.is_file() {
        false => None,
        true => {
            let made = toml::from_str(&read(&run)?);
            Some(made.map_err(|e| Failure::new(format!("{}: {}", run.display(), e.message())))?)
        }
    };
    Ok(Some(rendered(&read(&table)?, block, made.as_ref())))
}

fn rendered(table: &str, block: &Block, made: Option<&Made>) -> String {
    let mut lines = Vec::new();
    let mut dropped = None;
    for line in table.trim_end().lines() {
        // A folder is one of a machine.
        if line.starts_with("Data: the files in ") || line.is_empty() && lines.is_empty() {
            continue;
        }
        if line.starts_with('|') {
            let mut cells = cells(line);
            if lines.iter().all(|line: &String| !line.starts_with('|')) {
                dropped = cells.iter().position(|cell| *cell == SECONDS);
            }
            if let Some(at) = dropped.filter(|at| *at < cells.len()) {
                cells.remove(at);
            }
            if block.short && cells.get(SCORE).is_some_and(|cell| NONE.contains(cell)) {
                continue;
            }
            lines.push(format!("| {} |", cells.join(" | ")));
        } else if line.starts_with("- ") {
            if block.short {
                continue;
            }
            lines.push(without_seconds(line));
        } else {
            lines.push(line.to_owned());
        }
    }
    format!("\n{}\n\n{}\n\n", lines.join("\n").trim_end(), how(block, made))
}

/// How the table is made, and where it was.
fn how(Block { experiment, profile, .. }: &Block, made: Option<&Made>) -> String {
    let asked = if profile == "quick" { String::new() } else { format!(" --profile {profile}") };
    let command = format!("`cargo xtask reproduce-tables --experiment {experiment}{asked}`");
    let Some(Made { seed, threads, processor, gpu, smalti, libtorch }) = made else {
        return format!("{command} (profile {profile}).");
    };
    let gpu = gpu.as_ref().map(|gpu| format!("{gpu}; ")).unwrap_or_default();
    let threads = if *threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    format!(
        "{command} (profile {profile}, seed {seed}). {gpu}{processor}, {threads}; smalti {smalti}, libtorch {libtorch}."
    )
}

/// The cells of a line; `\|` ends none.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|').strip_suffix('|').unwrap_or(line);
    let mut cells = Vec::new();
    let mut begin = 0;
    for (at, _) in line.match_indices('|') {
        if !line[..at].ends_with('\\') {
            cells.push(line[begin..at].trim());
            begin = at + 1;
        }
    }
    cells.push(line[begin..].trim());
    cells
}

/// A note without ` in 162 s`.
fn without_seconds(note: &str) -> String {
    let mut kept = String::new();
    let mut rest = note;
    while let Some((before, after)) = rest.split_once(" in ") {
        kept.push_str(before);
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let ended = digits.strip_prefix(" s").filter(|end| !end.starts_with(|c: char| c.is_alphanumeric()));
        match ended.filter(|_| digits.len() < after.len()) {
            Some(end) => rest = end,
            None => {
                kept.push_str(" in ");
                rest = after;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Data: the files in ../data (given with --data).\n\n\
        | method | images | PSNR [dB] | s / image | data |\n| --- | ---: | ---: | ---: | --- |\n\
        | a\\|b | 2 | 25.00 ± 0.50 | 0.1 | sic/test.png |\n\n\
        - a: trained once: 80 steps in 162 s, validation NLL -1.5; 3 c-transforms in a run; done in 2 steps\n";

    fn only(text: &str) -> Block {
        blocks(text).unwrap().pop().unwrap()
    }

    #[test]
    fn blocks_are_found_and_faults_told() {
        let text = "x\n<!-- table: a quick -->\nold\n<!-- end of table -->\ny\n<!-- table: b paper -->\n<!-- end of table -->\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, &text[found[0].inside.clone()]), (2, "old\n"));
        assert_eq!((found[1].experiment.as_str(), found[1].profile.as_str()), ("b", "paper"));
        assert!(found[1].inside.is_empty());
        for (text, line) in [
            ("<!-- table: a -->\n<!-- end of table -->\n", 1),
            ("x\n<!-- table: a quick -->\n", 2),
            ("<!-- end of table -->\n", 1),
            ("<!-- table: a quick -->\n<!-- table: b quick -->\n", 2),
        ] {
            assert_eq!(blocks(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn seconds_and_folders_stay_out() {
        let made = Made {
            seed: 3,
            threads: 2,
            processor: "P".into(),
            gpu: None,
            smalti: "0.1.0".into(),
            libtorch: "2.11.0".into(),
        };
        let block = only("<!-- table: a quick -->\n<!-- end of table -->\n");
        assert_eq!(
            rendered(TABLE, &block, Some(&made)),
            "\n| method | images | PSNR [dB] | data |\n| --- | ---: | ---: | --- |\n\
             | a\\|b | 2 | 25.00 ± 0.50 | sic/test.png |\n\n\
             - a: trained once: 80 steps, validation NLL -1.5; 3 c-transforms in a run; done in 2 steps\n\n\
             `cargo xtask reproduce-tables --experiment a` (profile quick, seed 3). P, 2 threads; smalti 0.1.0, libtorch 2.11.0.\n\n"
        );
        let synthetic = "Data: built-in synthetic volumes.\n\n| method |\n| --- |\n| a |\n";
        let block = only("<!-- table: a paper -->\n<!-- end of table -->\n");
        assert_eq!(
            rendered(synthetic, &block, None),
            "\nData: built-in synthetic volumes.\n\n| method |\n| --- |\n| a |\n\n\
             `cargo xtask reproduce-tables --experiment a --profile paper` (profile paper).\n\n"
        );
    }

    #[test]
    fn short_tables_have_only_rows_with_figures() {
        let block = only("<!-- table: a quick short -->\n<!-- end of table -->\n");
        let row = "| b | 0 | – | | sic/test.png |\n";
        let with_row = TABLE.replace("\n\n- a:", &format!("\n{row}\n- a:"));
        assert!(with_row.contains(row));
        assert_eq!(
            rendered(&with_row, &block, None),
            "\n| method | images | PSNR [dB] | data |\n| --- | ---: | ---: | --- |\n\
             | a\\|b | 2 | 25.00 ± 0.50 | sic/test.png |\n\n\
             `cargo xtask reproduce-tables --experiment a` (profile quick).\n\n"
        );
    }

    #[test]
    fn results_are_read_with_what_they_were_made_with() {
        let folder = tempfile::tempdir().unwrap();
        let block = only("<!-- table: a quick -->\n<!-- end of table -->\n");
        assert_eq!(from_results(folder.path(), &block).unwrap(), None);
        std::fs::write(folder.path().join("table.md"), TABLE).unwrap();
        let new = from_results(folder.path(), &block).unwrap().unwrap();
        assert!(new.ends_with("(profile quick).\n\n"), "{new}");
        let run = "experiment = 'a'\nseed = 1\nthreads = 1\nprocessor = 'P'\ngpu = 'G'\nsmalti = '1'\nlibtorch = '2'\n";
        std::fs::write(folder.path().join("run.toml"), run).unwrap();
        let new = from_results(folder.path(), &block).unwrap().unwrap();
        assert!(new.ends_with("(profile quick, seed 1). G; P, 1 thread; smalti 1, libtorch 2.\n\n"), "{new}");
        std::fs::write(folder.path().join("run.toml"), "seed = 1\n").unwrap();
        assert!(from_results(folder.path(), &block).unwrap_err().to_string().contains("run.toml"));
    }
}
