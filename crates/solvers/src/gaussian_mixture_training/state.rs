//! How far the training of a Gaussian mixture is, in memory and in checkpoints.

use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use smalti_priors::GaussianMixture;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const STAGE: &str = "training.stage";

/// What the next step does, and with what.
pub(super) enum Stage {
    /// Seeds k-means.
    Seeds,
    /// Goes on with k-means.
    Clusters {
        /// Its centres: float64 `[K, d]`.
        centres: Tensor,
        /// Steps of Lloyd done.
        done: u64,
    },
    /// Goes on with EM.
    Em {
        /// The mixture so far.
        mixture: GaussianMixture,
        /// The training NLL of the step before, of the mixture before that step.
        last: Option<f64>,
    },
}

impl Stage {
    /// Puts the stage into a checkpoint.
    pub(super) fn save(&self, file: &mut Checkpoint) {
        match self {
            Self::Seeds => file.set_meta(STAGE, "seeds"),
            Self::Clusters { centres, done } => {
                file.set_meta(STAGE, "clusters");
                file.set_meta("training.done", done);
                file.tensors.insert("training.centres".into(), centres.copy());
            }
            Self::Em { mixture, last } => {
                file.set_meta(STAGE, "em");
                if let Some(last) = last {
                    file.set_meta("training.last", last);
                }
                file.insert_part("training.mixture", mixture.to_checkpoint());
            }
        }
    }

    /// Takes a stage with `[K, d]` means or centres out of a checkpoint.
    pub(super) fn restore(state: &mut Checkpoint, size: [i64; 2], device: Device) -> Result<Self> {
        let stage = state.meta(STAGE)?.to_owned();
        match stage.as_str() {
            "seeds" => Ok(Self::Seeds),
            "clusters" => {
                let centres = state.take("training.centres", &size, Kind::Double)?.f_to_device(device)?;
                Ok(Self::Clusters { centres, done: state.meta_parsed("training.done")? })
            }
            "em" => {
                let last = state.metadata.contains_key("training.last");
                let last = last.then(|| state.meta_parsed("training.last")).transpose()?;
                let part = state.take_part("training.mixture");
                let mixture = GaussianMixture::from_checkpoint(part, Path::new("checkpoint in memory"))?;
                if mixture.means().size() != size {
                    let problem = format!("a mixture with means {:?}, not {size:?}", mixture.means().size());
                    return Err(other(problem));
                }
                Ok(Self::Em { mixture: mixture.to_device(device)?, last })
            }
            unknown => Err(other(format!("{STAGE} = {unknown:?}"))),
        }
    }
}

fn other(problem: String) -> Error {
    let remedy = "use a checkpoint that was made with these settings, or train again";
    Error::content(Path::new("checkpoint in memory"), problem, remedy)
}
