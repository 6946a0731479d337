//! The network that corrects filtered back-projections: the pairs it learns from, and its training.

use super::scanner::Scanner;
use crate::data::DataSource;
use crate::experiment::ct::{FbpUnet, PairSource};
use crate::methods::precision;
use crate::run::RunOptions;
use crate::state::State;
use crate::synthetic::chest;
use smalti_base::lodopab::{self, Part};
use smalti_base::{Result, Seed};
use smalti_solvers::{
    Budget, Iteration, Pair, Pairs, UNet, UNetSettings, UNetTraining, UNetTrainingSettings, run,
};
use std::cell::RefCell;
use std::path::Path;
use tch::Tensor;

/// A trained network and what it learned from; or why there is none.
pub(super) enum Corrector {
    /// The network, and a note about its training.
    Trained(Box<UNet>, String),
    /// What is missing.
    Missing(String),
}

/// Trains the network on pairs of filtered back-projection and truth.
///
/// # Errors
/// Those of scanning and training; [`smalti_base::Error::Cancelled`] on request.
pub(super) fn train(
    settings: &FbpUnet,
    scanner: &Scanner,
    data: &DataSource,
    slices: (&[Tensor], &[Tensor]),
    hash: &str,
    options: &RunOptions,
    state: &State,
) -> Result<Corrector> {
    let seed: Seed = options.seed.derive("FBP+UNet", 0);
    let published = match settings.pairs {
        PairSource::Generated => None,
        PairSource::Lodopab => match published(scanner, data)? {
            Ok(published) => Some(published),
            Err(problem) => return Ok(Corrector::Missing(problem)),
        },
    };
    let identity = format!("{hash} {settings:?} {} seed {}", scanner.identity(), options.seed.value());
    let note = |steps: u64, pairs: u64, seconds: f64| {
        let of = if published.is_some() { "LoDoPaB-CT" } else { "phantoms and the training slices" };
        format!("{steps} steps on {pairs} pairs of {of} in {seconds:.0} s")
    };
    if let Some(mut file) = state.finished("fbp unet", &identity)? {
        let (pairs, seconds) = (file.meta_parsed("pairs")?, file.meta_parsed("seconds")?);
        file.metadata.remove("pairs");
        let net = UNet::from_checkpoint(file, Path::new("state of the run"))?.to(options.device)?;
        return Ok(Corrector::Trained(Box::new(net), note(settings.steps, pairs, seconds)));
    }
    let validation: Vec<Pair> = (slices.1.iter().enumerate())
        .map(|(k, truth)| scanner.pair(truth, seed.derive("validation", k as u64)))
        .collect::<Result<_>>()?;
    let generated: Vec<Pair>;
    let pairs: &dyn Pairs = match &published {
        Some(published) => published,
        None => {
            generated = generate(settings, scanner, slices.0, seed)?;
            &generated
        }
    };
    let count = pairs.count().unwrap_or_default();
    let wanted = UNetTrainingSettings {
        steps: settings.steps,
        batch: settings.batch,
        crop: Some(settings.crop),
        rate: settings.learning_rate,
        last_rate: settings.final_learning_rate,
        validate_every: (settings.steps / 10).max(1),
        precision: precision(settings.precision, options.device),
    };
    let shape = UNetSettings { channels: settings.channels.clone(), ..UNetSettings::fbp_unet() };
    let net = UNet::new(shape, seed)?.to(options.device)?;
    let observer = state.observer("fbp unet", &identity);
    let validation: Option<&dyn Pairs> = (!validation.is_empty()).then_some(&validation as &dyn Pairs);
    let iteration = UNetTraining::new(net, pairs, validation, wanted, seed)?;
    let mut iteration = iteration.with_events(state.events(&observer, "fbp_unet")?);
    let summary = run(&mut iteration, Budget::steps(settings.steps), &observer)?;
    state.go_on(&summary)?;
    let net = iteration.finish()?.net;
    let seconds = summary.elapsed.as_secs_f64();
    let mut file = net.to_checkpoint();
    file.set_meta("pairs", count);
    file.set_meta("seconds", seconds);
    net.save(&options.folder.join("fbp_unet.safetensors"))?;
    state.finish("fbp unet", &identity, file)?;
    Ok(Corrector::Trained(Box::new(net), note(settings.steps, count, seconds)))
}

/// Scans of phantoms, and of every training slice.
fn generate(settings: &FbpUnet, scanner: &Scanner, slices: &[Tensor], seed: Seed) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(settings.synthetic_pairs + slices.len());
    tracing::info!("scanning {} phantoms and {} slices", settings.synthetic_pairs, slices.len());
    for k in 0..settings.synthetic_pairs as u64 {
        let truth = chest(scanner.size(), scanner.size(), seed, Part::Train, k)?;
        pairs.push(scanner.pair(&truth, seed.derive("phantom", k))?);
    }
    for (k, truth) in slices.iter().enumerate() {
        pairs.push(scanner.pair(truth, seed.derive("slice", k as u64))?);
    }
    Ok(pairs)
}

/// The training part of LoDoPaB-CT: its observations, of which the directions of the scan are kept.
pub(super) struct Published<'a> {
    files: RefCell<lodopab::Pairs>,
    count: u64,
    scanner: &'a Scanner,
}

/// The published pairs in the folder `lodopab` of the data; or why there are none.
pub(super) fn published<'a>(
    scanner: &'a Scanner,
    data: &DataSource,
) -> Result<std::result::Result<Published<'a>, String>> {
    let Some(folder) = data.path("lodopab").filter(|folder| folder.is_dir()) else {
        return Ok(Err("LoDoPaB-CT (Zenodo 3384092) is not in the folder lodopab of the data".into()));
    };
    if !scanner.is_lodopab() {
        return Ok(Err("LoDoPaB-CT was scanned with other rays or photons than this profile has".into()));
    }
    let files = lodopab::Pairs::open(&folder, Part::Train)?;
    let count = files.len() as u64;
    Ok(Ok(Published { files: RefCell::new(files), count, scanner }))
}

impl Pairs for Published<'_> {
    fn count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn pair(&self, index: u64) -> Result<Pair> {
        let (target, observation) = self.files.borrow_mut().read(index as usize)?;
        let (first, count) = self.scanner.measured();
        let observation = observation.f_narrow(2, first, count)?;
        Ok(Pair { input: self.scanner.fbp.apply(&observation)?, target })
    }
}
