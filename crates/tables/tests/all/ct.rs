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
    assert!(rows.iter().all(|row| row.published.psnr.is_none()));
    // There is no file of a denoiser beside phantoms.
    for row in rows {
        let missing = row.method == "dpir";
        assert_eq!(row.images, usize::from(!missing), "{}", row.method);
        assert_eq!(row.note.contains("weights/FFDNet_gray.mat is not there"), missing, "{}", row.note);
    }
    let of = |key: &str| rows.iter().find(|row| row.method == key).unwrap().ours.psnr.unwrap().mean;
    // All start at filtered back-projection, or in the case of the networks are far from trained.
    for (key, better) in [("tv", 4.0), ("epll", 1.0), ("patchnr", 1.0), ("wpp", 0.8), ("sinkhorn", 0.5)] {
        assert!(of(key) > of("fbp") + better, "{key}: {} {}", of(key), of("fbp"));
    }
    for key in ["dip_tv", "fbp_unet"] {
        assert!((of(key) - of("fbp")).abs() > 1.0, "{key}: {} {}", of(key), of("fbp"));
    }
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

/// The window of pictures is that of the scene whose image they show, whatever the order of the sets.
#[test]
fn pictures_have_the_window_of_their_scene() {
    let scan = "{ size = 24, extent = 0.26, angles = 20, detectors = 35, simulation_size = 30 }";
    let scene = |name: &str, window: &str| {
        format!(
            "[scene.{name}]\ndata = {{ references = ['ct/train1.png'] }}\n[scene.{name}.problem.tomography]\n\
             window = {window}\nscan = {scan}\nfbp = {{ filter = 'hann', frequency_scaling = 0.65 }}\n\
             noise = {{ photons = 4096, mu_max = 81.35858 }}\n"
        )
    };
    let set = |name: &str| {
        format!("{{ scene = '{name}', images = ['ct/test1.png'], methods = ['fbp'], show = 1 }}")
    };
    let profile = |name: &str| format!("[profile.{name}]\nsets = [{}, {}]\n", set("wide"), set("narrow"));
    let text = [
        "title = 'Two scenes'\nkind = 'reconstruction'\n".to_owned(),
        scene("narrow", "[0.1, 0.2]"),
        scene("wide", "[0.0, 0.45]"),
        ["smoke", "quick", "paper"].map(profile).concat(),
    ];
    let experiment = parse(&text.concat()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let profile = experiment.profile(ProfileName::Smoke);
    let outcome = run(&experiment, profile, &DataSource::Synthetic, &options(&folder)).unwrap();
    let windows: Vec<(&str, [f64; 2])> =
        outcome.shown.iter().map(|shown| (shown.name.split(':').next().unwrap(), shown.window)).collect();
    assert_eq!(windows, [("wide", [0.0, 0.45]), ("narrow", [0.1, 0.2])]);
    // So do the files: they hold the values between black and white.
    for shown in &outcome.shown {
        let name: String = shown
            .name
            .replace(".png", "")
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let picture = image_file::load_gray(&folder.join(format!("images/{name}/truth.png"))).unwrap();
        let [black, white] = shown.window;
        let expected = ((&shown.truth - black) / (white - black)).clamp(0.0, 1.0);
        let wrong = (picture - expected).abs().max().double_value(&[]);
        assert!(wrong <= 0.5 / 255.0 + 1e-6, "{name}: {wrong}");
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
