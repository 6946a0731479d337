//! The methods that reconstruct slices, with what they learned before the first one.

use super::scanner::Scanner;
use super::unet::{self, Corrector};
use crate::data::DataSource;
use crate::experiment::ct::{
    Ct, CtMap, CtMethod, CtSinkhorn, CtWpp, Map as AdamChoice, PairSource, Profile, Start,
};
use crate::methods::{Prior, missing, precision, schedule, train};
use crate::outcome::TrainingCurve;
use crate::run::RunOptions;
use crate::state::{Reconstruction, State};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Seed};
use smalti_operators::Operator;
use smalti_priors::sinkhorn::settings::from_half_cost;
use smalti_priors::wpp::ReferencePatches;
use smalti_priors::{
    PatchPrior, Reflected, Regularizer, Sampling, SinkhornPatchPrior, SinkhornSettings, TotalVariation,
    WassersteinPatchPrior, WppSettings, weight,
};
use smalti_solvers::{
    AdamSettings, Budget, Dip, DipSettings, Iteration, Map, Observer, Problem, TvPrimalDual, UNetSettings,
    run,
};
use std::time::Instant;
use tch::Tensor;

/// Lengths of gradients below this count less than their length in the total variation of the deep image prior.
const TV_SMOOTHING: f64 = 1e-4;

/// One slice to reconstruct.
pub(super) struct Task<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its scan, `[1, 1, A, D]`.
    pub(super) observation: &'a Tensor,
}

/// The methods of a profile.
pub(super) struct Methods<'a> {
    profile: &'a Profile,
    scanner: &'a Scanner,
    options: &'a RunOptions,
    state: State,
    prior: Option<Prior>,
    corrector: Option<Corrector>,
    /// The slices that patches are compared with, and their hash.
    references: Vec<Tensor>,
    references_hash: String,
    /// Of the training slices and the validation slice.
    unet_hash: String,
}

impl<'a> Methods<'a> {
    /// Trains what the methods of the profile need.
    ///
    /// # Errors
    /// Those of the data and of the training.
    pub(super) fn prepare(
        experiment: &Ct,
        profile: &'a Profile,
        scanner: &'a Scanner,
        data: &DataSource,
        options: &'a RunOptions,
    ) -> Result<Self> {
        let state = State::of(options);
        let slice = |name: &String| scanner.slice(name, data);
        let references = experiment.data.train.iter().map(slice).collect::<Result<Vec<Tensor>>>()?;
        let validation = experiment.data.validation.as_ref().map(slice).transpose()?;
        if profile.fbp_unet.as_ref().is_some_and(|unet| unet.pairs == PairSource::Lodopab)
            && profile.runs(&[CtMethod::FbpUnet])
        {
            // What is wrong with the files is said before hours of work.
            let _ = unet::published(scanner, data)?;
        }
        let prior = match &profile.patchnr {
            Some(settings) if profile.runs(&[CtMethod::Patchnr, CtMethod::PatchnrAuthors]) => {
                let step = experiment.data.grey_step;
                let noisy = |(k, slice): (usize, &Tensor)| {
                    let noise =
                        options.seed.derive("grey steps", k as u64).at("noise", 0).uniform(&slice.size());
                    Ok(slice + (noise - 0.5) * step)
                };
                let references = references.iter().enumerate().map(noisy).collect::<Result<_>>()?;
                Some(train(
                    settings,
                    references,
                    validation.as_ref().map(Tensor::shallow_clone),
                    options,
                    &state,
                )?)
            }
            _ => None,
        };
        let references_hash = data_hash(&references.iter().collect::<Vec<&Tensor>>())?;
        let unet_hash = data_hash(&references.iter().chain(&validation).collect::<Vec<&Tensor>>())?;
        let corrector = match &profile.fbp_unet {
            Some(settings) if profile.runs(&[CtMethod::FbpUnet]) => {
                let validation: Vec<Tensor> = validation.into_iter().collect();
                let slices = (&references[..], &validation[..]);
                Some(unet::train(settings, scanner, data, slices, &unet_hash, options, &state)?)
            }
            _ => None,
        };
        Ok(Self {
            profile,
            scanner,
            options,
            state,
            prior,
            corrector,
            references,
            references_hash,
            unet_hash,
        })
    }

    /// The training of patchNR, where there was one.
    pub(super) fn curve(&self) -> Option<TrainingCurve> {
        self.prior.as_ref().map(|prior| prior.curve.clone())
    }

    /// What the figures of a row do not say.
    pub(super) fn note(&self, method: CtMethod) -> String {
        match (method, &self.prior) {
            (CtMethod::Patchnr | CtMethod::PatchnrAuthors, Some(prior)) => prior.note(),
            (CtMethod::FbpUnet, _) => match &self.corrector {
                Some(Corrector::Trained(_, note) | Corrector::Missing(note)) => note.clone(),
                None => String::new(),
            },
            _ => String::new(),
        }
    }

    /// Whether `method` has what it needs; [`Methods::note`] tells what is missing.
    pub(super) fn can(&self, method: CtMethod) -> bool {
        method != CtMethod::FbpUnet || !matches!(self.corrector, Some(Corrector::Missing(_)))
    }

    /// Reconstructs one slice.
    ///
    /// # Errors
    /// Those of the method; [`smalti_base::Error::Cancelled`] on request.
    pub(super) fn reconstruct(&self, method: CtMethod, task: &Task<'_>) -> Result<Reconstruction> {
        self.state.check()?;
        let clock = Instant::now();
        let fbp = self.scanner.fbp.apply(task.observation)?;
        let fbp_seconds = clock.elapsed().as_secs_f64();
        if method == CtMethod::Fbp {
            return Ok(Reconstruction { image: fbp, seconds: fbp_seconds, transport: None });
        }
        let name = format!("{} {}", method.key(), task.name);
        let identity = self.identity(method, task)?;
        let size = self.scanner.operator.domain().batch(1);
        if let Some(mut done) = self.state.reconstruction(&name, &identity, &size)? {
            done.image = done.image.to_device(self.options.device);
            return Ok(done);
        }
        let Reconstruction { image: start, seconds: before, .. } = match self.profile.start(method) {
            Start::Fbp => Reconstruction { image: fbp, seconds: fbp_seconds, transport: None },
            Start::Tv => self.reconstruct(CtMethod::Tv, task)?,
        };
        let observer = self.state.observer(&name, &identity);
        tracing::info!("{} of {}", method.title(), task.name);
        let clock = Instant::now();
        let seed = self.options.seed.derive(task.name, 0);
        let image = match method {
            CtMethod::Fbp => start,
            CtMethod::Tv => self.tv(task, &start, &observer)?,
            CtMethod::Patchnr => {
                self.patchnr(task, self.profile.patchnr.as_ref().map(|p| &p.map), &start, seed, &observer)?
            }
            CtMethod::PatchnrAuthors => {
                let map = self.profile.patchnr.as_ref().and_then(|p| p.authors.as_ref());
                self.patchnr(task, map, &start, seed, &observer)?
            }
            CtMethod::Wpp => self.wpp(task, &start, &observer)?,
            CtMethod::Sinkhorn => self.sinkhorn(task, &start, seed, &observer)?,
            CtMethod::DipTv => self.dip_tv(&name, task, seed, &observer)?,
            CtMethod::FbpUnet => self.fbp_unet(&start)?,
        };
        let seconds = before + clock.elapsed().as_secs_f64();
        let done = Reconstruction { image, seconds, transport: None };
        self.state.keep_reconstruction(&name, &identity, &done)?;
        Ok(done)
    }

    /// All that a reconstruction depends on.
    fn identity(&self, method: CtMethod, task: &Task<'_>) -> Result<String> {
        let Profile { tv, dip_tv, fbp_unet, patchnr, wpp, sinkhorn, .. } = self.profile;
        let settings = match method {
            CtMethod::Fbp => String::new(),
            CtMethod::Tv => format!("{tv:?}"),
            CtMethod::DipTv => format!("{dip_tv:?}"),
            CtMethod::FbpUnet => format!("{fbp_unet:?} {}", self.unet_hash),
            CtMethod::Patchnr | CtMethod::PatchnrAuthors => {
                let learned = self.prior.as_ref().map_or("", |prior| prior.identity.as_str());
                format!("{patchnr:?} {learned}")
            }
            CtMethod::Wpp => format!("{wpp:?} {}", self.references_hash),
            CtMethod::Sinkhorn => format!("{sinkhorn:?} {}", self.references_hash),
        };
        let hash = data_hash(&[task.observation])?;
        Ok(format!(
            "{hash} {settings} {:?} {} seed {}",
            self.profile.tv,
            self.scanner.identity(),
            self.options.seed.value()
        ))
    }

    fn tv(&self, task: &Task<'_>, start: &Tensor, observer: &Observer) -> Result<Tensor> {
        let settings = self.profile.tv.as_ref().ok_or_else(|| missing("tv"))?;
        let Scanner { operator, likelihood, .. } = self.scanner;
        let weight =
            weight::from_sums(settings.weight, operator.domain().batch(1).iter().product(), settings.rays)?;
        let mut tv = TvPrimalDual::poisson(
            operator,
            *likelihood,
            task.observation,
            weight,
            settings.tolerance,
            start,
        )?
        .nonnegative();
        self.state.go_on(&run(&mut tv, Budget::steps(settings.iterations), observer)?)?;
        tv.finish()
    }

    fn dip_tv(&self, name: &str, task: &Task<'_>, seed: Seed, observer: &Observer) -> Result<Tensor> {
        let settings = self.profile.dip_tv.as_ref().ok_or_else(|| missing("dip_tv"))?;
        let Scanner { operator, likelihood, .. } = self.scanner;
        let pixels = operator.domain().batch(1).iter().product();
        let mut prior = TotalVariation::new(operator.domain(), TV_SMOOTHING)?;
        let problem = Problem {
            operator,
            likelihood,
            observation: task.observation,
            prior: &mut prior,
            weight: weight::from_sums(settings.weight, pixels, settings.rays)?,
        };
        let wanted = DipSettings {
            net: UNetSettings { channels: vec![settings.channels; settings.scales], ..UNetSettings::dip() },
            steps: settings.iterations,
            rate: settings.learning_rate,
            curve_every: (settings.iterations / 100).max(1),
            precision: precision(settings.precision, self.options.device),
            ..DipSettings::baguer_2020()
        };
        let folder: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut dip = Dip::new(problem, wanted, seed)?.with_events(self.state.events(observer, &folder)?);
        self.state.go_on(&run(&mut dip, Budget::steps(settings.iterations), observer)?)?;
        Ok(dip.finish()?.image)
    }

    fn fbp_unet(&self, fbp: &Tensor) -> Result<Tensor> {
        match &self.corrector {
            Some(Corrector::Trained(net, _)) => net.infer(fbp),
            _ => Err(missing("fbp_unet")),
        }
    }

    fn patchnr(
        &self,
        task: &Task<'_>,
        settings: Option<&CtMap>,
        start: &Tensor,
        seed: Seed,
        observer: &Observer,
    ) -> Result<Tensor> {
        let settings = settings.ok_or_else(|| missing("patchnr"))?;
        let prior = self.prior.as_ref().ok_or_else(|| missing("patchnr"))?;
        let sampling = Sampling::from(settings.patches);
        let domain = self.scanner.operator.domain();
        let mut regularizer = Reflected::new(domain, settings.padding, |extended| {
            PatchPrior::new(&prior.flow, extended, sampling, seed)
        })?;
        self.map(
            task,
            &mut regularizer,
            weight::from_likelihood_sum(settings.lambda, settings.rays)?,
            settings.adam,
            start,
            observer,
        )
    }

    fn wpp(&self, task: &Task<'_>, start: &Tensor, observer: &Observer) -> Result<Tensor> {
        let settings = self.profile.wpp.as_ref().ok_or_else(|| missing("wpp"))?;
        let &CtWpp { patch_size, stride, references, scales, dual, .. } = settings;
        let references = ReferencePatches::Random(references);
        let wanted = WppSettings {
            patch_size,
            stride,
            references,
            scales,
            dual: dual.into(),
            ..WppSettings::hertrich_2022()
        };
        let size = self.scanner.operator.domain().batch(1);
        let images: Vec<&Tensor> = self.references.iter().collect();
        let mut prior =
            WassersteinPatchPrior::new(&size, &images, &wanted, self.options.seed.derive("WPP", 0))?;
        self.map(
            task,
            &mut prior,
            weight::from_likelihood_sum(settings.lambda, settings.rays)?,
            settings.adam,
            start,
            observer,
        )
    }

    fn sinkhorn(&self, task: &Task<'_>, start: &Tensor, seed: Seed, observer: &Observer) -> Result<Tensor> {
        let settings = self.profile.sinkhorn.as_ref().ok_or_else(|| missing("sinkhorn"))?;
        let &CtSinkhorn { patch_size, references, image_patches, blur, reach, .. } = settings;
        let references = ReferencePatches::Random(references);
        let wanted = SinkhornSettings {
            patches: WppSettings { patch_size, references, scales: 1, ..WppSettings::default() },
            image_patches: Some(image_patches),
            method: from_half_cost(blur, reach),
        };
        let size = self.scanner.operator.domain().batch(1);
        let images: Vec<&Tensor> = self.references.iter().collect();
        let mut prior = SinkhornPatchPrior::new(&size, &images, &wanted, seed)?;
        let weight = weight::from_likelihood_sum_and_half_cost(settings.lambda, settings.rays)?;
        self.map(task, &mut prior, weight, settings.adam, start, observer)
    }

    /// MAP estimation over `x >= 0`, from `start` on.
    fn map(
        &self,
        task: &Task<'_>,
        prior: &mut dyn Regularizer,
        weight: f64,
        adam: AdamChoice,
        start: &Tensor,
        observer: &Observer,
    ) -> Result<Tensor> {
        let problem = Problem {
            operator: &self.scanner.operator,
            likelihood: &self.scanner.likelihood,
            observation: task.observation,
            prior,
            weight,
        };
        let AdamChoice { iterations: steps, learning_rate: rate, schedule: choice, .. } = adam;
        let settings = AdamSettings { steps, rate, schedule: schedule(choice, 0) };
        let mut map = Map::new(problem, start, settings)?.nonnegative();
        self.state.go_on(&run(&mut map, Budget::steps(steps), observer)?)?;
        map.finish()
    }
}
