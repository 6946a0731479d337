//! Sweeps: which experiments they make of a file, and what is wrong with them.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::smoke::options;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::ProfileName;
use smalti_tables::sweep::{self, Sweep};
use std::path::Path;

const SIC: &str = "../../experiments/superres_sic.toml";
const CHAINS: &str = "../../experiments/langevin_ct.toml";

fn experiments(text: &str, file: &str, image: Option<&str>) -> Result<Vec<String>, String> {
    let sweep: Sweep = text.parse()?;
    let all =
        sweep.experiments(Path::new(file), ProfileName::Smoke, image).map_err(|failure| failure.render())?;
    Ok(all
        .into_iter()
        .map(|(label, experiment)| {
            let profile = experiment.profile(ProfileName::Smoke);
            let set = &profile.sets[0];
            assert_eq!((profile.sets.len(), set.methods.len()), (1, 1));
            format!("{label}; {}; {}", set.images.join(" "), profile.scenes[0].data.references.join(" "))
        })
        .collect())
}

#[test]
fn a_sweep_is_one_row_on_the_validation_image_for_every_value() {
    let found = experiments("l2_tv.weight.half_squared_errors=1e-4, 2e-4", SIC, None).unwrap();
    let of = |v| format!("l2_tv weight.half_squared_errors = {v}; sic/val.png; sic/ref.png");
    assert_eq!(
        found,
        [of("1e-4"), of("2e-4")].map(|s| s.replace("1e-4", "0.0001").replace("2e-4", "0.0002"))
    );
    let found = experiments("l2_tv.iterations=5", SIC, Some("sic/test.png")).unwrap();
    assert_eq!(found, ["l2_tv iterations = 5; sic/test.png; sic/ref.png"]);
    // Nothing is learned from the image that settings are chosen on.
    let found = experiments("patchnr_mean.weight.likelihood.lambda=5.0", CHAINS, None).unwrap();
    assert!(
        found[0].contains("; ct/train3.png; ct/train1.png ct/train2.png ct/train4.png ct/train5.png"),
        "{found:?}"
    );
}

#[test]
fn faults_are_one_line() {
    let line = |text: &str, image: Option<&str>| {
        let line = experiments(text, SIC, image).unwrap_err();
        line.lines().next().unwrap().to_owned()
    };
    assert!(line("l2_tv", None).contains("ROW.KEY=V,V"));
    assert!(line("l2_tv=3", None).contains("names no setting of a row"));
    let told = line("l2_tv.wieght=3", None);
    assert!(
        told.contains("a row of profile smoke (alr, dpir, epll, l2_tv, patchnr, wpp)")
            && told.contains("l2_tv.wieght"),
        "{told}"
    );
    assert!(line("tv.iterations=3", None).contains("tv.iterations"));
    let told = line("l2_tv.iterations=0", None);
    assert!(told.contains("with l2_tv iterations = 0") && told.contains("lower than 1, got 0"), "{told}");
    assert!(line("l2_tv.iterations=many", None).contains("methods.l2_tv.iterations"));
    for image in ["sic/*.png", "sic/./ref.png", "sic//ref.png", "../sic/ref.png"] {
        let told = line("l2_tv.iterations=3", Some(image));
        assert!(told.contains("the name of one image within the data folder"), "{told}");
    }
    assert!(line("l2_tv.iterations=3", Some("sic/ref.png")).contains("the only one that is learned from"));
}

#[test]
fn rows_are_called_by_their_values() {
    let root = tempfile::tempdir().unwrap();
    let sweep: Sweep = "l2_tv.weight.half_squared_errors=1e-5,1e-1".parse().unwrap();
    let experiments = sweep.experiments(Path::new(SIC), ProfileName::Smoke, None).unwrap();
    let rows = sweep::run(&experiments, &DataSource::Synthetic, &options(root.path())).unwrap();
    let titles: Vec<&str> = rows.iter().map(|row| row.title.as_str()).collect();
    assert_eq!(
        titles,
        ["l2_tv weight.half_squared_errors = 0.00001", "l2_tv weight.half_squared_errors = 0.1"]
    );
    let psnr = |k: usize| rows[k].ours.psnr.unwrap().mean;
    assert!(psnr(0) > psnr(1) + 1.0, "{} {}", psnr(0), psnr(1));
    assert!(rows[0].data.contains("synthetic/val"), "{}", rows[0].data);
    assert!(!root.path().join("state").exists());
}
