//! The table of WPPNets: the file with its scenes, its faults, and whole runs on synthetic data.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::{Seed, image_file};
use smalti_solvers::{AcNet, Cancel};
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::{Experiment, Observations, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::ExperimentOutcome;
use smalti_tables::run::run;
use smalti_testkit::measured;

const TEXT: &str = include_str!("../../../../experiments/wppnets.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("wppnets", "wppnets.toml", text).map_err(|e| e.to_string())
}

fn smoke(text: &str, data: &DataSource, options: &RunOptions) -> smalti_base::Result<ExperimentOutcome> {
    let experiment = parse(text).unwrap();
    run(&experiment, experiment.profile(ProfileName::Smoke), data, options)
}

/// The file whose smoke profile has `steps` steps and, in place of its own set, those of the paper profile that are of `scenes`.
fn with_scenes(scenes: &[&str], steps: u32) -> String {
    let sets = TEXT.split("[[profile.paper.sets]]").skip(1).map(|set| set.split("[profile.").next().unwrap());
    let of = |set: &&str| scenes.iter().any(|scene| set.contains(&format!("scene = \"{scene}\"")));
    let sets: String = sets
        .filter(of)
        .map(|set| format!("[[profile.smoke.sets]]{}", set.replace("wppnet_means", "wppnet")))
        .collect();
    let (before, rest) = TEXT.split_once("[[profile.smoke.sets]]").unwrap();
    let (_, after) = rest.split_once("[profile.smoke.methods.wppnet]").unwrap();
    let text = format!("{before}{sets}\n[profile.smoke.methods.wppnet]{after}");
    text.replacen("{ steps = 6 }", &format!("{{ steps = {steps} }}"), 1)
}

#[test]
fn the_file_has_the_published_experiments() {
    let experiment = parse(TEXT).unwrap();
    let paper = experiment.profile(ProfileName::Paper);
    let names: Vec<&str> = paper.sets.iter().map(|set| paper.scenes[set.scene].name.as_str()).collect();
    let inaccurate = ["SiC_x4_inaccurate"; 4];
    let expected =
        [&["SiC_x4", "SiC_x6"][..], &inaccurate, &["FS", "FS_registered", "grass", "floor"]].concat();
    assert_eq!(names, expected);
    let training = paper.rows["wppnet"].settings.to_toml();
    for said in ["epochs = 500", "batch = 32", "psi_steps = 20", "lambda = 0.02", "learning_rate = 0.0001"] {
        assert!(training.contains(said), "{said}: {training}");
    }
    assert!(training.contains("reference_patches = 10000"));
    // Patches are centred but for sandstone; the wrong operator is wrong in its width alone.
    for set in &paper.sets {
        let scene = &paper.scenes[set.scene];
        let centred = paper.rows[&set.methods[1]].settings.to_toml().contains("centred = true");
        assert_eq!(centred, !scene.name.starts_with("FS"), "{}", scene.name);
    }
    let settings = |name: &str| {
        let scene = paper.scenes.iter().find(|scene| scene.name == name).unwrap();
        scene.problem.to_toml()
    };
    for (name, sigma) in [("SiC_x4", "2.0"), ("SiC_x6", "3.0"), ("SiC_x4_inaccurate", "2.5")] {
        let settings = settings(name);
        assert!(settings.contains(&format!("kernel_size = 16\nsigma = {sigma}\n")), "{settings}");
    }
    let registered = paper.scenes.iter().find(|scene| scene.name == "FS_registered").unwrap();
    assert!(matches!(registered.data.observations, Some(Observations::Cut { size: 50, step: 10, .. })));
    assert!(registered.files().contains(&"wppnets/estimated_operator.pt".to_owned()));
    // Each scored part has published figures of its own.
    let psnr = |region| paper.sets[0].published(region, "wppnet").psnr.unwrap().mean;
    assert_eq!([psnr(0), psnr(1)], [26.99, 27.76]);
}

#[test]
fn faults_are_shown_where_they_are() {
    let line = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        let line = parse(&TEXT.replacen(from, to, 1)).err().unwrap();
        assert!(line.starts_with("wppnets.toml:") && line.lines().count() == 1, "{line}");
        line
    };
    for (from, to, found) in [
        ("stride = 4", "stride = 1", "methods.wppnet: wppnet makes no sense for SiC_x4: it enlarges by"),
        ("stride = 4", "stride = 5", "not by 5"),
        ("stride = 4", "strode = 4", "strode"),
        ("sigma = 2.0", "sigma = nan", "not a finite number"),
        ("sigma = 2.0\n", "", "scene.SiC_x4.problem.superresolution.sigma: missing field `sigma`"),
        (
            "estimated =",
            "sigma = 1.0\nestimated =",
            "FS_registered.problem.superresolution.estimated: stands in place",
        ),
        (
            "\"wppnets/estimated_operator.pt\"",
            "\"../operator.pt\"",
            "estimated: \"../operator.pt\" is not a name inside",
        ),
        ("{ steps = 6 }", "{ steps = 0 }", "length"),
        (
            "scene = \"SiC_x4\"",
            "scene = \"SiC\"",
            "profile.smoke.sets[0].scene: no section scene.SiC; there is FS",
        ),
        ("scene = \"SiC_x4\"\n", "", "missing field `scene`"),
        ("\"wppnets/test_img/ref_SiC.png\"", "\"../ref.png\"", "scene.SiC_x4.data.references[0]"),
        ("\"wppnets/test_img/lr_SiC_x4.png\"]", "\"../lr.png\"]", "profile.smoke.sets[0].observed[0]"),
        ("\"wppnets/test_img/lr_SiC_x4.png\"]", "\"a.png\", \"b.png\"]", "2 observations of 1 images"),
        ("[\"SiC_x4\", \"SiC_x4_crop\"]", "\"SiC_x4\"", "not one name for each of 2 scored parts"),
        ("\"SiC_x4_crop\"]", "\"SiC\"]", "sets[0].published[1]: no section published.SiC;"),
        ("observed_with = { sigma = 2.0 }", "observed_with = { sgima = 2.0 }", "sgima"),
        (
            "observed_with = { sigma = 3.0 }",
            "observed_with = { sigma = 99.0 }",
            "sets[5].observed_with.sigma: greater than",
        ),
        ("size = 50", "size = 2", "scene.FS_registered.data.observations: lower than 8"),
        (
            "validation_every = 500",
            "validation_every = 500\nwarmup_steps = 10",
            "paper.methods.wppnet.training.warmup_steps",
        ),
        ("kind = \"reconstruction\"", "kind = \"mixture\"", "kind: not reconstruction"),
        ("kind = \"reconstruction\"", "kind = \"wppnets\"", "kind"),
        ("# ------", "[data]\nreferences = [\"a.png\"]\n# ------", "data outside of scenes"),
    ] {
        let line = line(from, to);
        assert!(line.contains(found), "{found}: {line}");
    }
    let renamed = TEXT.replace("scene.SiC_x4.", "scene.\"a b\".").replace("\"SiC_x4\"", "\"a b\"");
    assert!(parse(&renamed).err().unwrap().contains("letters, digits"));
}

#[test]
fn a_run_writes_table_network_and_log() {
    let root = tempfile::tempdir().unwrap();
    let text = TEXT.replacen("{ steps = 6 }", "{ steps = 2 }", 1);
    let options = options(root.path());
    let outcome = smoke(&text, &DataSource::Synthetic, &options).unwrap();
    let csv = std::fs::read_to_string(root.path().join("table.csv")).unwrap();
    assert!(csv.starts_with(smalti_tables::table::CSV_HEADER));
    let starts: Vec<&str> = csv.lines().skip(1).map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(starts, ["bicubic", "wppnet", "bicubic", "wppnet"]);
    let rows = &outcome.rows;
    assert!(rows[0].data.starts_with("SiC_x4: synthetic/test_img/lr_SiC_x4 (synthetic)"), "{}", rows[0].data);
    assert!(rows[0].data.ends_with(", whole") && rows[2].data.ends_with(", 40 px crop"), "{}", rows[2].data);
    assert!(rows[0].ours.psnr.unwrap().mean > 20.0 && rows[0].ours.psnr != rows[2].ours.psnr);
    assert!(rows[1].note.contains("2 steps of 2 crops"), "{}", rows[1].note);
    // Synthetic figures do not stand beside published ones.
    assert!(rows.iter().all(|row| row.published.psnr.is_none()));
    // The written network makes the shown image.
    let net = AcNet::load(&root.path().join("SiC_x4-wppnet.safetensors")).unwrap();
    let shown = &outcome.shown[0];
    let again = net.infer(&shown.observation.as_ref().unwrap().0, 1 << 30).unwrap();
    assert!((again - &shown.results[1].image).abs().max().double_value(&[]) < 1e-5);
    let logs = || std::fs::read_dir(root.path().join("tensorboard/SiC_x4-wppnet")).unwrap().count();
    assert_eq!(logs(), 1);
    assert!(!root.path().join("state").exists());
    let page = std::fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(page.contains("WPPNet") && page.contains("observed crops"));

    // A second run into the same folder begins its log anew.
    smoke(&text, &DataSource::Synthetic, &options).unwrap();
    assert_eq!(logs(), 1);
}

/// What `SiC_x4` has not: another factor, observations that are simulated, crops cut from an image, an estimated operator.
#[test]
fn other_scenes_run_as_well() {
    let scenes = ["SiC_x6", "SiC_x4_inaccurate", "FS_registered"];
    let root = tempfile::tempdir().unwrap();
    let outcome = smoke(&with_scenes(&scenes, 1), &DataSource::Synthetic, &options(root.path())).unwrap();
    assert_eq!(outcome.rows.len(), 4 * 6);
    for name in scenes {
        assert!(AcNet::load(&root.path().join(format!("{name}-wppnet.safetensors"))).is_ok(), "{name}");
    }
    // The wider the blur, the harder to undo: sigma 2, 2.5 and 3.
    let bicubic = outcome.rows.iter().filter(|row| {
        row.method == "bicubic" && row.data.contains("inaccurate") && row.data.ends_with("whole")
    });
    let labels: Vec<&str> = bicubic.clone().map(|row| row.data.as_str()).collect();
    assert!(labels[3].ends_with("hr_SiC (synthetic) observed with sigma 3.0, whole"), "{}", labels[3]);
    let bicubic: Vec<f64> = bicubic.map(|row| row.ours.psnr.unwrap().mean).collect();
    // The first one is that of the file.
    assert!(bicubic.len() == 4 && bicubic[1] > bicubic[2] && bicubic[2] > bicubic[3], "{bicubic:?}");
    // Its stand-in is observed with sigma 2, too, unlike what the network is trained with; with another noise.
    assert!((bicubic[0] - bicubic[1]).abs() < 0.2 * (bicubic[1] - bicubic[2]), "{bicubic:?}");
}

/// What is wrong with the last scene stops a run before the first.
#[test]
fn faults_come_first() {
    let text = with_scenes(&["SiC_x4", "FS_registered"], 6).replacen("size = 50", "size = 999", 1);
    let root = tempfile::tempdir().unwrap();
    let line = smoke(&text, &DataSource::Synthetic, &options(root.path())).unwrap_err().to_string();
    assert!(line.contains("at least 999 x 999"), "{line}");
    assert!(!root.path().join("tensorboard").exists());
}

/// The same with the published operator, where it is at hand. Without data: `other_scenes_run_as_well`.
#[test]
fn the_published_operator_is_trained_with() {
    let Some(folder) = measured(&["wppnets/estimated_operator.pt"]) else { return };
    let root = tempfile::tempdir().unwrap();
    let experiment = parse(&with_scenes(&["FS_registered"], 1)).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let source = experiment.find_data(profile, Some(&folder), None, root.path()).unwrap();
    let outcome = run(&experiment, profile, &source, &options(root.path())).unwrap();
    assert_eq!(outcome.rows.len(), 4);
    assert_eq!(outcome.rows[1].published.psnr.unwrap().mean, 32.95);
    let net = AcNet::load(&root.path().join("FS_registered-wppnet.safetensors")).unwrap();
    assert!(net.provenance["operator"].contains("estimated_operator.pt"), "{}", net.provenance["operator"]);
}

#[test]
fn a_cancelled_run_says_where_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    cancel.request();
    let options = RunOptions { cancel, ..options(root.path()) };
    let error = smoke(TEXT, &DataSource::Synthetic, &options).unwrap_err().to_string();
    assert!(error.contains("the same command goes on"), "{error}");
    assert!(!root.path().join("table.csv").exists());
}

#[test]
fn missing_files_are_named_before_any_training() {
    let root = tempfile::tempdir().unwrap();
    let experiment = parse(TEXT).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let of = |option| experiment.find_data(profile, option, None, root.path());
    let files = profile.scenes[profile.sets[0].scene].files();
    let truth = smalti_methods::synthetic::microstructure(96, 96, Seed::new(1), 0).unwrap();
    let given = |file: &str| image_file::save_png8(&root.path().join(file), &truth).unwrap();
    for file in files.iter().filter(|file| !file.contains("val_SiC_x4")) {
        given(file);
    }
    let line = of(Some(root.path())).unwrap_err().to_string();
    assert!(line.contains("val_SiC_x4.h5") && line.contains("--data"), "{line}");
    // A data folder that holds nothing of it gives way to the synthetic set, a named one does not.
    assert_eq!(of(None).unwrap(), DataSource::Synthetic);
    for file in ["wppnets/training_img/val_SiC_x4.h5", "wppnets/test_img/hr_SiC.png"] {
        given(file);
    }
    let line = of(Some(root.path())).unwrap_err().to_string();
    assert!(line.contains("lr_SiC_x4.png"), "{line}");
    given("wppnets/test_img/lr_SiC_x4.png");
    let data = of(Some(root.path())).unwrap();
    assert!(matches!(data, DataSource::Folder { named_by: NamedBy::Option, .. }));
    // An observation of the wrong size is noticed before the training.
    let options = options(&root.path().join("results"));
    let line = run(&experiment, profile, &data, &options).unwrap_err().to_string();
    assert!(line.contains("lr_SiC_x4.png") && line.contains("24, 24"), "{line}");
}
