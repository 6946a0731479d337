//! Experiments with WPPNets: the file, its faults, and a whole run on synthetic data.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::{Seed, image_file};
use smalti_solvers::{AcNet, Cancel};
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::wppnets::{Forward, Length, WppNets};
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::run::{RunOptions, run_wppnets};
use std::path::Path;

const TEXT: &str = include_str!("../../../../experiments/wppnets.toml");

fn parse(text: &str) -> Result<WppNets, String> {
    WppNets::parse("wppnets", "wppnets.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_file_has_the_published_experiments() {
    let of = |name: &str| WppNets::read(&Path::new("../../experiments").join(name)).unwrap().is_some();
    assert!(of("wppnets.toml") && !of("superres_sic.toml"));
    let experiment = parse(TEXT).unwrap();
    let paper = experiment.profile(ProfileName::Paper);
    let names: Vec<&str> = experiment.networks(paper).map(|(name, _)| name).collect();
    assert_eq!(names, ["SiC_x4", "SiC_x6", "SiC_x4_inaccurate", "FS", "FS_registered", "grass", "floor"]);
    let training = &paper.training;
    assert_eq!((training.length, training.batch, training.psi_steps), (Length::Epochs(500), 32, 20));
    assert_eq!((training.lambda, training.learning_rate, training.reference_patches), (0.02, 1e-4, 10_000));
    // Patches are centred but for sandstone; the wrong operator is wrong in its width alone.
    for (name, network) in experiment.networks(paper) {
        assert_eq!(network.centred, !name.starts_with("FS"), "{name}");
    }
    let sigma = |name: &str| match experiment.network[name].operator {
        Forward::Gaussian { sigma, kernel_size: 16 } => sigma,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(["SiC_x4", "SiC_x6", "SiC_x4_inaccurate"].map(sigma), [2.0, 3.0, 2.5]);
    assert_eq!(experiment.network["SiC_x4_inaccurate"].tests.len(), 4);
}

#[test]
fn faults_are_shown_where_they_are() {
    let line = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        let line = parse(&TEXT.replacen(from, to, 1)).unwrap_err();
        assert!(line.starts_with("wppnets.toml:") && line.lines().count() == 1, "{line}");
        line
    };
    assert!(line("factor = 4", "factor = 1").contains("network.SiC_x4.factor"));
    assert!(line("factor = 4", "facter = 4").contains("facter"));
    assert!(line("sigma = 2.0", "sigma = nan").contains("not a finite number"));
    assert!(line("{ steps = 6 }", "{ steps = 0 }").contains("length"));
    assert!(
        line("networks = [\"SiC_x4\"]", "networks = [\"SiC\"]")
            .contains("no section network.SiC; there is FS")
    );
    let renamed = TEXT
        .replace("network.SiC_x4]", "network.\"a b\"]")
        .replace("network.SiC_x4.", "network.\"a b\".")
        .replace("\"SiC_x4\"", "\"a b\"");
    assert!(parse(&renamed).unwrap_err().contains("letters, digits"));
    assert!(line("\"wppnets/test_img/ref_SiC.png\"", "\"../ref.png\"").contains("data folder"));
    let warm = line("validation_every = 500", "validation_every = 500\nwarmup_steps = 10");
    assert!(warm.contains("profile.paper.training.warmup_steps"), "{warm}");
    assert!(line("kind = \"wppnets\"", "kind = \"superresolution\"").contains("kind: not wppnets"));
    // Neither kind is taken for the other.
    assert!(Experiment::parse("wppnets", "wppnets.toml", TEXT).is_err());
}

/// The smallest run: one test image, two steps.
fn small() -> WppNets {
    parse(&TEXT.replacen("{ steps = 6 }", "{ steps = 2 }", 1)).unwrap()
}

#[test]
fn a_run_writes_table_network_and_log() {
    let root = tempfile::tempdir().unwrap();
    let experiment = small();
    let profile = experiment.profile(ProfileName::Smoke);
    let options = options(root.path());
    let outcome = run_wppnets(&experiment, profile, &DataSource::Synthetic, &options).unwrap();
    let csv = std::fs::read_to_string(root.path().join("table.csv")).unwrap();
    assert!(csv.starts_with(smalti_tables::table::CSV_HEADER));
    let starts: Vec<&str> = csv.lines().skip(1).map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(starts, ["bicubic", "wppnet", "bicubic", "wppnet"]);
    let rows = &outcome.rows;
    assert!(rows[0].data.ends_with(", whole") && rows[2].data.ends_with(", 40 px crop"), "{}", rows[2].data);
    assert!(rows[0].ours.psnr.unwrap().mean > 20.0 && rows[0].ours.psnr != rows[2].ours.psnr);
    assert!(rows[1].note.contains("2 steps of 2 crops"), "{}", rows[1].note);
    // Synthetic figures do not stand beside published ones.
    assert!(rows.iter().all(|row| row.published.psnr.is_none()));
    // The written network makes the shown image.
    let net = AcNet::load(&root.path().join("SiC_x4.safetensors")).unwrap();
    let shown = &outcome.shown[0];
    let again = net.infer(&shown.observation.as_ref().unwrap().0, 1 << 30).unwrap();
    assert!((again - &shown.results[1].image).abs().max().double_value(&[]) < 1e-5);
    assert_eq!(std::fs::read_dir(root.path().join("tensorboard/SiC_x4")).unwrap().count(), 1);
    assert!(!root.path().join("state").exists());
    let page = std::fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(page.contains("WPPNet") && page.contains("no pairs"));

    // A second run into the same folder begins its log anew.
    run_wppnets(&experiment, profile, &DataSource::Synthetic, &options).unwrap();
    assert_eq!(std::fs::read_dir(root.path().join("tensorboard/SiC_x4")).unwrap().count(), 1);
}

/// What `SiC_x4` has not: another factor, test images that are made here, crops cut from an image, an estimated operator.
#[test]
fn other_networks_run_as_well() {
    let names = ["SiC_x6", "SiC_x4_inaccurate", "FS_registered"];
    let text = TEXT.replacen("networks = [\"SiC_x4\"]", &format!("networks = {names:?}"), 1).replacen(
        "{ steps = 6 }",
        "{ steps = 2 }",
        1,
    );
    let experiment = parse(&text).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    let outcome = run_wppnets(&experiment, profile, &DataSource::Synthetic, &options).unwrap();
    let tests: usize = experiment.networks(profile).map(|(_, network)| network.tests.len()).sum();
    assert!(tests > 3 && outcome.rows.len() == 4 * tests, "{tests} {}", outcome.rows.len());
    for name in names {
        assert!(AcNet::load(&root.path().join(format!("{name}.safetensors"))).is_ok(), "{name}");
        let of = outcome.rows.iter().filter(|row| row.data.starts_with(&format!("{name}:"))).count();
        assert!(of >= 4, "{name}");
    }
    // The wider the blur, the harder to undo: sigma 2, 2.5 and 3.
    let bicubic: Vec<f64> = outcome
        .rows
        .iter()
        .filter(|row| {
            row.method == "bicubic" && row.data.contains("inaccurate") && row.data.ends_with("whole")
        })
        .map(|row| row.ours.psnr.unwrap().mean)
        .collect();
    // The first one is that of the file.
    assert!(bicubic.len() == 4 && bicubic[1] > bicubic[2] && bicubic[2] > bicubic[3], "{bicubic:?}");
    // Its stand-in is observed with sigma 2, too, unlike what the network is trained with; with another noise.
    assert!((bicubic[0] - bicubic[1]).abs() < 0.2 * (bicubic[1] - bicubic[2]), "{bicubic:?}");
}

/// What is wrong with the last network stops a run before the first.
#[test]
fn faults_come_first() {
    let text = TEXT
        .replacen("networks = [\"SiC_x4\"]", "networks = [\"SiC_x4\", \"FS_registered\"]", 1)
        .replacen("size = 50", "size = 999", 1);
    let experiment = parse(&text).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let other = tempfile::tempdir().unwrap();
    let options = options(other.path());
    let line = run_wppnets(&experiment, profile, &DataSource::Synthetic, &options).unwrap_err().to_string();
    assert!(line.contains("at least 999 x 999"), "{line}");
    assert!(!other.path().join("tensorboard").exists());
}

/// The same with the published operator, where it is at hand.
#[test]
fn the_published_operator_is_trained_with() {
    let data = ["../../data", "../../../shared/data"].map(|p| Path::new(env!("CARGO_MANIFEST_DIR")).join(p));
    let text = TEXT.replacen("networks = [\"SiC_x4\"]", "networks = [\"FS_registered\"]", 1).replacen(
        "{ steps = 6 }",
        "{ steps = 1 }",
        1,
    );
    let experiment = parse(&text).unwrap();
    let profile = experiment.profile(ProfileName::Smoke);
    let (_, network) = experiment.networks(profile).next().unwrap();
    let Some(folder) = data.iter().find(|d| d.join("wppnets/estimated_operator.pt").is_file()) else {
        println!("skipped: no data folder");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let source = DataSource::find(Some(folder), None, root.path(), &network.files(), &[]).unwrap();
    let outcome = run_wppnets(&experiment, profile, &source, &options(root.path())).unwrap();
    assert_eq!(outcome.rows.len(), 4);
    let net = AcNet::load(&root.path().join("FS_registered.safetensors")).unwrap();
    assert!(net.provenance["operator"].contains("estimated_operator.pt"), "{}", net.provenance["operator"]);
}

#[test]
fn a_cancelled_run_says_where_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let experiment = small();
    let cancel = Cancel::default();
    cancel.request();
    let profile = experiment.profile(ProfileName::Smoke);
    let data = DataSource::Synthetic;
    let error = run_wppnets(&experiment, profile, &data, &RunOptions { cancel, ..options(root.path()) })
        .unwrap_err()
        .to_string();
    assert!(error.contains("the same command goes on") && root.path().join("state").exists(), "{error}");
    assert!(!root.path().join("table.csv").exists());
}

#[test]
fn missing_files_are_named_before_any_training() {
    let root = tempfile::tempdir().unwrap();
    let experiment = small();
    let (_, network) = experiment.networks(experiment.profile(ProfileName::Smoke)).next().unwrap();
    let of = |files: &[String]| DataSource::find(Some(root.path()), None, root.path(), files, &[]);
    let line = of(&network.files()).unwrap_err().to_string();
    assert!(line.contains("val_SiC_x4.h5") && line.contains("--data"), "{line}");
    // A data folder that holds nothing of it gives way to the synthetic set, a named one does not.
    let found = DataSource::find(None, None, root.path(), &network.files(), &[]).unwrap();
    assert_eq!(found, DataSource::Synthetic);
    let truth = smalti_methods::synthetic::microstructure(48, 48, Seed::new(1), 0).unwrap();
    for file in network.files() {
        image_file::save_png8(&root.path().join(file), &truth).unwrap();
    }
    let data = of(&network.files()).unwrap();
    assert!(matches!(data, DataSource::Folder { named_by: NamedBy::Option, .. }));
    // An observation of the wrong size is noticed before the training.
    let folder = root.path().join("results");
    let profile = experiment.profile(ProfileName::Smoke);
    let line = run_wppnets(&experiment, profile, &data, &options(&folder)).unwrap_err().to_string();
    assert!(line.contains("observation of wppnets/test_img/hr_SiC.png") && line.contains("12, 12"), "{line}");
}
