//! Where a command computes, and where its unfinished work is kept.

use crate::arguments::RunOptions;
use crate::fault::Fault;
use smalti_base::device::prepare_process;
use smalti_base::lock::Lock;
use smalti_base::{Error, Result, Seed};
use smalti_methods::Run;
use smalti_solvers::Cancel;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use tch::Device;

/// Prepares the process, and finds the device.
///
/// # Errors
/// [`Error::Device`] where it is not there.
pub(crate) fn start(options: &RunOptions) -> Result<Device> {
    prepare_process(options.threads.map(usize::from));
    options.device.resolve()
}

/// A device for readers, with the threads of the processor.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => format!("cpu, {} threads", smalti_base::device::threads()),
        Device::Cuda(n) => format!("cuda:{n}"),
        other => format!("{other:?}"),
    }
}

/// Where work is kept: what is learned in a folder that was named, everything else in a hidden one beside the output, until it is
/// done.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    hidden: PathBuf,
    learned: Option<PathBuf>,
}

/// Folders that this process alone works in.
#[derive(Debug)]
pub(crate) struct Held {
    folders: Folders,
    _locks: Vec<Lock>,
}

impl Folders {
    /// Those of a result at `output`.
    pub(crate) fn beside(output: &Path, state: Option<&Path>) -> Self {
        let mut name = OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(".smalti");
        Self { hidden: output.with_file_name(name), learned: state.map(Path::to_owned) }
    }

    /// Makes the folders, and locks them.
    ///
    /// # Errors
    /// Where another process works there, or nothing can be written.
    pub(crate) fn hold(&self) -> Result<Held, Fault> {
        let mut locks = Vec::new();
        for folder in [Some(&self.hidden), self.learned.as_ref()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(|e| Error::file(folder, "writing", e))?;
            locks.push(Lock::acquire(&folder.join(".lock"), folder)?);
        }
        Ok(Held { folders: self.clone(), _locks: locks })
    }
}

impl Held {
    /// The run that learns, and the one that reconstructs.
    pub(crate) fn runs(&self, seed: Seed, device: Device, cancel: Cancel) -> [Run; 2] {
        let Folders { hidden, learned } = &self.folders;
        let run = |folder: &Path| Run::new(seed, device).with_cancel(cancel.clone()).in_folder(folder);
        [run(learned.as_ref().unwrap_or(hidden)), run(hidden)]
    }

    /// The work is done: what was learned stays in its folder where one was named, everything else goes.
    ///
    /// # Errors
    /// [`Error::File`] where the files of what was learned cannot be put there.
    pub(crate) fn done(self, learning: &Run, working: &Run) -> Result<()> {
        match &self.folders.learned {
            Some(folder) => learning.deliver(folder)?,
            None => learning.discard_state(),
        }
        working.discard_state();
        self.leave();
        Ok(())
    }

    /// Removes the hidden folder unless it holds unfinished work.
    pub(crate) fn leave(self) {
        let hidden = self.folders.hidden.clone();
        // Locks are given up, and their files with them.
        drop(self);
        let _ = fs::remove_dir(hidden.join("state"));
        let _ = fs::remove_dir(&hidden);
    }
}
