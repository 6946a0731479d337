//! The one loop behind MAP estimation, training and sampling.

use crate::progress::Progress;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A computation in steps.
pub trait Iteration {
    /// What the steps add up to.
    type Output;

    /// What is being done, for progress and logs, e.g. `training patchNR`.
    fn name(&self) -> String;

    /// Does step `k`, counted from 0.
    ///
    /// Everything random in it depends on `k` and the seed only, so that a run resumed from a checkpoint goes
    /// on as the uninterrupted one.
    ///
    /// # Errors
    /// Whatever the step meets.
    fn step(&mut self, k: u64) -> Result<Step>;

    /// The result.
    ///
    /// # Errors
    /// Whatever making the result meets.
    fn finish(self) -> Result<Self::Output>;

    /// The state after the steps done so far; `None` where it is not worth keeping.
    fn save(&self) -> Option<Checkpoint> {
        None
    }

    /// Goes back to a state made by [`Iteration::save`].
    ///
    /// # Errors
    /// [`Error::Content`] where the state is not one of this computation.
    fn restore(&mut self, _state: Checkpoint) -> Result<()> {
        Ok(())
    }
}

/// What one step reports.
#[derive(Debug, Default)]
pub struct Step {
    /// Named values to watch; the loop stops with an error where one is not finite.
    pub terms: Vec<(&'static str, f64)>,
    /// Where the computation is done before its last step: the reason.
    pub done: Option<String>,
}

/// A request to stop, shared between the loop and whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the loop to stop after the current step.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A request that is made by setting the flag, as handlers of signals do.
impl From<Arc<AtomicBool>> for Cancel {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

/// Where, how often and under which name the state is kept.
#[derive(Debug, Clone)]
pub struct CheckpointPolicy {
    /// The checkpoint file. A run starts from it where it is there.
    pub path: PathBuf,
    /// Time until the first checkpoint: seconds, so that little is lost where a run is ended early.
    pub first: Duration,
    /// Time between two checkpoints after it.
    pub every: Duration,
    /// All settings that the state depends on; a file with other settings is refused.
    pub identity: String,
}

/// What may stop a run, and what is kept of it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunControl {
    /// Request to stop.
    pub cancel: Cancel,
    /// Checkpoints, where wanted.
    pub checkpoints: Option<CheckpointPolicy>,
}

impl RunControl {
    /// The same, stopped by requests to `cancel`.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The same with checkpoints; none: without.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoints: impl Into<Option<CheckpointPolicy>>) -> Self {
        self.checkpoints = checkpoints.into();
        self
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StopReason {
    /// All steps were done.
    Steps,
    /// The computation said it was done, and why.
    Done(String),
    /// Somebody asked; the file holds the state, where one is kept.
    Cancelled(Option<PathBuf>),
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Why it ended.
    pub reason: StopReason,
    /// Steps done, those before a resume counted in.
    pub steps: u64,
    /// Time of these steps.
    pub elapsed: Duration,
}

/// Runs `iteration` for at most `steps` steps, those before a resume counted in, until it is done or somebody cancels; then the
/// result is [`Iteration::finish`]'s. The terms are logged about every tenth of the way, in a `tracing` span, which
/// `tracing-indicatif` shows as a bar with the time left where the feature `progress` is on.
///
/// # Errors
/// Those of the steps; [`Error::NonFinite`] naming term and iteration where a term is NaN or infinite;
/// [`Error::File`] where a checkpoint cannot be written or read.
pub fn run<I: Iteration>(iteration: &mut I, steps: u64, control: &RunControl) -> Result<RunSummary> {
    let policy = control.checkpoints.as_ref();
    let (mut k, before) = match policy {
        Some(policy) if policy.path.exists() => resume(iteration, policy)?,
        _ => (0, Duration::ZERO),
    };
    let progress = Progress::new(&iteration.name(), k, steps);
    let _entered = progress.enter();
    let start = Instant::now();
    let elapsed = || before + start.elapsed();
    let mut kept = Instant::now();
    let mut due = policy.map(|policy| policy.first);
    let reason = loop {
        if k >= steps {
            break StopReason::Steps;
        }
        if control.cancel.requested() {
            let path = policy.map(|policy| save(iteration, policy, k, elapsed())).transpose()?.flatten();
            break StopReason::Cancelled(path);
        }
        let step = iteration.step(k)?;
        step.terms.iter().try_for_each(|&(term, value)| finite(term, k, value))?;
        k += 1;
        progress.advance();
        if k % (steps / 10).max(1) == 0 || k == steps {
            tracing::info!("{}: {k} of {}{}", iteration.name(), steps, described(&step.terms));
        }
        if let Some(why) = step.done {
            break StopReason::Done(why);
        }
        if let (Some(policy), Some(time)) = (policy, due)
            && kept.elapsed() >= time
        {
            save(iteration, policy, k, elapsed())?;
            (kept, due) = (Instant::now(), Some(policy.every));
        }
    };
    Ok(RunSummary { reason, steps: k, elapsed: elapsed() })
}

/// [`Error::NonFinite`] where `value` is: for steps that would go on with it.
pub(crate) fn finite(term: &str, iteration: u64, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { term: term.into(), iteration, value }) }
}

/// `, objective 1.2345, prior -3.4` for logs.
fn described(terms: &[(&str, f64)]) -> String {
    terms.iter().map(|(name, value)| format!(", {name} {value:.5}")).collect()
}

fn save<I: Iteration>(
    iteration: &I,
    policy: &CheckpointPolicy,
    k: u64,
    elapsed: Duration,
) -> Result<Option<PathBuf>> {
    let Some(mut state) = iteration.save() else { return Ok(None) };
    state.set_meta("run.steps", k);
    state.set_meta("run.seconds", elapsed.as_secs_f64());
    state.metadata.insert("run.identity".into(), policy.identity.clone());
    state.save(&policy.path)?;
    tracing::info!("state after step {k} kept in {}", policy.path.display());
    Ok(Some(policy.path.clone()))
}

/// Steps done, and the time that they took.
fn resume<I: Iteration>(iteration: &mut I, policy: &CheckpointPolicy) -> Result<(u64, Duration)> {
    const START_ANEW: &str = "delete it to start anew";
    let state = Checkpoint::load(&policy.path).map_err(|error| match error {
        Error::Content { path, problem, .. } => Error::content(&path, problem, START_ANEW),
        other => other,
    })?;
    if state.meta("run.identity")? != policy.identity {
        let problem = "was made by a run with other settings or data";
        return Err(Error::content(
            &policy.path,
            problem,
            format!("{START_ANEW}, or go back to its settings"),
        ));
    }
    let k = state.meta_parsed("run.steps")?;
    // Files of earlier versions have no time.
    let seconds =
        if state.metadata.contains_key("run.seconds") { state.meta_parsed("run.seconds")? } else { 0.0 };
    let before = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    iteration.restore(state)?;
    tracing::info!("going on after step {k}, from {}", policy.path.display());
    Ok((k, before))
}

/// Removes a checkpoint that is no longer needed; one that is not there is no error.
pub fn discard(path: &Path) {
    let _ = std::fs::remove_file(path);
}
