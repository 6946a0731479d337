//! What an unfinished run leaves behind so that the same command can go on from there.

use crate::outcome::Transport;
use crate::run::RunOptions;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result};
use smalti_priors::wpp::SquaredDistance;
use smalti_solvers::{Ended, Keep, Observer, Summary};
use std::path::PathBuf;
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// The folder `state/` within the folder of results. It is removed when the run has published its results: a
/// finished run is computed anew.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
    observer: Observer,
}

/// A reconstruction and the seconds that it took.
pub struct Reconstruction {
    /// The image, `[1, 1, H, W]`.
    pub image: Tensor,
    /// Wall-clock seconds of the process that finished it.
    pub seconds: f64,
    /// What the Wasserstein patch prior says about it, where it was made with that.
    pub transport: Option<Transport>,
}

/// Time between two checkpoints of a long computation.
const EVERY: Duration = Duration::from_secs(60);

impl State {
    /// The state of the run that `options` describe.
    pub fn of(options: &RunOptions) -> Self {
        let observer = Observer { cancel: options.cancel.clone(), keep: None };
        Self { folder: options.folder.join("state"), observer }
    }

    fn path(&self, name: &str) -> PathBuf {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.folder.join(format!("{plain}.safetensors"))
    }

    /// An observer that cancels on request and keeps the computation `name` under `identity`.
    pub fn observer(&self, name: &str, identity: &str) -> Observer {
        let keep = Keep { path: self.path(name), every: EVERY, identity: identity.into() };
        Observer { keep: Some(keep), ..self.observer.clone() }
    }

    /// A log for TensorBoard in `tensorboard/LOG` of the folder of results, of the computation that `observer` keeps: beside what is
    /// there where the computation goes on, in its place where it begins.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn events(&self, observer: &Observer, log: &str) -> Result<EventFile> {
        let folder = self.folder.with_file_name("tensorboard").join(log);
        let goes_on = observer.keep.as_ref().is_some_and(|keep| keep.path.exists());
        if !goes_on && folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|e| Error::file(&folder, "replacing", e))?;
        }
        EventFile::create(&folder)
    }

    /// Turns a cancelled run into the error that ends the program.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where `summary` says so.
    pub fn go_on(&self, summary: &Summary) -> Result<()> {
        match &summary.ended {
            Ended::Cancelled(_) => self.cancelled(),
            _ => Ok(()),
        }
    }

    /// Ends the program where somebody asked to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.observer.cancel.requested() { self.cancelled() } else { Ok(()) }
    }

    fn cancelled(&self) -> Result<()> {
        let kept = format!("{} holds the state: the same command goes on from there", self.folder.display());
        Err(Error::Cancelled { kept })
    }

    /// A finished piece of work `name`, where one with this `identity` was kept.
    ///
    /// # Errors
    /// [`Error::Content`] where the file is damaged.
    pub fn finished(&self, name: &str, identity: &str) -> Result<Option<Checkpoint>> {
        let path = self.path(&format!("{name} done"));
        if !path.exists() {
            return Ok(None);
        }
        let file = Checkpoint::load(&path)?;
        Ok((file.meta("identity")? == identity).then_some(file))
    }

    /// Keeps a finished piece of work and drops its intermediate state.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn finish(&self, name: &str, identity: &str, mut file: Checkpoint) -> Result<()> {
        file.set_meta("identity", identity);
        file.save(&self.path(&format!("{name} done")))?;
        smalti_solvers::run::discard(&self.path(name));
        Ok(())
    }

    /// [`State::finished`] for a reconstruction.
    ///
    /// # Errors
    /// [`Error::Content`] where the file is damaged.
    pub fn reconstruction(&self, name: &str, identity: &str, size: &[i64]) -> Result<Option<Reconstruction>> {
        let Some(mut file) = self.finished(name, identity)? else { return Ok(None) };
        let image = file.take("image", size, Kind::Float)?;
        let seconds = file.meta_parsed("seconds")?;
        let transport =
            file.metadata.contains_key("transport.distance").then(|| restored(&file)).transpose()?;
        Ok(Some(Reconstruction { image, seconds, transport }))
    }

    /// [`State::finish`] for a reconstruction.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn keep_reconstruction(&self, name: &str, identity: &str, done: &Reconstruction) -> Result<()> {
        let mut file = Checkpoint::default();
        file.tensors.insert("image".into(), done.image.to_device(Device::Cpu));
        file.set_meta("seconds", done.seconds);
        if let Some(Transport { distance, gap, patches, references, evaluations }) = done.transport {
            file.set_meta("transport.distance", distance.full());
            file.set_meta("transport.patches", patches);
            file.set_meta("transport.references", references);
            file.set_meta("transport.evaluations", evaluations);
            if let Some(gap) = gap {
                file.set_meta("transport.gap", gap);
            }
        }
        self.finish(name, identity, file)
    }

    /// Removes the folder: the results are published.
    pub fn discard(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn restored(file: &Checkpoint) -> Result<Transport> {
    let gap = file.metadata.contains_key("transport.gap");
    Ok(Transport {
        distance: SquaredDistance::from_full(file.meta_parsed("transport.distance")?),
        gap: gap.then(|| file.meta_parsed("transport.gap")).transpose()?,
        patches: file.meta_parsed("transport.patches")?,
        references: file.meta_parsed("transport.references")?,
        evaluations: file.meta_parsed("transport.evaluations")?,
    })
}
