//! What methods with a network that learns from pairs share: its training, and a residual network's images in several orientations.

use crate::pairs::{turned, turned_back};
use crate::run::Run;
use crate::trained::Trained;
use smalti_base::{Result, Seed};
use smalti_solvers::{
    ImageNetwork, Pair, PairedDataset, ResidualNet, SupervisedTraining, SupervisedTrainingSettings,
};
use tch::Tensor;

/// Trains `net`, on its device, on pairs, and publishes it as the file of the row of `run`.
///
/// # Errors
/// Those of the pairs and of the training.
pub(crate) fn train<N: ImageNetwork>(
    net: N,
    pairs: &dyn PairedDataset,
    validation: &Vec<Pair>,
    wanted: SupervisedTrainingSettings,
    seed: Seed,
    run: &Run,
) -> Result<Trained<N>> {
    let validation: Option<&dyn PairedDataset> =
        (!validation.is_empty()).then_some(validation as &dyn PairedDataset);
    let mut iteration = SupervisedTraining::new(net, pairs, validation, wanted, seed)?;
    if let Some(events) = run.events("training", &run.row())? {
        iteration = iteration.with_events(events);
    }
    let (trained, summary) = run.iterate("training", wanted.steps, iteration)?;
    run.publish(&format!("{}.safetensors", run.row()), |path| trained.net.to_checkpoint().save(path))?;
    let (curve, seconds) = (trained.curve.as_slice().into(), summary.elapsed.as_secs_f64());
    Ok(Trained { model: trained.net, curve, seconds })
}

/// The network's images for `x` in each of the orientations `turns`, turned back.
///
/// # Errors
/// Those of the network; [`smalti_base::Error::Cancelled`] on request.
pub(crate) fn in_orientations(
    net: &ResidualNet,
    x: &Tensor,
    turns: &[usize],
    run: &Run,
) -> Result<Vec<Tensor>> {
    let one = |&k: &usize| {
        run.check()?;
        turned_back(&net.infer(&turned(x, k)?)?, k)
    };
    turns.iter().map(one).collect()
}
