//! Runs that are stopped in the middle go on to the same table.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::smoke::options;
use smalti_base::{Error, Result, Seed, image_file};
use smalti_methods::synthetic::microstructure;
use smalti_solvers::Cancel;
use smalti_tables::data::{DataSource, NamedBy};
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::{ExperimentOutcome, TableRow};
use smalti_tables::{run::run, table};
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// Writes down what a run says, and asks it to stop where it says `stop`: in the step that says so, whatever the machine's speed.
struct Listener {
    stop: Option<&'static str>,
    cancel: Cancel,
    told: Arc<Mutex<Vec<String>>>,
}

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut |field: &tracing::field::Field, value: &dyn Debug| {
            if field.name() == "message" {
                let line = format!("{value:?}");
                if self.stop.is_some_and(|stop| line.contains(stop)) {
                    self.cancel.request();
                }
                self.told.lock().unwrap().push(line);
            }
        });
    }
}

/// The smoke profile with this seed on the images in `root` into `root/NAME`, stopped where it says `stop`; and what it said.
fn smoke(
    root: &Path,
    name: &str,
    seed: u64,
    stop: Option<&'static str>,
) -> (Result<ExperimentOutcome>, Vec<String>) {
    let data = DataSource::Folder { folder: root.join("images"), named_by: NamedBy::Option };
    let experiment = Experiment::parse("superres_sic", "superres_sic.toml", TEXT).unwrap();
    let options = RunOptions { seed: Seed::new(seed), ..options(&root.join(name)) };
    let told = Arc::default();
    let listener = Listener { stop, cancel: options.cancel.clone(), told: Arc::clone(&told) };
    let subscriber = tracing_subscriber::registry().with(listener);
    let outcome = tracing::subscriber::with_default(subscriber, || {
        run(&experiment, experiment.profile(ProfileName::Smoke), &data, &options)
    });
    let told = told.lock().unwrap().clone();
    (outcome, told)
}

fn images() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (k, name) in ["ref", "val", "test"].into_iter().enumerate() {
        let image = microstructure(128, 136, Seed::new(3), k as u64).unwrap();
        image_file::save_png8(&root.path().join(format!("images/sic/{name}.png")), &image).unwrap();
    }
    root
}

/// `table.csv` without seconds, of which notes tell, too.
fn without_seconds(outcome: &ExperimentOutcome) -> String {
    let plain = |row: &TableRow| {
        let mut words: Vec<&str> = row.note.split(' ').collect();
        let seconds = |word: &str| word.trim_end_matches([',', ';', ')']) == "s";
        for k in 1..words.len() {
            if seconds(words[k]) {
                words[k - 1] = "?";
            }
        }
        TableRow { seconds_mean: None, note: words.join(" "), ..row.clone() }
    };
    table::csv(&outcome.rows.iter().map(plain).collect::<Vec<_>>())
}

#[test]
fn a_stopped_run_goes_on_to_the_same_table() {
    let root = images();
    let whole = smoke(root.path(), "whole", 1, None).0.unwrap();
    let stopped = |stop| {
        let (stopped, told) = smoke(root.path(), "stopped", 1, Some(stop));
        let error = stopped.unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{stop}: {error}");
        told
    };
    let first = |told: &[String], what: &str| told.iter().find(|line| line.contains(what)).cloned();
    let goes_on = |told: &[String], what: &str, at: &str| {
        assert!(first(told, what).is_some_and(|line| line.contains(at)), "{what} at {at}: {told:#?}");
    };
    // In the training of a prior, before an estimate, in it; then to the end.
    goes_on(&stopped("training patchNR: 200 of"), "training patchNR", "100 of 1000");
    goes_on(&stopped("patchNR of sic/test.png"), "training patchNR", "300 of 1000");
    let told = stopped("MAP estimation: 24 of");
    assert_eq!(first(&told, "training"), None, "{told:#?}");
    goes_on(&told, "MAP estimation", "6 of 60");
    let folder = root.path().join("stopped");
    assert!(!folder.join("table.csv").exists() && folder.join("state").is_dir());
    let (resumed, told) = smoke(root.path(), "stopped", 1, None);
    assert_eq!(first(&told, "training"), None, "{told:#?}");
    goes_on(&told, "MAP estimation", "30 of 60");
    let resumed = resumed.unwrap();
    assert_eq!(without_seconds(&resumed), without_seconds(&whole));
    let training = |outcome: &ExperimentOutcome| outcome.curve.as_ref().unwrap().training.clone();
    assert_eq!(training(&resumed), training(&whole));
    for (ours, theirs) in resumed.shown[0].results.iter().zip(&whole.shown[0].results) {
        assert_eq!(ours.image, theirs.image, "{}", ours.key);
    }
    assert!(!folder.join("state").exists());
}

#[test]
fn state_of_other_settings_is_told_of_before_anything_is_trained_and_kept() {
    let root = images();
    let begin = |seed| smoke(root.path(), "run", seed, Some("training patchNR: 200 of 1000"));
    let state = || -> Vec<String> {
        let files = std::fs::read_dir(root.path().join("run/state")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("training")).collect()
    };
    let (stopped, told) = begin(1);
    assert!(matches!(stopped, Err(Error::Cancelled { .. })));
    let [first] = &state()[..] else { panic!("{:?}", state()) };
    assert!(!told.iter().any(|line| line.contains("begins anew")), "{told:?}");
    let (stopped, told) = begin(2);
    assert!(matches!(stopped, Err(Error::Cancelled { .. })));
    let anew = told.iter().position(|line| line.contains("patchnr: begins anew")).unwrap();
    assert!(told[anew].contains("was made with seed 1; that is kept"), "{}", told[anew]);
    assert!(told.iter().position(|line| line.contains("training patchNR")).unwrap() > anew, "{told:?}");
    assert!(state().len() == 2 && state().contains(first), "the state of before is kept");
    // Also where the other run is finished and published.
    smoke(root.path(), "run", 2, None).0.unwrap();
    assert_eq!(state(), std::slice::from_ref(first));
}
