//! What methods with a residual network on the simple estimate share: its training, and its images in several orientations.

use crate::pairs::{turned, turned_back};
use crate::run::Run;
use crate::trained::Trained;
use smalti_base::{Result, Seed};
use smalti_solvers::{
    Pair, PairedDataset, ResidualNet, ResidualNetSettings, SupervisedTraining, SupervisedTrainingSettings,
};
use tch::Tensor;

/// Trains a network on pairs, and publishes it as the file of the row of `run`.
///
/// # Errors
/// Those of the pairs and of the training.
pub(crate) fn train(
    shape: ResidualNetSettings,
    pairs: &dyn PairedDataset,
    validation: &Vec<Pair>,
    wanted: SupervisedTrainingSettings,
    seed: Seed,
    run: &Run,
) -> Result<Trained<ResidualNet>> {
    let net = ResidualNet::new(shape, seed)?.to(run.device)?;
    let validation: Option<&dyn PairedDataset> =
        (!validation.is_empty()).then_some(validation as &dyn PairedDataset);
    let mut iteration = SupervisedTraining::new(net, pairs, validation, wanted, seed)?;
    if let Some(events) = run.events("training", &run.row())? {
        iteration = iteration.with_events(events);
    }
    let (trained, summary) = run.iterate("training", wanted.steps, iteration)?;
    run.publish(&format!("{}.safetensors", run.row()), |path| trained.net.save(path))?;
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
