//! Experiments that compare samplers of known posteriors: the files, their faults, and whole runs on small problems.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_solvers::Cancel;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::ProfileName;
use smalti_tables::experiment::samplers::{
    MetropolisChains, MixtureProfile, Reference, Samplers, ScatterometryProfile,
};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::{DistanceKind, ExperimentOutcome};
use smalti_tables::run::{run_mixture, run_scatterometry};
use smalti_tables::{mixture, scatterometry, table};
use smalti_testkit::measured;
use std::path::Path;

const MIXTURE: &str = include_str!("../../../../experiments/mixture.toml");
const SCATTEROMETRY: &str = include_str!("../../../../experiments/scatterometry.toml");

fn of_mixture(text: &str) -> Result<Samplers<MixtureProfile>, String> {
    Samplers::parse("mixture", "m.toml", text).map_err(|e| e.to_string())
}

fn of_scatterometry(text: &str) -> Result<Samplers<ScatterometryProfile>, String> {
    Samplers::parse("scatterometry", "s.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_files_have_the_published_settings() {
    let experiment = of_mixture(MIXTURE).unwrap();
    let paper = experiment.profile(ProfileName::Paper);
    assert_eq!((paper.dim, paper.problems, paper.observations, paper.samples), (100, 5, 100, 5000));
    assert_eq!((paper.blocks, paper.couplings, paper.hidden), (2, 4, 128));
    assert_eq!((paper.mala.steps, paper.mala.step_size), (3, 1e-4));
    assert_eq!(
        (paper.training.steps, paper.training.batch, paper.training.learning_rate),
        (20_000, 1024, 1e-4)
    );
    let experiment = of_scatterometry(SCATTEROMETRY).unwrap();
    let paper = experiment.profile(ProfileName::Paper);
    assert_eq!((paper.observations, paper.bins), (100, 75));
    // 5000 and 40 epochs of 8 batches.
    assert_eq!((paper.inn.steps, paper.snf.steps), (40_000, 320));
    assert_eq!((paper.inn.batch, paper.snf.batch), (1600, 1600));
    assert_eq!(paper.reference, Reference::Metropolis(MetropolisChains { steps: 1000, sigma: 0.5 }));
    let quick = experiment.profile(ProfileName::Quick);
    assert!(quick.observations >= 5 && quick.bins == 75);
    let path = |name: &str| Path::new("../../experiments").join(name);
    assert!(Samplers::<MixtureProfile>::read(&path("mixture.toml")).unwrap().is_some());
    assert!(Samplers::<MixtureProfile>::read(&path("scatterometry.toml")).unwrap().is_none());
}

#[test]
fn faults_are_shown_where_they_are() {
    let told = |line: String, found: &str| {
        assert!(line.contains(".toml:") && line.lines().count() == 1, "{line}");
        assert!(line.contains(found), "{line}");
    };
    for (from, to, found) in [
        ("dim = 3", "dim = 1", "m.toml:7:1: profile.smoke.dim"),
        ("step_size = 5e-5", "step_size = 0.0", "profile.smoke.mala.step_size"),
        ("samples = 5000", "samples = 50000", "profile.paper.samples"),
        ("learning_rate = 2e-3", "learning_rate = nan", "not a finite number"),
        ("schedule = \"cosine\"", "schedule = \"sine\"", "sine"),
        ("blocks = 2", "block = 2", "block"),
        ("kind = \"mixture\"", "kind = \"scatterometry\"", "kind: not mixture"),
    ] {
        assert!(MIXTURE.contains(from), "{from}");
        told(of_mixture(&MIXTURE.replacen(from, to, 1)).unwrap_err(), found);
    }
    for (from, to, found) in [
        ("{ quadrature = 1 }", "{ quadrature = 9 }", "profile.smoke.reference.quadrature"),
        ("{ quadrature = 1 }", "{ guess = 1 }", "guess"),
        ("sigma = 0.5", "sigma = 0.0", "profile.paper.reference.metropolis.sigma"),
        ("bins = 15", "bins = 0", "profile.smoke.bins"),
        ("bins = 15", "bins = 16", "profile.smoke.coarse: does not divide the 16 bins"),
        ("observations = 2", "observations = 0", "profile.smoke.observations"),
        ("kind = \"scatterometry\"", "kind = \"reconstruction\"", "kind: not scatterometry"),
    ] {
        assert!(SCATTEROMETRY.contains(from), "{from}");
        told(of_scatterometry(&SCATTEROMETRY.replacen(from, to, 1)).unwrap_err(), found);
    }
}

fn means(outcome: &ExperimentOutcome) -> Vec<(String, Option<f64>)> {
    let of = |row: &smalti_tables::outcome::TableRow| Some(row.distance?.figure?.mean);
    outcome.rows.iter().map(|row| (row.method.clone(), of(row))).collect()
}

fn mixed(options: &RunOptions, text: &str) -> smalti_base::Result<ExperimentOutcome> {
    let experiment = of_mixture(text).unwrap();
    run_mixture(&experiment, experiment.profile(ProfileName::Smoke), &mixture::data(), options)
}

#[test]
fn kernels_bring_samples_closer_and_exact_ones_are_closest() {
    // One coupling a block can hardly tell twelve modes apart.
    let text = MIXTURE.replacen("steps = 20,", "steps = 150,", 1).replacen("steps = 2,", "steps = 20,", 1);
    let root = tempfile::tempdir().unwrap();
    let outcome = mixed(&options(root.path()), &text).unwrap();
    let found = means(&outcome);
    let [inn, snf, exact] = &found[..] else { panic!("{found:?}") };
    assert_eq!([&inn.0, &snf.0, &exact.0], ["inn", "snf", "exact"]);
    let (inn, snf, exact) = (inn.1.unwrap(), snf.1.unwrap(), exact.1.unwrap());
    assert!(inn > snf && snf > exact && exact > 0.0, "{found:?}");
    assert!(
        outcome.rows[1].note.contains("below the INN") && outcome.rows[0].note.contains("150 steps of 128")
    );
    let text = |name: &str| std::fs::read_to_string(root.path().join(name)).unwrap();
    let distances = text("distances.csv");
    assert!(distances.starts_with("method,problems,observations,samples,w1_mean,w1_std\ninn,2,2,100,"));
    assert_eq!(distances.lines().count(), 4);
    assert!(text("table.csv").starts_with(&format!("{}\ninn,0,,,", table::CSV_HEADER)));
    assert!(text("table.md").contains("| method | problems | observations | samples | W1 | data |"));
    assert!(
        text("report.html").contains("<th class=\"n\">W1</th>")
            && text("table.md").starts_with("Data: pairs drawn")
    );
    assert!(!root.path().join("state").exists());
}

#[test]
fn runs_repeat_and_go_on_where_they_were_stopped() {
    let root = tempfile::tempdir().unwrap();
    let whole = mixed(&options(&root.path().join("whole")), MIXTURE).unwrap();
    let mut stopped = options(&root.path().join("stopped"));
    stopped.cancel.request();
    let error = mixed(&stopped, MIXTURE).unwrap_err().to_string();
    assert!(error.contains("the same command goes on"), "{error}");
    assert!(!stopped.results.folder().join("distances.csv").exists());
    stopped.cancel = Cancel::default();
    assert_eq!(means(&mixed(&stopped, MIXTURE).unwrap()), means(&whole));
}

fn scattered(folder: &Path, data: &DataSource, text: &str) -> ExperimentOutcome {
    let experiment = of_scatterometry(text).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    run_scatterometry(&experiment, profile, data, &options(folder)).unwrap()
}

#[test]
fn without_the_authors_files_their_rows_say_so() {
    let root = tempfile::tempdir().unwrap();
    let data = scatterometry::data(None, None, root.path()).unwrap();
    assert!(data.sentence().contains("random forward model"), "{}", data.sentence());
    let outcome = scattered(root.path(), &data, SCATTEROMETRY);
    let found = means(&outcome);
    assert_eq!((found[0].1, found[1].1), (None, None));
    assert!(
        outcome.rows[0].note.contains("authors' files") && outcome.rows[3].note.contains("below the INN")
    );
    let of = |k: usize| found[k].1.unwrap();
    // Points of the reference itself are far closer than an untrained flow.
    assert!(of(4) > 0.0 && of(2) > 2.0 * of(4), "{found:?}");
    let distances = std::fs::read_to_string(root.path().join("distances.csv")).unwrap();
    assert!(distances.contains("kl_mean,kl_std\ninn_authors,1,2,2000,,\n"), "{distances}");
    let table = std::fs::read_to_string(root.path().join("table.md")).unwrap();
    assert!(table.contains("| SNF, authors' weights | 1 | 2 | 2000 | – |"), "{table}");
    assert_eq!(outcome.rows[4].distance.unwrap().measure, DistanceKind::KullbackLeibler);
    // A folder that somebody named must hold the files.
    let error = scatterometry::data(Some(root.path()), None, root.path()).unwrap_err().to_string();
    assert!(error.contains("forward_model_new.pt"), "{error}");
}

#[test]
fn chains_and_quadrature_agree() {
    let root = tempfile::tempdir().unwrap();
    let data = scatterometry::data(None, None, root.path()).unwrap();
    let text = SCATTEROMETRY.replacen("samples = 2000", "samples = 20000", 1);
    let text = text.replacen("bins = 15", "bins = 9", 1);
    let run = |name: &str, reference: &str| {
        let text = text.replacen("{ quadrature = 1 }", reference, 1);
        means(&scattered(&root.path().join(name), &data, &text))
    };
    let exact = run("quadrature", "{ quadrature = 4 }");
    let chains = run("chains", "{ metropolis = { steps = 300, sigma = 0.3 } }");
    let pair = |k: usize| (exact[k].1.unwrap(), chains[k].1.unwrap());
    // INN and SNF are the same ones in both runs.
    for (exact, chains) in [pair(2), pair(3)] {
        assert!((exact - chains).abs() < 0.05 + 0.05 * exact, "{exact} {chains}");
    }
    let (exact, chains) = pair(4);
    assert!(exact < chains && chains < 0.1, "{exact} {chains}");
}

/// Without data: `without_the_authors_files_their_rows_say_so` and `chains_and_quadrature_agree`.
#[test]
fn the_authors_snf_is_closer_than_their_inn() {
    let Some(folder) = measured(&["scatterometry/snf.pt"]) else { return };
    let root = tempfile::tempdir().unwrap();
    let data = scatterometry::data(Some(&folder), None, root.path()).unwrap();
    let text = SCATTEROMETRY.replacen("samples = 2000", "samples = 8000", 1);
    let outcome = scattered(root.path(), &data, &text);
    let found = means(&outcome);
    let of = |k: usize| found[k].1.unwrap();
    assert!(outcome.rows.iter().all(|row| row.note.contains("on 5^3 bins")), "{:?}", outcome.rows[0]);
    assert!(of(1) < 0.8 * of(0) && of(0) < of(2), "{found:?}");
}
