//! Rows with the Wasserstein patch prior: what they report, and that the report survives an interruption.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::smoke::options;
use smalti_base::Error;
use smalti_priors::wpp::SquaredDistance;
use smalti_tables::data::DataSource;
use smalti_tables::experiment::settings::{AveragedSgd, Dual};
use smalti_tables::experiment::{Experiment, Method, Profile, ProfileName};
use smalti_tables::methods::{Methods, Task};
use smalti_tables::outcome::Transport;
use smalti_tables::run::run;
use smalti_tables::state::{Reconstruction, State};
use smalti_tables::superres::{Score, observe};
use tch::Tensor;

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

fn experiment() -> Experiment {
    Experiment::parse("superres_sic", "superres_sic.toml", TEXT).unwrap()
}

/// The smoke profile with these rows; `wpp_authors` has the settings of `wpp` but for the dual.
fn profile(experiment: &Experiment, methods: &[Method]) -> Profile {
    let mut profile = experiment.profile(ProfileName::Smoke).clone();
    profile.sets[0].methods = methods.to_vec();
    let wpp = profile.wpp.as_mut().unwrap();
    wpp.authors = Some(wpp.map);
    wpp.authors.as_mut().unwrap().dual = Dual::AveragedSgd(AveragedSgd { steps: 2, step: 1.0 });
    profile
}

#[test]
fn the_notes_hold_distance_gap_and_sharpness() {
    let root = tempfile::tempdir().unwrap();
    let (experiment, data) = (experiment(), DataSource::Synthetic);
    let profile = profile(&experiment, &[Method::Wpp, Method::WppAuthors]);
    let outcome = run(&experiment, &profile, &data, &options(&root.path().join("results"))).unwrap();
    let iterations = profile.wpp.unwrap().map.iterations;
    for (row, method) in outcome.rows.iter().zip(["wpp", "wpp_authors"]) {
        assert_eq!((row.method.as_str(), row.images), (method, 1));
        assert!(row.ours.psnr.unwrap().mean > 20.0, "{row:?}");
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
    // Two scales, two steps and a last transform in each iteration.
    let spent = format!(" {} c-transforms", iterations * 2 * 3);
    assert!(outcome.rows[1].note.contains(&spent), "{}", outcome.rows[1].note);
    assert!(!outcome.rows[0].note.contains(&spent), "{}", outcome.rows[0].note);
}

#[test]
fn the_distance_falls_and_the_result_depends_on_lambda() {
    let root = tempfile::tempdir().unwrap();
    let (experiment, data, options) = (experiment(), DataSource::Synthetic, options(root.path()));
    let mut profile = profile(&experiment, &[Method::Wpp]);
    let name = "sic/test.png";
    let seen = observe(name, &experiment, &profile, &data, &options).unwrap();
    let task = Task { name, operator: &seen.operator, observation: &seen.observation };
    let mut distances = Vec::new();
    for lambda in [1.0, 300.0] {
        profile.wpp.as_mut().unwrap().map.lambda = lambda;
        let methods = Methods::prepare(&experiment, &profile, &data, &options).unwrap();
        let bicubic = methods.reconstruct(Method::Bicubic, &task).unwrap();
        assert_eq!(bicubic.transport, None);
        let before = methods.distance(&bicubic.image).unwrap().unwrap();
        let done = methods.reconstruct(Method::Wpp, &task).unwrap();
        let after = done.transport.unwrap();
        assert_eq!(after.references, 500);
        distances.push((before.distance.full(), after.distance.full()));
        assert!(Score::of(&done.image, &seen.truth, experiment.crop).unwrap().psnr > 20.0);
        // The finished image is kept with its report.
        let again = methods.reconstruct(Method::Wpp, &task).unwrap();
        assert!(again.image.equal(&done.image) && again.transport == done.transport);
        assert_eq!(again.seconds.to_bits(), done.seconds.to_bits());
    }
    let [(before, weak), (same, strong)] = distances[..] else { panic!("{distances:?}") };
    assert_eq!(before.to_bits(), same.to_bits());
    assert!(strong < before && strong < 0.8 * weak, "{distances:?}");
}

#[test]
fn a_finished_reconstruction_is_kept_with_all_it_reports() {
    let root = tempfile::tempdir().unwrap();
    let state = State::of(&options(root.path()));
    let distance = SquaredDistance::from_full(0.1 + 0.2);
    let known = Transport { distance, gap: Some(1.0 / 3.0), patches: 5, references: 7, evaluations: 12_345 };
    for transport in [None, Some(known), Some(Transport { gap: None, ..known })] {
        let image = Tensor::ones([1, 1, 3, 2], tch::kind::FLOAT_CPU);
        let done = Reconstruction { image, seconds: 0.1, transport };
        state.keep_reconstruction("wpp x", "these", &done).unwrap();
        let back = state.reconstruction("wpp x", "these", &[1, 1, 3, 2]).unwrap().unwrap();
        assert_eq!((back.transport, back.seconds), (transport, 0.1));
        assert!(state.reconstruction("wpp x", "others", &[1, 1, 3, 2]).unwrap().is_none());
    }
}

#[test]
fn a_request_to_stop_is_heard() {
    let root = tempfile::tempdir().unwrap();
    let (experiment, data, options) = (experiment(), DataSource::Synthetic, options(root.path()));
    let profile = profile(&experiment, &[Method::Wpp]);
    let seen = observe("sic/test.png", &experiment, &profile, &data, &options).unwrap();
    let task = Task { name: "sic/test.png", operator: &seen.operator, observation: &seen.observation };
    let methods = Methods::prepare(&experiment, &profile, &data, &options).unwrap();
    options.cancel.request();
    assert!(matches!(methods.reconstruct(Method::Wpp, &task), Err(Error::Cancelled { .. })));
}
