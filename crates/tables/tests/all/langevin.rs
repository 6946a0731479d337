//! Experiments with Langevin chains: the files, their faults, and whole runs on synthetic data.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::{Seed, image_file};
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::{ExperimentOutcome, LineStyle};
use smalti_tables::run::run;
use toml::Table;

const CT: &str = include_str!("../../../../experiments/langevin_ct.toml");
const INPAINTING: &str = include_str!("../../../../experiments/langevin_inpainting.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("langevin", "langevin.toml", text).map_err(|e| e.to_string())
}

fn smoke(text: &str, data: &DataSource, options: &RunOptions) -> smalti_base::Result<ExperimentOutcome> {
    let experiment = parse(text).unwrap();
    run(&experiment, experiment.profile(ProfileName::Smoke), data, options)
}

#[test]
fn the_files_have_the_published_settings() {
    let paper = |text: &str| -> Table {
        toml::from_str(&parse(text).unwrap().profile(ProfileName::Paper).to_toml()).unwrap()
    };
    let all = paper(CT);
    let row = &all["methods"]["patchnr_mean"];
    let chains = &row["chains"];
    assert_eq!(
        (&row["weight"]["likelihood"]["lambda"], &chains["step_size"]),
        (&6000.0.into(), &2e-7.into())
    );
    assert_eq!((&chains["count"], &chains["method"]), (&10.into(), &"ula".into()));
    let steps = |key: &str| chains[key].as_integer().unwrap();
    assert_eq!(steps("burn_in") + steps("draws") * steps("thin"), 50_000);
    let scan = &all["problem"]["tomography"]["scan"];
    assert_eq!(
        (&scan["size"], &scan["angles"], &scan["detectors"]),
        (&362.into(), &1000.into(), &513.into())
    );
    let row = &paper(INPAINTING)["methods"]["patchnr_mean"];
    assert_eq!(
        (&row["weight"]["likelihood"]["lambda"], &row["mode"]["learning_rate"]),
        (&100.0.into(), &0.03.into())
    );
}

#[test]
fn faults_are_shown_where_they_are() {
    for (text, from, to, found) in [
        (CT, "photons = 4096", "photons = 0", "profile.smoke.problem.tomography.noise.photons"),
        (CT, "angles = 20", "angles = 20, missing = 10", "nothing is left of 20 angles"),
        (CT, "draws = 100", "draws = 101", "profile.smoke.methods.patchnr_mean.chains.draws: 101 is odd"),
        (CT, "padding = 2", "padding = 64", "profile.smoke.methods.patchnr_mean.padding: not less than"),
        (
            INPAINTING,
            "height = 24, width = 24",
            "height = 9, width = 9",
            "profile.smoke.problem.inpainting.hole",
        ),
        (
            CT,
            "validation_every = 30",
            "warmup_steps = 60, validation_every = 30",
            "not less than all 60 steps",
        ),
        (
            CT,
            "keep = 20",
            "keep = 102",
            "profile.smoke.methods.patchnr_mean.chains.keep: more than the 100 draws",
        ),
        (CT, "count = 2", "count = 1", "profile.smoke.methods.patchnr_mean.chains.count"),
        (
            CT,
            "method = \"ula\"",
            "method = \"ula\"\npilots = [100]",
            "profile.paper.methods.patchnr_mean.chains.pilots: only mala",
        ),
        (CT, "step_size = 1e-6", "step_size = inf", "not a finite number"),
        (INPAINTING, "noise = 0.02", "noise = 0.0", "profile.smoke.problem.inpainting.noise"),
        (
            INPAINTING,
            "left = 8, height = 8",
            "left = 18, height = 8",
            "hole: reaches beyond the part of 24 x 24",
        ),
        (
            INPAINTING,
            "left = 8, height = 8",
            "left = 8, height = 25",
            "hole: 25 x 8 pixels, larger than the part",
        ),
        (INPAINTING, "left = 8, height = 8", "left = -1, height = 8", "hole.left"),
        (
            INPAINTING,
            "top = 8, left = 8, height = 8, width = 8",
            "top = 0, left = 0, height = 24, width = 24",
            "nothing is seen",
        ),
        (INPAINTING, "left = 8, height = 8", "left = 8, height = 6", "too little to score"),
        (INPAINTING, "\"sic/ref.png\"", "\"../ref.png\"", "data.references[0]"),
        (INPAINTING, "kind = \"reconstruction\"", "kind = \"mixture\"", "kind: not reconstruction"),
    ] {
        assert!(text.contains(from), "{from}");
        let line = parse(&text.replacen(from, to, 1)).map(|_| ()).unwrap_err();
        assert!(line.starts_with("langevin.toml:") && line.lines().count() == 1, "{line}");
        assert!(line.contains(found), "{line}");
    }
}

#[test]
fn a_run_on_synthetic_data_writes_everything_and_repeats() {
    let root = tempfile::tempdir().unwrap();
    let names = ["patchnr_map", "patchnr_mean", "patchnr_draw"];
    for (text, start, seen) in [(CT, "fbp", false), (INPAINTING, "fill_in", true)] {
        let folder = root.path().join(start);
        let outcome = smoke(text, &DataSource::Synthetic, &options(&folder)).unwrap();
        let rows = &outcome.rows;
        let keys: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
        assert_eq!(keys, [&[start], &names[..]].concat());
        let psnr = |k: usize| rows[k].ours.psnr.unwrap().mean;
        // The mean of draws is closer to the truth than they are.
        assert!(psnr(2) > psnr(3), "{} {}", psnr(2), psnr(3));
        for said in ["MALA, 2 chains", "of proposals taken", "split R-hat", "the chains", "% of pixels"] {
            assert!(rows[2].note.contains(said), "{said}: {}", rows[2].note);
        }
        let shown = &outcome.shown[0];
        assert_eq!((shown.results.len(), shown.maps.len(), shown.observation.is_some()), (6, 2, seen));
        assert!(rows[0].data.contains("(synthetic)"), "{}", rows[0].data);
        // Energy and five pixels against zero; pixels and patches against the diagonal.
        let styled =
            |k: usize, style| outcome.plots[k].lines.iter().filter(|line| line.style == style).count();
        assert_eq!((styled(0, LineStyle::First), styled(0, LineStyle::Second)), (1, 5));
        assert_eq!(
            (styled(1, LineStyle::First), styled(1, LineStyle::Second), styled(1, LineStyle::Reference)),
            (1, 1, 1)
        );
        assert_eq!(outcome.plots[0].lines[1].points[0], (0.0, 1.0));
        let weights = if seen { "patchnr_mean_synthetic_test" } else { "patchnr_mean" };
        for file in ["table.csv", &format!("{weights}.safetensors")] {
            assert!(folder.join(file).is_file(), "{file}");
        }
        let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
        for said in ["Standard deviation", "Split R-hat", "Calibration", "Autocorrelation", "posterior mean"]
        {
            assert!(page.contains(said), "{said}");
        }
        assert!(!folder.join("state").exists());
        let again = smoke(text, &DataSource::Synthetic, &options(&root.path().join("again"))).unwrap();
        for (one, other) in shown.results.iter().zip(&again.shown[0].results) {
            assert_eq!(one.image, other.image, "{}", one.key);
        }
    }
}

/// Rows of chains on one image have maps of their own, and chains run on volumes as well.
#[test]
fn maps_are_of_their_rows_and_volumes_have_draws() {
    let root = tempfile::tempdir().unwrap();
    let chains = |name: &str, of: &str| {
        let text = "method = 'langevin'\nflow = { patch_size = 3, blocks = 1, hidden = 8, clamp = 1.6, training = { steps = 5, \
            batch = 16, learning_rate = 1e-3, schedule = 'constant', validation_every = 5 } }\nweight = { mean = 0.01 }\npadding = 1\n\
            mode = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }\nchains = { method = 'mala', count = 2, spread = 0.01, \
            step_size = 1e-6, pilots = [20], burn_in = 4, draws = 4, thin = 1, keep = 2 }";
        of.to_owned() + &format!("\n[profile.smoke.methods.{name}]\n{text}\n")
    };
    const SUPERRESOLUTION: &str = include_str!("../../../../experiments/superres_sic.toml");
    const VOLUME: &str = include_str!("../../../../experiments/superres_volume.toml");
    let two = |text: &str, from: &str| {
        assert!(text.contains(from), "{from}");
        chains("second", &chains("first", &text.replacen(from, "methods = [\"first\", \"second\"]", 1)))
    };
    let text = two(
        SUPERRESOLUTION,
        "methods = [\"bicubic\", \"l2_tv\", \"epll\", \"alr\", \"patchnr\", \"wpp\", \"dpir\"]",
    );
    let folder = root.path().join("images");
    let outcome = smoke(&text, &DataSource::Synthetic, &options(&folder)).unwrap();
    let mut keys: Vec<&str> = outcome.shown[0].maps.iter().map(|map| map.key.as_str()).collect();
    assert_eq!(
        keys,
        ["first-standard-deviation", "first-r-hat", "second-standard-deviation", "second-r-hat"]
    );
    keys.dedup();
    assert_eq!(keys.len(), 4);
    let text = two(VOLUME, "methods = [\"tricubic\", \"tv\", \"wpp\"]");
    let outcome =
        smoke(&text, &DataSource::SyntheticVolumes, &options(&root.path().join("volumes"))).unwrap();
    assert!(outcome.rows.iter().any(|row| row.note.contains("% of pixels")), "{:?}", outcome.rows);
}

#[test]
fn pixels_that_are_seen_stay_near_what_was_seen_and_the_hole_is_uncertain() {
    let root = tempfile::tempdir().unwrap();
    let outcome = smoke(INPAINTING, &DataSource::Synthetic, &options(&root.path().join("run"))).unwrap();
    let shown = &outcome.shown[0];
    let (seen, _) = shown.observation.as_ref().unwrap();
    let mask = seen.ne(0.0).to_kind(tch::Kind::Float);
    let mean = &shown.results.iter().find(|r| r.key == "patchnr_mean").unwrap().image;
    let away = ((mean - seen) * &mask).square().sum(tch::Kind::Double) / mask.sum(tch::Kind::Double);
    assert!(away.double_value(&[]).sqrt() < 3.0 * 0.02, "{away}");
    let deviation = &shown.maps[0].image;
    let over = |m: &tch::Tensor| {
        (deviation * m).sum(tch::Kind::Double).double_value(&[]) / m.sum(tch::Kind::Double).double_value(&[])
    };
    assert!(over(&(1.0 - &mask)) > 2.0 * over(&mask), "{} {}", over(&(1.0 - &mask)), over(&mask));
}

#[test]
fn chains_that_have_not_met_are_warned_of() {
    let root = tempfile::tempdir().unwrap();
    // Chains that start far apart and hardly move.
    let text = INPAINTING
        .replacen("method = \"mala\"", "method = \"ula\"", 1)
        .replacen("step_size = 1e-5", "step_size = 1e-12", 1)
        .replacen("pilots = [100]", "pilots = []", 1);
    let outcome = smoke(&text, &DataSource::Synthetic, &options(&root.path().join("run"))).unwrap();
    assert!(outcome.rows[2].note.contains("WARNING: the chains disagree"), "{}", outcome.rows[2].note);
}

#[test]
fn a_diverging_chain_stops_the_run_and_says_which() {
    let root = tempfile::tempdir().unwrap();
    let text = INPAINTING
        .replacen("method = \"mala\"", "method = \"ula\"", 1)
        .replacen("step_size = 1e-5", "step_size = 0.5", 1)
        .replacen("pilots = [100]", "pilots = []", 1);
    let failure = smoke(&text, &DataSource::Synthetic, &options(&root.path().join("run"))).unwrap_err();
    let line = failure.to_string();
    assert!(
        line.contains("of chain") && line.contains("step size below") && line.lines().count() == 1,
        "{line}"
    );
    assert!(!root.path().join("run/table.csv").exists());
}

#[test]
fn an_image_that_the_part_lies_beyond_is_refused_before_anything_is_trained() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data/sic");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["test.png", "ref.png"] {
        let image = Seed::new(1).at(name, 0).uniform(&[1, 1, 64, 64]);
        image_file::save_png16(&folder.join(name), &image).unwrap();
    }
    let data = DataSource::Folder { folder: root.path().join("data"), named_by: NamedBy::Option };
    let out = root.path().join("out");
    let line = smoke(INPAINTING, &data, &options(&out)).unwrap_err().to_string();
    assert!(line.contains("sic/test.png") && line.contains("at least 304 x 304 pixels"), "{line}");
    assert!(line.lines().count() == 1 && !out.join("state").exists(), "{line}");
}

#[test]
fn a_cancelled_run_says_where_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    options.cancel.request();
    let error = smoke(CT, &DataSource::Synthetic, &options).unwrap_err().to_string();
    assert!(error.contains("the same command goes on"), "{error}");
    assert!(!root.path().join("table.csv").exists());
}
