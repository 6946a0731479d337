//! Rows with the Wasserstein patch prior: what they report.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::smoke::options;
use smalti_tables::data::DataSource;
use smalti_tables::evaluate;
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::ExperimentOutcome;

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// The smoke profile with rows of WPP only, `wpp` and `wpp_sgd`, after `edit`.
fn smoke(edit: impl Fn(String) -> String, options: &RunOptions) -> smalti_base::Result<ExperimentOutcome> {
    let start = TEXT.find("[profile.smoke.methods.wpp]").unwrap();
    let length = TEXT[start..].find("\n\n").unwrap();
    let second =
        TEXT[start..start + length].replace("methods.wpp]", "methods.wpp_sgd]\nmethod = \"wpp\"").replace(
            "{ converge = { gap = 1e-2, evaluations = 3 } }",
            "{ averaged_sgd = { steps = 2, step = 1.0 } }",
        );
    let text = TEXT.replacen(
        r#""bicubic", "l2_tv", "epll", "alr", "patchnr", "wpp", "dpir"]"#,
        r#""bicubic", "wpp", "wpp_sgd"]"#,
        1,
    );
    let text = edit(format!("{text}\n{second}\n"));
    let experiment = Experiment::parse("superres_sic", "superres_sic.toml", &text).unwrap();
    evaluate::run(experiment.profile(ProfileName::Smoke), &DataSource::Synthetic, options)
}

#[test]
fn the_notes_hold_distance_gap_and_sharpness() {
    let root = tempfile::tempdir().unwrap();
    let outcome = smoke(|text| text, &options(root.path())).unwrap();
    let keys: Vec<&str> = outcome.rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(keys, ["bicubic", "wpp", "wpp_sgd"]);
    let psnr = |k: usize| outcome.rows[k].ours.psnr.unwrap().mean;
    // 1.8 and 1.5 dB better than where they start.
    assert!(psnr(1) > psnr(0) + 1.2 && psnr(2) > psnr(0) + 1.0, "{} {} {}", psnr(0), psnr(1), psnr(2));
    for row in &outcome.rows[1..] {
        assert!(
            row.note.starts_with("W2^2 of 3364 of the result's patches to 500 reference patches 0.0"),
            "{}",
            row.note
        );
        assert!(
            row.note.contains("scale 0, gap at most ") && row.note.contains("blur effect 0."),
            "{}",
            row.note
        );
    }
    // Twenty iterations, two scales, two steps and a last transform in each.
    assert!(outcome.rows[2].note.contains(" 120 c-transforms"), "{}", outcome.rows[2].note);
    assert!(!outcome.rows[1].note.contains(" 120 c-transforms"), "{}", outcome.rows[1].note);
}

/// The distance that a note names.
fn distance(note: &str) -> f64 {
    note.split("reference patches ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

#[test]
fn the_distance_falls_with_the_weight() {
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    let with = |lambda: &str| {
        let weight = format!("{{ lambda = {lambda}, observed");
        let outcome = smoke(|text| text.replace("{ lambda = 333.334, observed", &weight), &options).unwrap();
        (distance(&outcome.rows[1].note), outcome)
    };
    let ((weak, _), (strong, found)) = (with("2.0"), with("600.0"));
    assert!(strong < 0.8 * weak, "{strong} {weak}");
    // The finished images are kept with all they report, for either setting.
    let ((again, _), (_, kept)) = (with("2.0"), with("600.0"));
    assert_eq!(again, weak);
    assert_eq!(found.rows[1..], kept.rows[1..], "seconds and notes are those of before");
}

#[test]
fn a_request_to_stop_is_heard() {
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    options.cancel.request();
    let error = smoke(|text| text, &options).unwrap_err();
    assert!(matches!(error, smalti_base::Error::Cancelled { .. }), "{error}");
}
