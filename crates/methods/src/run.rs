//! How computations run: seed, device, a request to stop, and state that the same command goes on from.

use smalti_base::checkpoint::{Checkpoint, text_hash};
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, files};
use smalti_solvers::{Cancel, CheckpointPolicy, Iteration, RunControl, RunSummary, StopReason, run};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tch::Device;

/// Where and how a computation runs.
///
/// With a folder, unfinished work is kept in `state/` within it: intermediate states of iterations after five seconds, every
/// minute and on a request to stop, every finished piece of work, and its files of results, such as trained weights, until
/// [`Run::deliver`] puts them where readers look. A piece of work is known by its name and its *identity*, a text of all that
/// it depends on; the file's name holds a hash of the identity, so that two of one name do not meet, and nothing is gone on with or
/// overwritten that was made with other settings, data or seed.
#[derive(Debug, Clone)]
pub struct Run {
    /// The seed of everything random.
    pub seed: Seed,
    /// Where tensors are computed.
    pub device: Device,
    cancel: Cancel,
    folder: Option<PathBuf>,
    scene: String,
    row: String,
    name: String,
    identity: String,
    /// The files of state that this run has to do with, over all its parts.
    used: Rc<RefCell<BTreeSet<PathBuf>>>,
    /// The folders of state that hold files of results, over all its parts.
    results: Rc<RefCell<BTreeSet<PathBuf>>>,
}

/// What a file of a finished piece of work can hold.
pub trait Persist: Sized {
    /// As a checkpoint.
    ///
    /// # Errors
    /// Whatever copying tensors meets.
    fn to_checkpoint(&self) -> Result<Checkpoint>;

    /// Back from one, on the CPU.
    ///
    /// # Errors
    /// [`Error::Content`] where the file does not hold one.
    fn from_checkpoint(file: Checkpoint) -> Result<Self>;
}

/// Time until the first checkpoint of a long computation, and between two of them after that.
const CHECKPOINTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

impl Run {
    /// A run that keeps nothing.
    pub fn new(seed: Seed, device: Device) -> Self {
        let (name, identity) = (String::new(), format!("seed {}", seed.value()));
        let (scene, row) = (String::new(), String::new());
        let (cancel, used, results) = (Cancel::default(), Rc::default(), Rc::default());
        Self { seed, device, cancel, folder: None, scene, row, name, identity, used, results }
    }

    /// The same for one of several scenes of a table, which have names; the table's only one has none.
    #[must_use]
    pub fn in_scene(&self, scene: &str) -> Self {
        if scene.is_empty() {
            return self.clone();
        }
        Self { scene: scene.to_owned(), ..self.part(scene, &format!("scene {scene}")) }
    }

    /// The same for the row `row` of a table: what its files of results are called.
    #[must_use]
    pub fn for_row(&self, row: &str) -> Self {
        Self { row: row.to_owned(), ..self.clone() }
    }

    /// What files of results are called: after scene and row.
    pub fn row(&self) -> String {
        let row = if self.row.is_empty() { "learned" } else { &self.row };
        if self.scene.is_empty() { row.to_owned() } else { format!("{}-{row}", self.scene) }
    }

    /// The seed of what the networks called `title` learn, another for every scene.
    pub fn seed_of(&self, title: &str) -> Seed {
        self.seed.derive(format!("{title} {}", self.scene).trim_end(), 0)
    }

    /// The same, ended by `cancel`.
    #[must_use]
    pub fn with_cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// The same with its state in `folder`.
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// The run of a part of the work, with a name and an identity of its own within this one.
    #[must_use]
    pub fn part(&self, name: &str, identity: &str) -> Self {
        let name = if self.name.is_empty() { name.to_owned() } else { format!("{} {name}", self.name) };
        Self { name, identity: format!("{}; {identity}", self.identity), ..self.clone() }
    }

    /// Ends the computation where somebody asked to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancel.requested() { Err(self.cancelled()) } else { Ok(()) }
    }

    fn cancelled(&self) -> Error {
        let kept = match self.state() {
            Some(state) => {
                format!("{} holds the state: the same command goes on from there", state.display())
            }
            None => "nothing was kept".to_owned(),
        };
        Error::Cancelled { kept }
    }

    fn state(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("state"))
    }

    /// The file of the piece of work of this run, or of a `stage` of it.
    fn path(&self, stage: &str) -> Option<PathBuf> {
        let (name, stage) = (plain(&self.name), plain(stage).replace('-', "_"));
        let path = self.state()?.join(format!("{name}-{stage}-{}.safetensors", self.hash()));
        self.used.borrow_mut().insert(path.clone());
        Some(path)
    }

    /// The folder of the files of results of this piece of work.
    fn results(&self) -> Option<PathBuf> {
        let path = self.state()?.join(format!("{}-results-{}", plain(&self.name), self.hash()));
        self.results.borrow_mut().insert(path.clone());
        Some(path)
    }

    /// A short name of the identity.
    fn hash(&self) -> String {
        text_hash(&self.identity).chars().take(12).collect()
    }

    /// Runs `iteration` for at most `steps` steps, from the state kept as `stage` of this piece of work where there is one.
    ///
    /// # Errors
    /// Those of the iteration; [`Error::Cancelled`] on request, after its state was kept.
    pub fn iterate<I: Iteration>(
        &self,
        stage: &str,
        steps: u64,
        mut iteration: I,
    ) -> Result<(I::Output, RunSummary)> {
        let checkpoints = self.path(stage).map(|path| CheckpointPolicy {
            path,
            first: CHECKPOINTS[0],
            every: CHECKPOINTS[1],
            identity: self.identity.clone(),
        });
        let control = RunControl::default().with_cancel(self.cancel.clone()).with_checkpoints(checkpoints);
        let summary = run(&mut iteration, steps, &control)?;
        if let StopReason::Cancelled(_) = summary.reason {
            return Err(self.cancelled());
        }
        Ok((iteration.finish()?, summary))
    }

    /// A piece of work that is made once: read back where it was finished before, else made by `make` and kept.
    ///
    /// # Errors
    /// Those of `make`; [`Error::Content`] where a kept file is damaged, [`Error::File`] where none can be written.
    pub fn once<T: Persist>(
        &self,
        name: &str,
        identity: &str,
        make: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let restore = |(), file| T::from_checkpoint(file);
        self.once_from(name, identity, (), |(), run| make(run), (T::to_checkpoint, restore))
    }

    /// [`Run::once`] for something that is made or restored from `blank`, such as a network without its weights, and `save`d as a
    /// checkpoint.
    ///
    /// # Errors
    /// Those of [`Run::once`], of `save` and of `restore`.
    pub fn once_from<B, T>(
        &self,
        name: &str,
        identity: &str,
        blank: B,
        make: impl FnOnce(B, &Self) -> Result<T>,
        (save, restore): (impl FnOnce(&T) -> Result<Checkpoint>, impl FnOnce(B, Checkpoint) -> Result<T>),
    ) -> Result<T> {
        self.check()?;
        let part = self.part(name, identity);
        let Some(path) = part.path("done") else { return make(blank, &part) };
        let results = part.results();
        if path.exists() {
            let mut file = Checkpoint::load(&path).map_err(|error| match error {
                Error::Content { path, problem, .. } => {
                    Error::content(&path, problem, "delete it to start anew")
                }
                other => other,
            })?;
            if file.metadata.remove("identity").as_deref() == Some(&part.identity) {
                return restore(blank, file);
            }
        }
        part.warn_of_others();
        let before = (self.used.borrow().clone(), self.results.borrow().clone());
        let made = make(blank, &part)?;
        // What it consists of may have made files of results, too: another process will know the whole only.
        let within: Vec<PathBuf> = self.results.borrow().difference(&before.1).cloned().collect();
        for (from, to) in within.iter().filter(|from| from.is_dir()).zip(results.iter().cycle()) {
            files::link_tree(from, to)?;
            std::fs::remove_dir_all(from).map_err(|e| Error::file(from, "removing", e))?;
        }
        let mut file = save(&made)?;
        file.set_meta("identity", &part.identity);
        file.save(&path)?;
        part.drop_stages(&path);
        // What its parts kept is in it.
        let parts: Vec<PathBuf> = self.used.borrow().difference(&before.0).cloned().collect();
        parts.iter().for_each(|path| smalti_solvers::run::discard(path));
        Ok(made)
    }

    /// Files of the state folder with the name of this piece of work, whatever their stage and identity.
    fn namesakes(&self) -> Vec<PathBuf> {
        let own = plain(&self.name);
        let entries = self.state().and_then(|state| std::fs::read_dir(state).ok());
        // NAME-STAGE-HASH, where only the name may have further hyphens.
        let named = |path: &PathBuf| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.and_then(|stem| stem.rsplitn(3, '-').nth(2)).is_some_and(|name| name == own)
        };
        entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect()
    }

    /// Says before the work that there is some of the same name that is not gone on with.
    fn warn_of_others(&self) {
        let own = self.hash();
        let foreign = |path: &PathBuf| {
            path.is_file() && !path.to_string_lossy().contains(&own) && !self.used.borrow().contains(path)
        };
        if let Some(other) = self.namesakes().iter().find(|path| foreign(path)) {
            let with = match made_with_seed(other) {
                Some(seed) if seed != self.seed.value().to_string() => {
                    format!("seed {seed}; that is kept, and a run with that seed goes on from it")
                }
                _ => "other settings or data; that is kept".to_owned(),
            };
            tracing::warn!("{}: begins anew, for {} was made with {with}", self.name, other.display());
        }
    }

    /// Removes the states of iterations that led to a finished piece of work.
    fn drop_stages(&self, done: &Path) {
        let own = self.hash();
        for path in self.namesakes() {
            if path != done && path.to_string_lossy().contains(&own) {
                smalti_solvers::run::discard(&path);
            }
        }
    }

    /// A log for TensorBoard, delivered as `tensorboard/LOG`, of the iteration `stage`: beside what is there where that goes on, in
    /// its place where it begins; `None` for a run without a folder.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn events(&self, stage: &str, log: &str) -> Result<Option<EventFile>> {
        let (Some(results), Some(state)) = (self.results(), self.path(stage)) else { return Ok(None) };
        let folder = results.join("tensorboard").join(log);
        if !state.exists() && folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|e| Error::file(&folder, "replacing", e))?;
        }
        EventFile::create(&folder).map(Some)
    }

    /// Writes a file of results, such as trained weights, where the run has a folder: with its state, until [`Run::deliver`].
    ///
    /// # Errors
    /// Those of `save`.
    pub fn publish(&self, file: &str, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.results().map_or(Ok(()), |folder| save(&folder.join(file)))
    }

    /// Puts the files of results of all pieces of work of this run into `folder`, also of those that an earlier process finished.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn deliver(&self, folder: &Path) -> Result<()> {
        let there = self.results.borrow();
        there.iter().filter(|from| from.is_dir()).try_for_each(|from| files::link_tree(from, folder))
    }

    /// Removes the state that this run, with all its parts, has used: its results are published. What other settings, data or seeds
    /// have left unfinished stays.
    pub fn discard_state(&self) {
        self.used.take().iter().for_each(|path| smalti_solvers::run::discard(path));
        for folder in self.results.take() {
            // One that is not there is no error.
            let _ = std::fs::remove_dir_all(folder);
        }
        if let Some(state) = self.state() {
            // Fails where something is left in it.
            let _ = std::fs::remove_dir(state);
        }
    }
}

/// The seed of the run that made a file of state, where it tells.
fn made_with_seed(path: &Path) -> Option<String> {
    let file = Checkpoint::load(path).ok()?;
    let identity = file.metadata.get("identity").or_else(|| file.metadata.get("run.identity"))?;
    Some(identity.strip_prefix("seed ")?.split(';').next()?.to_owned())
}

/// A name as part of a file's name.
fn plain(name: &str) -> String {
    name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
