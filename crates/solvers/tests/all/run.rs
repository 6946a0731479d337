//! The run loop: budgets, stops, cancellation, state files.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use smalti_solvers::{Cancel, CheckpointPolicy, Iteration, RunControl, Step, StopReason, run};
use std::path::Path;
use std::time::Duration;
use tch::{Kind, Tensor};

type Hook = Box<dyn FnMut(u64) -> Step>;

/// Adds `k + 1` to its state in step `k`, remembers the steps, and reports what the hook says.
struct Sum {
    state: f64,
    seen: Vec<u64>,
    hook: Hook,
    keeps: bool,
}

impl Sum {
    fn new(hook: impl FnMut(u64) -> Step + 'static) -> Self {
        Self { state: 0.0, seen: Vec::new(), hook: Box::new(hook), keeps: true }
    }

    fn quiet() -> Self {
        Self::new(|_| Step::default())
    }
}

impl Iteration for Sum {
    type Output = f64;

    fn name(&self) -> String {
        "adding up".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        self.state += (k + 1) as f64;
        self.seen.push(k);
        Ok((self.hook)(k))
    }

    fn finish(self) -> Result<f64> {
        Ok(self.state)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("state".into(), Tensor::from_slice(&[self.state]));
        self.keeps.then_some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.state = state.take("state", &[1], Kind::Double)?.double_value(&[0]);
        Ok(())
    }
}

fn keeping(path: &Path, every: Duration) -> RunControl {
    let (path, identity) = (path.to_owned(), "settings A".into());
    let policy = CheckpointPolicy { path, first: every, every, identity };
    RunControl::default().with_checkpoints(policy)
}

fn one_line(error: &Error, path: &Path) -> String {
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.starts_with(&path.display().to_string()), "{line}");
    line
}

#[test]
fn a_run_does_every_step_of_the_budget_once() {
    for steps in [0, 1, 7, 25] {
        let mut sum = Sum::quiet();
        let summary = run(&mut sum, steps, &RunControl::default()).unwrap();
        assert_eq!((summary.reason, summary.steps), (StopReason::Steps, steps));
        assert_eq!(sum.seen, (0..steps).collect::<Vec<_>>());
        assert_eq!(sum.finish().unwrap(), (steps * (steps + 1) / 2) as f64);
    }
}

#[test]
fn what_is_not_finite_stops_the_run_and_is_named() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        let mut sum = Sum::new(move |k| {
            let terms = vec![("data term", 1.0), ("prior", if k == 3 { value } else { 0.5 })];
            Step { terms, done: None }
        });
        let error = run(&mut sum, 9, &RunControl::default()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("prior became {shown} in iteration 3;")), "{error}");
        assert!(matches!(error, Error::NonFinite { iteration: 3, .. }));
        assert_eq!(sum.seen, [0, 1, 2, 3]);
    }
}

#[test]
fn a_state_with_nan_does_not_replace_the_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let control = keeping(&path, Duration::ZERO);
    let mut sum =
        Sum::new(|k| Step { terms: vec![("loss", if k == 4 { f64::NAN } else { 0.0 })], done: None });
    run(&mut sum, 9, &control).unwrap_err();
    let mut again = Sum::quiet();
    assert_eq!(run(&mut again, 9, &control).unwrap().steps, 9);
    assert_eq!((again.seen[0], again.state), (4, 45.0));
}

#[test]
fn an_iteration_that_is_done_ends_the_run() {
    let done = |k| Step { terms: Vec::new(), done: (k == 4).then(|| "flat".to_owned()) };
    let mut sum = Sum::new(done);
    let summary = run(&mut sum, 100, &RunControl::default()).unwrap();
    assert_eq!((summary.reason, summary.steps), (StopReason::Done("flat".into()), 5));
}

#[test]
fn a_cancelled_run_keeps_its_state_and_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/run.safetensors");
    let control = keeping(&path, Duration::from_secs(1000));
    let cancel = control.cancel.clone();
    let mut sum = Sum::new(move |k| {
        if k == 3 {
            cancel.request();
            std::thread::sleep(Duration::from_millis(30));
        }
        Step::default()
    });
    let summary = run(&mut sum, 10, &control).unwrap();
    assert_eq!((summary.reason, summary.steps), (StopReason::Cancelled(Some(path.clone())), 4));
    assert!(path.exists());

    let control = keeping(&path, Duration::from_secs(1000));
    let mut again = Sum::quiet();
    let summary = run(&mut again, 10, &control).unwrap();
    assert_eq!((summary.reason, summary.steps), (StopReason::Steps, 10));
    assert!(summary.elapsed >= Duration::from_millis(30), "{:?} without the steps before", summary.elapsed);
    assert_eq!((again.seen.clone(), again.state), ((4..10).collect(), 55.0));
    // A budget that the state has used up already: nothing to do.
    let mut idle = Sum::quiet();
    assert_eq!(run(&mut idle, 4, &control).unwrap().steps, 4);
    assert!(idle.seen.is_empty() && idle.state == 10.0);
}

#[test]
fn without_a_file_or_a_state_nothing_is_kept() {
    let requested = || {
        let cancel = Cancel::default();
        cancel.request();
        cancel
    };
    let control = RunControl::default().with_cancel(requested());
    let summary = run(&mut Sum::quiet(), 10, &control).unwrap();
    assert_eq!((summary.reason, summary.steps), (StopReason::Cancelled(None), 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let control = keeping(&path, Duration::ZERO).with_cancel(requested());
    let mut stateless = Sum { keeps: false, ..Sum::quiet() };
    assert_eq!(run(&mut stateless, 10, &control).unwrap().reason, StopReason::Cancelled(None));
    assert!(!path.exists());
}

#[test]
fn the_state_is_kept_along_the_way_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    run(&mut Sum::quiet(), 5, &keeping(&path, Duration::from_secs(1000))).unwrap();
    assert!(!path.exists());
    run(&mut Sum::quiet(), 5, &keeping(&path, Duration::ZERO)).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap().meta("run.steps").unwrap(), "5");
    smalti_solvers::run::discard(&path);
    smalti_solvers::run::discard(&path);
    assert!(!path.exists());
}

#[test]
fn the_first_state_is_kept_soon_and_the_next_ones_less_often() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut control = keeping(&path, Duration::from_secs(1000));
    control.checkpoints.as_mut().unwrap().first = Duration::from_millis(50);
    let mut slow = Sum::new(|_| {
        std::thread::sleep(Duration::from_millis(20));
        Step::default()
    });
    run(&mut slow, 12, &control).unwrap();
    // Once, after the third step (earlier on a busy machine), and not again.
    let steps: u64 = Checkpoint::load(&path).unwrap().meta_parsed("run.steps").unwrap();
    assert!((1..=3).contains(&steps), "kept after step {steps}");
}

#[test]
fn a_state_of_other_settings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    run(&mut Sum::quiet(), 5, &keeping(&path, Duration::ZERO)).unwrap();
    let mut control = keeping(&path, Duration::ZERO);
    control.checkpoints.as_mut().unwrap().identity = "settings B".into();
    let mut sum = Sum::quiet();
    let line = one_line(&run(&mut sum, 9, &control).unwrap_err(), &path);
    assert!(line.contains("other settings") && line.contains("delete it"), "{line}");
    assert!(sum.seen.is_empty() && path.exists());
}

#[test]
fn a_damaged_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let control = keeping(&path, Duration::ZERO);
    run(&mut Sum::quiet(), 5, &control).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&b""[..], b"no state", &good[..good.len() - 3], &good[..40], &flipped] {
        std::fs::write(&path, bytes).unwrap();
        let mut sum = Sum::quiet();
        let line = one_line(&run(&mut sum, 9, &control).unwrap_err(), &path);
        assert!(line.contains("damaged") && line.ends_with("delete it to start anew"), "{line}");
        assert!(sum.seen.is_empty());
    }
}

#[test]
fn a_state_that_lacks_something_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let control = keeping(&path, Duration::ZERO);
    let whole = || {
        let mut file = Checkpoint::default();
        file.tensors.insert("state".into(), Tensor::from_slice(&[1.0]));
        file.set_meta("run.identity", "settings A");
        file.set_meta("run.steps", 2);
        file
    };
    let mut without_tensor = whole();
    without_tensor.tensors.clear();
    let mut other_shape = whole();
    other_shape.tensors.insert("state".into(), Tensor::from_slice(&[1.0, 2.0]));
    let mut other_steps = whole();
    other_steps.set_meta("run.steps", "two");
    let mut without_identity = whole();
    without_identity.metadata.remove("run.identity");
    for (file, named) in [
        (without_tensor, "no tensor state"),
        (other_shape, "[2]"),
        (other_steps, "run.steps"),
        (without_identity, "run.identity"),
    ] {
        file.save(&path).unwrap();
        let mut sum = Sum::quiet();
        let line = one_line(&run(&mut sum, 9, &control).unwrap_err(), &path);
        assert!(line.contains(named), "{line}");
        assert!(sum.seen.is_empty());
    }
    whole().save(&path).unwrap();
    assert_eq!(run(&mut Sum::quiet(), 9, &control).unwrap().steps, 9);
}
