//! A run that is cancelled and resumed.

#![allow(clippy::unwrap_used)]

use smalti_base::Result;
use smalti_base::checkpoint::Checkpoint;
use smalti_solvers::{Cancel, CheckpointPolicy, Iteration, RunControl, Step, StopReason, run};
use std::time::Duration;

/// Cancels its own run in the step before `at`.
struct CancelAt<I> {
    inner: I,
    at: u64,
    cancel: Cancel,
}

impl<I: Iteration> Iteration for CancelAt<I> {
    type Output = I::Output;

    fn name(&self) -> String {
        self.inner.name()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        if k + 1 == self.at {
            self.cancel.request();
        }
        self.inner.step(k)
    }

    fn finish(self) -> Result<Self::Output> {
        self.inner.finish()
    }

    fn save(&self) -> Option<Checkpoint> {
        self.inner.save()
    }

    fn restore(&mut self, state: Checkpoint) -> Result<()> {
        self.inner.restore(state)
    }
}

/// The result and number of steps of a run that is cancelled after each of `stops` steps, every time resumed by
/// a computation made anew. Without stops it is an uninterrupted run.
pub(crate) fn in_pieces<I: Iteration>(
    steps: u64,
    stops: &[u64],
    mut make: impl FnMut() -> I,
) -> (I::Output, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let mut ends = stops.iter().copied().chain([0]);
    loop {
        let policy = CheckpointPolicy {
            path: path.clone(),
            first: Duration::from_secs(1000),
            every: Duration::from_secs(1000),
            identity: "these".into(),
        };
        let control = RunControl::default().with_checkpoints(policy);
        let at = ends.next().unwrap();
        let mut iteration = CancelAt { inner: make(), at, cancel: control.cancel.clone() };
        let summary = run(&mut iteration, steps, &control).unwrap();
        if let StopReason::Cancelled(file) = summary.reason {
            assert_eq!((summary.steps, file), (at, Some(path.clone())));
        } else {
            assert_eq!(ends.next(), None, "ended before it was cancelled: {summary:?}");
            return (iteration.finish().unwrap(), summary.steps);
        }
    }
}
