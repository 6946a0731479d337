//! Faults in an experiment file are shown with file, line and a caret under the key.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_tables::experiment::settings::{AveragedSgd, Converge, Dual, Form, Patches, Schedule};
use smalti_tables::experiment::{Experiment, Failure, FileError, Method, ProfileName};

const FILE: &str = "experiments/superres_sic.toml";
const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// The error for the shipped file after replacing the first `from` by `to`.
fn fault(from: &str, to: &str) -> Box<FileError> {
    assert!(TEXT.contains(from), "the file has no {from:?}");
    match Experiment::parse("superres_sic", FILE, &TEXT.replacen(from, to, 1)) {
        Ok(_) => panic!("{to:?} was accepted"),
        Err(e) => e,
    }
}

/// The line of the changed file in which `text` first stands.
fn line_of(changed: &str, text: &str) -> usize {
    changed.lines().position(|l| l.contains(text)).unwrap() + 1
}

/// Checks line, message and that the caret stands under `under`.
fn shows(from: &str, to: &str, under: &str, message: &str) {
    let error = fault(from, to);
    let changed = TEXT.replacen(from, to, 1);
    let line = changed.lines().nth(error.line - 1).unwrap();
    assert_eq!(error.line, line_of(&changed, to.lines().next().unwrap()), "{error}");
    assert!(line.chars().skip(error.column - 1).collect::<String>().starts_with(under), "{error}: {line}");
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let shown = Failure::Experiment(error).render();
    assert!(shown.starts_with(&format!("error: {FILE}:")), "{shown}");
    // The caret line follows the line of the file and points into the same column.
    let lines: Vec<&str> = shown.lines().collect();
    let quoted = lines.iter().position(|l| l.ends_with(line)).unwrap_or_else(|| panic!("{shown}"));
    let column = |l: &str, b: usize| l[..b].chars().count();
    let start = column(lines[quoted], lines[quoted].len() - line.len());
    let caret = lines[quoted + 1].find('^').unwrap_or_else(|| panic!("{shown}"));
    let text: String = line.chars().skip(column(lines[quoted + 1], caret) - start).collect();
    assert!(text.starts_with(under), "caret under {text:?}\n{shown}");
}

#[test]
fn the_shipped_file_is_right() {
    let e = Experiment::parse("superres_sic", FILE, TEXT).unwrap();
    assert_eq!((e.name.as_str(), e.crop, e.operator.form), ("superres_sic", 40, Form::WrapAfter));
    let paper = e.profile(ProfileName::Paper).patchnr.clone().unwrap();
    assert_eq!((paper.training.steps, paper.training.batch), (750_000, 32));
    assert_eq!((paper.map.lambda, paper.map.patches), (0.15, Patches::Random(130_000)));
    assert_eq!(paper.map.schedule, Schedule::Constant);
    let paper = e.profile(ProfileName::Paper).wpp.clone().unwrap();
    assert_eq!((paper.patch_size, paper.references, paper.scales, paper.map.border), (6, 10_000, 2, 20));
    assert_eq!(paper.map.dual, Dual::AveragedSgd(AveragedSgd { steps: 10, step: 1.0 }));
    assert!((paper.map.lambda - 6000.0 / 36.0).abs() < 1e-3);
    let quick = e.profile(ProfileName::Quick);
    let wpp = quick.wpp.clone().unwrap();
    let mut authors = wpp.authors.unwrap();
    assert_eq!(std::mem::replace(&mut authors.lambda, paper.map.lambda), 42.0);
    assert_eq!(authors, paper.map, "the authors' settings are those of the paper profile, but for lambda");
    assert!(matches!(wpp.map.dual, Dual::Converge(Converge { evaluations: 1.., .. })));
    assert_eq!(quick.sets.last().unwrap().published(Method::WppAuthors).psnr.unwrap().mean, 27.35);
    let figures = quick.sets[0].published(Method::Bicubic);
    assert_eq!(figures.psnr.map(|f| (f.mean, f.std)), Some((25.63, Some(0.56))));
    assert_eq!(quick.sets[0].published(Method::L2Tv).psnr, None);
    let example = quick.sets.last().unwrap().published(Method::Patchnr).psnr.unwrap();
    assert_eq!((example.mean, example.std), (28.29, None));
}

#[test]
fn wrong_syntax() {
    let error = fault("crop = 40", "crop = = 40");
    assert_eq!(error.line, line_of(TEXT, "crop = 40"), "{error}");
    assert!(error.render().contains('^'), "{}", error.render());
}

#[test]
fn unknown_keys_are_refused() {
    shows("crop = 40", "corp = 40", "corp", "unknown field `corp`");
    shows("noise = 0.01", "nosie = 0.01", "nosie", "operator.nosie");
}

#[test]
fn missing_keys_are_refused() {
    let error = fault("sigma = 2.0\n", "");
    assert_eq!(error.line, line_of(TEXT, "[operator]"), "{error}");
    assert!(error.to_string().contains("missing field `sigma`"), "{error}");
}

#[test]
fn wrong_types_are_refused() {
    shows("stride = 4", "stride = \"four\"", "\"four\"", "operator.stride");
    shows("form = \"wrap-after\"", "form = \"wrap\"", "\"wrap\"", "`wrap-after`");
    shows("dual = { converge = {", "dual = { converges = {", "", "converges");
    shows("patches = { grid = 3 }", "patches = { grit = 2 }", "", "grit");
}

#[test]
fn values_out_of_range_are_refused() {
    shows(
        "weight = 0.0005 # chosen on sic/val.png\niterations = 1_000",
        "weight = -1.0\niterations = 1_000",
        "weight",
        "l2_tv.weight: lower than 0.000000000001, got -1.0",
    );
    shows("stride = 4", "stride = 0", "stride", "operator.stride");
    shows("sigma = 2.0", "sigma = nan", "sigma", "not a finite number");
    shows("random = 130_000", "random = 0", "random", "authors.patches.random: lower than 1, got 0");
    shows(
        "steps = 1_000\nbatch = 64",
        "steps = 0\nbatch = 64",
        "steps",
        "profile.smoke.patchnr.training.steps",
    );
    shows("references = 500", "references = 0", "references", "smoke.wpp.references: lower than 1, got 0");
    shows(
        "dual = { converge = { gap = 1e-2,",
        "dual = { converge = { gap = 0.0,",
        "gap",
        "smoke.wpp.map.dual.converge.gap: lower than",
    );
    shows(
        "steps = 10, step = 1.0",
        "steps = 0, step = 1.0",
        "steps",
        "authors.dual.averaged_sgd.steps: lower",
    );
    shows("psnr = [28.29]", "psnr = []", "psnr", "published.example.rows.patchnr.psnr");
}

#[test]
fn parts_must_fit_together() {
    shows("size = 120", "size = 122", "size", "not a multiple of the stride 4");
    shows("size = 120", "size = 80", "size", "a crop of 40");
    let smoke = "\"patchnr\", \"wpp\"], published = \"example\", show = 1 }]";
    let error = fault(smoke, &smoke.replace("\"patchnr\"", "\"patchnr_authors\""));
    assert!(error.to_string().contains("patchnr_authors has no section patchnr.authors"), "{error}");
    let (from, to) = ("published = \"example\", show = 1 }]", "published = \"exmaple\", show = 1 }]");
    let error = fault(from, to);
    assert!(error.to_string().contains("there is example, slices"), "{error}");
    assert_eq!(error.line, line_of(TEXT, from));
    let error = fault(
        &format!(
            "[profile.quick.l2_tv]\n{}\ntolerance = 1e-4\n",
            "weight = 0.0005 # chosen on sic/val.png\niterations = 1_000"
        ),
        "",
    );
    assert!(error.to_string().contains("l2_tv has no section l2_tv"), "{error}");
    let error = fault("images = [\"sic/test.png\"]", "images = [\"../secret.png\"]");
    assert!(error.to_string().contains("inside of the data folder"), "{error}");
    let error = fault(
        "schedule = \"constant\"\nvalidation_every",
        "schedule = \"constant\"\nwarmup_steps = 5\nvalidation_every",
    );
    assert!(error.to_string().contains("only the cosine schedule"), "{error}");
}

#[test]
fn a_file_that_is_no_text_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    let shown = Experiment::read(&path).unwrap_err().render();
    assert!(shown.starts_with("error: ") && shown.contains("UTF-8") && shown.lines().count() == 1, "{shown}");
    let shown = Experiment::read(&folder.path().join("none.toml")).unwrap_err().render();
    assert!(shown.contains("none.toml") && shown.lines().count() == 1, "{shown}");
}
