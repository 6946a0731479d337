//! The tables of WPPFlows: the files, their faults, and whole runs on synthetic data.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::Seed;
use smalti_flows::{Bijection, DataConsistency, WppFlow};
use smalti_operators::{Boundary, Convolution, PseudoInverse};
use smalti_solvers::{Cancel, flow_residual};
use smalti_tables::data::DataSource;
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::ExperimentOutcome;
use smalti_tables::run::run;
use std::path::Path;

const X4: &str = include_str!("../../../../experiments/wppflow_x4.toml");
const X8: &str = include_str!("../../../../experiments/wppflow_x8.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("wppflow_x4", "wppflow.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_files_have_the_published_settings() {
    for (text, factor, blur, blocks) in [(X4, 4, "2.0", 16), (X8, 8, "4.0", 10)] {
        let experiment = parse(text).unwrap();
        let paper = experiment.profile(ProfileName::Paper);
        let settings = paper.to_toml();
        let (blocks, blur) = (format!("blocks = {blocks}"), format!("sigma = {blur}"));
        let factor = format!("stride = {factor}");
        for said in [
            &blocks,
            &blur,
            &factor,
            "hidden = 128",
            "centres = \"authors\"",
            "epochs = 500",
            "batch = 32",
            "psi_steps = 20",
            "lambda = 100.0",
            "learning_rate = 0.0002",
            "noise = 0.01",
            "kernel_size = 16",
        ] {
            assert!(settings.contains(said), "{said}: {settings}");
        }
        assert!(experiment.profile(ProfileName::Quick).to_toml().contains("centres = \"operator\""));
    }
}

#[test]
fn faults_are_shown_where_they_are() {
    for (from, to, found) in [
        ("stride = 4", "stride = 6", "wppflow makes no sense here: it enlarges by 2, 4, 8 or 16, not by 6"),
        ("draws = 3", "draws = 2", "profile.smoke.methods.wppflow.draws"),
        ("noise = 0.01", "noise = 0.0", "wppflow makes no sense here: without noise"),
        ("form = \"wrap-after\"", "form = \"valid\"", "wppflow makes no sense here: its observations"),
        ("clip = 50.0", "clip = inf", "not a finite number"),
        ("centres = \"operator\"", "centres = \"torch\"", "torch"),
        ("\"wppnets/test_img/ref_SiC.png\"", "\"../ref.png\"", "data folder"),
        (
            "psi_steps = 20",
            "psi_steps = 20\nwarmup_steps = 9",
            "profile.paper.methods.wppflow.training.warmup_steps",
        ),
        ("kind = \"reconstruction\"", "kind = \"mixture\"", "kind: not reconstruction"),
        (
            "[[profile.smoke.sets]]",
            "[[profile.smoke.sets]]\nscene = \"a\"",
            "sets[0].scene: the file has no scenes",
        ),
    ] {
        assert!(X4.contains(from), "{from}");
        let line = parse(&X4.replacen(from, to, 1)).err().unwrap();
        assert!(line.starts_with("wppflow.toml:") && line.lines().count() == 1, "{line}");
        assert!(line.contains(found), "{found}: {line}");
    }
}

fn smoke(folder: &Path, cancel: Cancel) -> smalti_base::Result<ExperimentOutcome> {
    smoke_of(&X4.replacen("{ steps = 4 }", "{ steps = 2 }", 1), folder, cancel)
}

fn smoke_of(text: &str, folder: &Path, cancel: Cancel) -> smalti_base::Result<ExperimentOutcome> {
    let experiment = parse(text).unwrap();
    let options = RunOptions { cancel, ..options(folder) };
    run(&experiment, experiment.profile(ProfileName::Smoke), &DataSource::Synthetic, &options)
}

#[test]
fn a_run_writes_everything_and_repeats() {
    let root = tempfile::tempdir().unwrap();
    let outcome = smoke(root.path(), Cancel::default()).unwrap();
    let keys: Vec<&str> = outcome.rows.iter().map(|row| row.method.as_str()).collect();
    let three = ["bicubic", "wppflow", "wppflow_draw"];
    assert_eq!(keys, [three, three].concat());
    let rows = &outcome.rows;
    assert!(rows[0].data.ends_with(", whole") && rows[3].data.ends_with(", 40 px crop"));
    assert!(rows.iter().all(|row| row.published.psnr.is_none()), "synthetic beside published figures");
    // The mean of samples is never further from the truth than they are on average, here by a noise of its own.
    assert!(rows[1].ours.psnr.unwrap().mean > rows[2].ours.psnr.unwrap().mean);
    for said in ["2 steps of 2 crops", "3 draws", "noise 0.01)", "elsewhere", "% of pixels"] {
        assert!(rows[1].note.contains(said), "{said}: {}", rows[1].note);
    }
    let shown = &outcome.shown[0];
    assert_eq!((shown.results.len(), shown.maps.len()), (5, 1));
    // The written flow draws the shown images, which data consistency then brings nearer to the observation.
    let flow = WppFlow::load(&root.path().join("wppflow.safetensors")).unwrap();
    let mut stream = Seed::new(4).derive("samples of the WPPFlow", 0).at("latents", 0);
    let y = &shown.observation.as_ref().unwrap().0;
    let drawn = flow.sample(y, 1, &mut stream).unwrap();
    let size = drawn.size();
    let domain = smalti_base::Space::image(1, size[2], size[3]);
    let operator = Convolution::superresolution(domain, 16, 2.0, 4, Boundary::Periodic).unwrap();
    let trained = Convolution::superresolution(domain, 16, 2.0, 4, Boundary::Valid).unwrap();
    let seed = Seed::new(4).derive("residual of the WPPFlow", 0);
    let residual = flow_residual(&flow, &trained, &y.repeat([4, 1, 1, 1]), seed).unwrap();
    let layer = DataConsistency::new(&operator, 1.0, PseudoInverse::default()).unwrap();
    let layer = layer.scaled_to_noise(residual, 0.01).unwrap();
    assert!(layer.scale() < 1.0 && rows[1].note.contains("before data consistency"));
    let again = layer.to_data(&drawn, Some(y)).unwrap().value;
    let draw = shown.results.iter().find(|result| result.key == "wppflow_draw").unwrap();
    assert!((again - &draw.image).abs().max().double_value(&[]) < 1e-4);
    let page = std::fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(page.contains("Standard deviation") && page.contains("black 0, white"));
    assert!(page.contains("Calibration") && outcome.plots.len() == 1);
    assert!(!root.path().join("state").exists());
    let repeated = smoke(&root.path().join("again"), Cancel::default()).unwrap();
    let figures = |outcome: &ExperimentOutcome| outcome.rows.iter().map(|row| row.ours).collect::<Vec<_>>();
    assert_eq!(figures(&repeated), figures(&outcome));
}

#[test]
fn the_larger_factor_runs_too() {
    let root = tempfile::tempdir().unwrap();
    let text = X8.replacen("{ steps = 4 }", "{ steps = 1 }", 1);
    let outcome = smoke_of(&text, root.path(), Cancel::default()).unwrap();
    assert_eq!((outcome.rows.len(), outcome.plots.len()), (6, 1));
    assert!(outcome.rows[1].note.contains("before data consistency"), "{}", outcome.rows[1].note);
}

#[test]
fn a_cancelled_run_says_where_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    cancel.request();
    let error = smoke(root.path(), cancel).unwrap_err().to_string();
    assert!(error.contains("the same command goes on"), "{error}");
    assert!(!root.path().join("table.csv").exists());
}
