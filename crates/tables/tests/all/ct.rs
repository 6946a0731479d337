//! Experiments of computed tomography: the files, their faults, and a whole run on synthetic data.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::{Seed, image_file};
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::run::run;
use tch::Tensor;
use toml::Table;

const LOW_DOSE: &str = include_str!("../../../../experiments/ct_low_dose.toml");
const LIMITED_ANGLE: &str = include_str!("../../../../experiments/ct_limited_angle.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("ct_low_dose", "ct.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_files_have_the_published_geometry_and_settings() {
    for (text, missing, rays) in [(LOW_DOSE, 0, 513_000), (LIMITED_ANGLE, 100, 410_400)] {
        let experiment = parse(text).unwrap();
        let all = |profile| -> Table { toml::from_str(&experiment.profile(profile).to_toml()).unwrap() };
        let (paper, quick) = (all(ProfileName::Paper), all(ProfileName::Quick));
        let scan = &paper["problem"]["tomography"]["scan"];
        assert_eq!((&scan["size"], &scan["angles"]), (&362.into(), &1000.into()));
        assert_eq!(
            (&scan["detectors"], &scan["missing"], &scan["extent"]),
            (&513.into(), &missing.into(), &0.26.into())
        );
        assert_eq!(paper["problem"]["tomography"]["noise"]["photons"], 4096.0.into());
        let methods = &paper["methods"];
        let patchnr = &methods["patchnr"];
        let weight = &patchnr["weight"]["likelihood"];
        assert_eq!(
            (&weight["lambda"], &weight["observed"], &patchnr["padding"]),
            (&700.0.into(), &rays.into(), &4.into())
        );
        assert_eq!(patchnr["descent"]["iterations"], if missing == 0 { 300 } else { 3000 }.into());
        assert_eq!(methods["fbp_unet"]["pairs"], "published".into());
        assert_eq!(methods["fbp_unet"]["channels"].as_array().unwrap().len(), 5);
        assert_eq!(&quick["problem"]["tomography"]["scan"], scan);
    }
}

#[test]
fn faults_are_shown_where_they_are() {
    let line = |from: &str, to: &str| {
        assert!(LIMITED_ANGLE.contains(from), "{from}");
        let line = parse(&LIMITED_ANGLE.replacen(from, to, 1)).map(|_| ()).unwrap_err();
        assert!(line.starts_with("ct.toml:") && line.lines().count() == 1, "{line}");
        line
    };
    assert!(line("angles = 60", "angles = 0").contains("profile.smoke.problem.tomography.scan"));
    assert!(line("missing = 6", "missing = 30").contains("nothing is left of 60 angles"));
    assert!(line("photons = 4096", "photons = 0").contains("noise.photons"));
    assert!(line("mu_max = 81.35858", "mu_max = -1.0").contains("noise.mu_max"));
    assert!(line("window = [0.0, 0.45]", "window = [0.45, 0.45]").contains("black is not below white"));
    assert!(
        line("simulation_size = 96", "simulation_size = 63")
            .contains("problem.tomography.scan.simulation_size")
    );
    assert!(line("scales = 3", "scales = 8").contains("at least 129 x 129 pixels"));
    assert!(line("crop = 32", "crop = 65").contains("profile.smoke.methods.fbp_unet.crop"));
    assert!(
        line("padding = 2\npatches", "padding = 64\npatches")
            .contains("profile.smoke.methods.patchnr.padding")
    );
    let warm = "warmup_steps = 60, validation_every = 25";
    assert!(line("validation_every = 25", warm).contains("methods.patchnr.flow.training.warmup_steps"));
    assert!(line("filter = \"hann\"", "filter = \"han\"").contains("han"));
    assert!(line("\"ct/train1.png\"", "\"../train1.png\"").contains("data.references[0]"));
    assert!(line("published = \"table\"", "published = \"tables\"").contains("no section published.tables"));
    let without = LIMITED_ANGLE.replacen("[profile.smoke.methods.wpp]", "[profile.smoke.methods.spare]", 1);
    assert!(parse(&without).map(|_| ()).unwrap_err().contains("no method spare"));
    assert!(line("start = \"tv\"", "start = \"tvv\"").contains("starts from tvv, which has no section"));
    let sum = "{ likelihood = { lambda = 20.0, observed = 4_368 } }, iterations = 100";
    let squares = line(sum, "{ half_squared_errors = 0.01 }, iterations = 100");
    assert!(squares.contains("methods.tv.weight.half_squared_errors: photon counts"), "{squares}");
    let zero_shot =
        line("[profile.smoke.methods.wpp]\n", "[profile.smoke.methods.wpp]\nlearns_from = \"observation\"\n");
    assert!(
        zero_shot.contains("methods.wpp.learns_from: learns from the observation, which is no image"),
        "{zero_shot}"
    );
    assert!(line("kind = \"reconstruction\"", "kind = \"mixture\"").contains("kind: not reconstruction"));
}

#[test]
fn a_run_on_phantoms_writes_every_row_and_repeats() {
    let root = tempfile::tempdir().unwrap();
    let experiment = parse(LIMITED_ANGLE).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let once = |name: &str| {
        let folder = root.path().join(name);
        let outcome = run(&experiment, profile, &DataSource::Synthetic, &options(&folder)).unwrap();
        (outcome, folder)
    };
    let (outcome, folder) = once("a");
    let rows = &outcome.rows;
    let keys: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(keys, profile.sets[0].methods.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.images == 1 && row.published.psnr.is_none()));
    let of = |key: &str| rows.iter().find(|row| row.method == key).unwrap().ours.psnr.unwrap().mean;
    assert!(of("tv") > of("fbp") + 1.0, "{} {}", of("tv"), of("fbp"));
    assert!(of("patchnr") > of("fbp"), "{} {}", of("patchnr"), of("fbp"));
    assert!(rows.iter().any(|row| row.note.contains("pairs of phantoms")));
    for file in ["table.csv", "report.html", "patchnr.safetensors", "fbp_unet.safetensors"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("black is 0, white is 0.45") && page.contains("from 18.0° to 162.0°"));
    // Another run has the same images.
    let (again, _) = once("b");
    for (one, other) in outcome.shown[0].results.iter().zip(&again.shown[0].results) {
        assert_eq!(one.image, other.image, "{}", one.key);
    }
}

#[test]
fn what_cannot_run_has_a_dash_and_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let text = LOW_DOSE.replacen("synthetic_pairs = 2", "synthetic_pairs = 0, pairs = \"published\"", 1);
    let experiment = parse(&text).unwrap();
    let mut profile = experiment.profile(ProfileName::Smoke).clone();
    profile.sets[0].methods = vec!["fbp".into(), "fbp_unet".into()];
    let outcome =
        run(&experiment, &profile, &DataSource::Synthetic, &options(&root.path().join("run"))).unwrap();
    let row = &outcome.rows[1];
    assert!(row.ours.psnr.is_none() && row.note.contains("LoDoPaB-CT") && row.images == 0, "{row:?}");
}

#[test]
fn slices_that_are_too_small_are_refused_before_anything_is_trained() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data/ct");
    std::fs::create_dir_all(&folder).unwrap();
    let slice = Seed::new(1).at("slice", 0).uniform(&[1, 1, 64, 64]) * 0.3;
    let save = |name: &str, image: &Tensor| image_file::save_png16(&folder.join(name), image).unwrap();
    for k in 1..6 {
        save(&format!("train{k}.png"), &slice);
    }
    save("test1.png", &slice.narrow(3, 0, 60));
    let experiment = parse(LOW_DOSE).unwrap();
    let data = DataSource::Folder { folder: root.path().join("data"), named_by: NamedBy::Option };
    let out = root.path().join("out");
    let failure =
        run(&experiment, experiment.profile(ProfileName::Smoke), &data, &options(&out)).unwrap_err();
    let line = failure.to_string();
    assert!(line.contains("ct/test1.png") && line.contains("64 x 64") && line.lines().count() == 1, "{line}");
    assert!(!out.join("state").exists());
}
