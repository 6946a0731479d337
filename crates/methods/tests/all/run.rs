//! State of runs: pieces of work are made once, and only gone on with where nothing has changed.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed};
use smalti_methods::{Estimate, Persist, Run};
use smalti_solvers::{Cancel, Iteration, Step};
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn run(folder: &Path, seed: u64) -> Run {
    Run::new(Seed::new(seed), Device::Cpu).in_folder(folder)
}

fn estimate(value: f64) -> Estimate {
    Estimate::of(Tensor::full([1, 1, 2, 3], value, (Kind::Float, Device::Cpu)), value)
}

#[test]
fn work_is_made_once_for_every_name_identity_and_seed() {
    let root = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    let once = |seed: u64, name: &str, identity: &str| {
        let make = |_: &Run| {
            made.set(made.get() + 1);
            Ok(estimate(f64::from(made.get())))
        };
        run(root.path(), seed).once(name, identity, make).unwrap().seconds
    };
    assert_eq!(once(1, "tv img1.png", "a"), 1.0);
    assert_eq!(once(1, "tv img1.png", "a"), 1.0, "read back");
    assert_eq!(once(1, "tv img1.png", "b"), 2.0, "other settings");
    assert_eq!(once(2, "tv img1.png", "a"), 3.0, "another seed");
    assert_eq!(once(1, "tv img10.png", "a"), 4.0, "another name");
    assert_eq!((once(1, "tv img1.png", "a"), once(1, "tv img1.png", "b")), (1.0, 2.0), "both are kept");
    // A run drops what it has used, and leaves the rest.
    let again = run(root.path(), 1);
    assert_eq!(again.for_row("row").once("tv img1.png", "a", |_| Ok(estimate(9.0))).unwrap().seconds, 1.0);
    again.discard_state();
    assert_eq!((once(1, "tv img1.png", "b"), once(1, "tv img1.png", "a")), (2.0, 5.0));
}

#[test]
fn an_estimate_is_read_back_whole() {
    use smalti_methods::estimate::{ExtraImage, Line, LineStyle, Placement, Plot, UncertaintyMap};
    let image = |v: f64| Tensor::full([1, 1, 2, 2], v, (Kind::Float, Device::Cpu));
    let whole = Estimate {
        figures: [("gap".to_owned(), 0.1)].into(),
        note: "said".into(),
        draws: Some(image(0.2)),
        others: vec![ExtraImage {
            key: "map".into(),
            title: "MAP".into(),
            image: image(0.3),
            seconds: None,
            place: Placement::Before,
        }],
        maps: vec![UncertaintyMap {
            key: "std".into(),
            title: "Std".into(),
            caption: "c".into(),
            image: image(0.4),
        }],
        plots: vec![Plot {
            title: "t".into(),
            axes: ["x".into(), "y".into()],
            lines: vec![Line { points: vec![(0.0, 0.1 + 0.2)], style: LineStyle::First }],
            legend: ["a".into(), "b".into()],
            caption: String::new(),
        }],
        ..Estimate::of(image(0.1), 1.5)
    };
    let back = Estimate::from_checkpoint(whole.to_checkpoint().unwrap()).unwrap();
    assert_eq!((&back.image, &back.figures, &back.note), (&whole.image, &whole.figures, &whole.note));
    assert_eq!((back.draws, back.seconds, back.plots), (whole.draws, whole.seconds, whole.plots));
    assert_eq!((&back.others[0].image, back.others[0].place), (&whole.others[0].image, Placement::Before));
    assert_eq!((&back.maps[0].image, &back.maps[0].caption), (&whole.maps[0].image, &whole.maps[0].caption));
    assert!(Estimate::from_checkpoint(Checkpoint::default()).is_err());
}

/// Counts its steps, and asks to stop after some.
struct Counter {
    steps: u64,
    stop: Option<(u64, Cancel)>,
}

impl Iteration for Counter {
    type Output = u64;

    fn name(&self) -> String {
        "counting".into()
    }

    fn step(&mut self, _k: u64) -> Result<Step> {
        self.steps += 1;
        if let Some((at, cancel)) = &self.stop
            && self.steps == *at
        {
            cancel.request();
        }
        Ok(Step::default())
    }

    fn finish(self) -> Result<u64> {
        Ok(self.steps)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.set_meta("steps", self.steps);
        Some(file)
    }

    fn restore(&mut self, file: Checkpoint) -> Result<()> {
        self.steps = 100 + file.meta_parsed::<u64>("steps")?;
        Ok(())
    }
}

#[test]
fn an_interrupted_iteration_goes_on_with_the_same_settings_only() {
    let root = tempfile::tempdir().unwrap();
    let count = |identity: &str, stop: Option<u64>| {
        let cancel = Cancel::default();
        let run = run(root.path(), 1).with_cancel(cancel.clone());
        let stop = stop.map(|at| (at, cancel));
        run.once("work", identity, |run| {
            let (steps, _) = run.iterate("count", 10, Counter { steps: 0, stop })?;
            Ok(estimate(steps as f64))
        })
        .map(|done| done.seconds)
    };
    let stopped = count("a", Some(4)).unwrap_err();
    assert!(matches!(stopped, Error::Cancelled { .. }) && stopped.to_string().contains("state"), "{stopped}");
    assert_eq!(count("b", None).unwrap(), 10.0, "begins anew with other settings");
    // Four steps before, told by the hundred of `restore`, and six more.
    assert_eq!(count("a", None).unwrap(), 110.0, "goes on where it was stopped");
    let left: Vec<String> = std::fs::read_dir(root.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.len() == 2 && left.iter().all(|name| name.starts_with("work-done-")), "{left:?}");
}

#[test]
fn a_finished_piece_of_work_leaves_nothing_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path().join("state")).map_or(0, Iterator::count);
    let of = |run: &Run| {
        run.once("whole", "", |run| {
            let part = run.once("part", "", |_| Ok(estimate(1.0)))?;
            assert!(files() > 0);
            Ok(estimate(part.seconds))
        })
        .unwrap()
    };
    of(&run(folder.path(), 1));
    assert_eq!(files(), 1);
    // Another process reads the whole back, and knows nothing of the part.
    let again = run(folder.path(), 1);
    of(&again);
    again.discard_state();
    assert_eq!(files(), 0);
}

/// Files of results are those of the identity that made them, whoever else has worked in the folder, and whichever process delivers.
#[test]
fn files_of_results_stay_with_their_identity_until_they_are_delivered() {
    let root = tempfile::tempdir().unwrap();
    let make = |seed: u64, text: &str| {
        let run = run(root.path(), seed);
        run.once("whole", "", |whole| {
            let made = whole.once("part", "", |part| {
                part.publish("row.safetensors", |path| {
                    smalti_base::files::write_atomically(path, text.as_bytes())
                })?;
                assert!(part.events("training", "row")?.is_some());
                Ok(estimate(1.0))
            })?;
            Ok(estimate(made.seconds))
        })
        .unwrap();
        run
    };
    make(1, "first");
    make(2, "second");
    let out = root.path().join("out");
    assert!(
        !out.exists()
            && !root.path().join("row.safetensors").exists()
            && !root.path().join("tensorboard").exists()
    );
    // Another process, which makes nothing.
    let again = make(1, "never written");
    again.deliver(&out).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("row.safetensors")).unwrap(), "first");
    assert_eq!(std::fs::read_dir(out.join("tensorboard/row")).unwrap().count(), 1);
    again.discard_state();
    assert_eq!(std::fs::read_to_string(out.join("row.safetensors")).unwrap(), "first");
    let other = make(2, "never written");
    other.deliver(&root.path().join("other")).unwrap();
    assert_eq!(std::fs::read_to_string(root.path().join("other/row.safetensors")).unwrap(), "second");
    other.discard_state();
    assert!(!root.path().join("state").exists());
}

#[test]
fn a_run_without_a_folder_keeps_nothing() {
    let run = Run::new(Seed::new(1), Device::Cpu);
    assert_eq!(run.once("work", "", |_| Ok(estimate(1.0))).unwrap().seconds, 1.0);
    assert_eq!(run.once("work", "", |_| Ok(estimate(2.0))).unwrap().seconds, 2.0);
    assert!(run.events("stage", "log").unwrap().is_none());
    let cancel = Cancel::default();
    cancel.request();
    let error = run.with_cancel(cancel).once("work", "", |_| Ok(estimate(3.0))).unwrap_err();
    assert!(error.to_string().contains("nothing was kept"), "{error}");
}
