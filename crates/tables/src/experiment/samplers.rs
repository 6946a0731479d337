//! `experiments/mixture.toml` and `experiments/scatterometry.toml`: samplers of known posteriors, and how they are compared.

use super::diagnose::{Failure, FileError};
use super::kind::{ExperimentKind, ProfileName};
use super::parse;
use super::profiles::Profiles;
use garde::Validate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smalti_methods::settings::ScheduleChoice;
use std::path::Path;

/// A checked experiment file of one of these kinds.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Samplers<P: Validate<Context = ()>> {
    /// The name: that of the file without `.toml`.
    #[serde(skip)]
    #[garde(skip)]
    pub name: String,
    /// The title of the report.
    #[garde(length(min = 1))]
    pub title: String,
    /// What it is about: [`SamplersProfile::KIND`].
    #[garde(skip)]
    pub kind: ExperimentKind,
    #[garde(dive)]
    profile: Profiles<P>,
}

/// What runs in an experiment of one of these kinds.
pub trait SamplersProfile: DeserializeOwned + Serialize + Validate<Context = ()> {
    /// The kind.
    const KIND: ExperimentKind;
    /// How experiment files call it.
    const KEY: &'static str;

    /// A key of the profile and what does not fit there.
    fn misfit(&self) -> Option<(&'static str, String)> {
        None
    }
}

/// Gaussian mixtures: flows trained and compared on several problems.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MixtureProfile {
    /// Dimension of `x` and `y`, 2 to 1000.
    #[garde(range(min = 2, max = 1000))]
    pub dim: i64,
    /// Problems, each with modes and flows of its own, 1 to 100.
    #[garde(range(min = 1, max = 100))]
    pub problems: u64,
    /// Observations of a problem, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub observations: u64,
    /// Samples for an observation, 2 to 20,000. Their exact distance takes eight bytes for every pair.
    #[garde(range(min = 2, max = 20_000))]
    pub samples: i64,
    /// Blocks of couplings, 1 to 64; in the SNF a Markov kernel follows each.
    #[garde(range(min = 1, max = 64))]
    pub blocks: i64,
    /// Couplings of a block, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub couplings: i64,
    /// Width of both hidden layers of the subnets, 1 to 4096.
    #[garde(range(min = 1, max = 4096))]
    pub hidden: i64,
    /// The Markov kernel.
    #[garde(dive)]
    pub mala: MalaSettings,
    /// How both flows are trained.
    #[garde(dive)]
    pub training: FlowTraining,
}

/// Metropolis-adjusted Langevin after a block of couplings.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct MalaSettings {
    /// Steps, 1 to 1000.
    #[garde(range(min = 1, max = 1000))]
    pub steps: u32,
    /// Step size `h` of a proposal `x - h grad u + sqrt(2 h) xi`, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub step_size: f64,
}

/// Training of a flow on pairs, a batch of new ones in every step, by Adam on the forward KL divergence of paths.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct FlowTraining {
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Pairs in a step, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub batch: i64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: ScheduleChoice,
}

/// Scatterometry: the authors' flows and our own against a reference.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScatterometryProfile {
    /// Observations, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub observations: u64,
    /// Samples for an observation, 1 to 1 billion.
    #[garde(range(min = 1, max = 1_000_000_000))]
    pub samples: i64,
    /// Bins of an axis, 1 to 200.
    #[garde(range(min = 1, max = 200))]
    pub bins: i64,
    /// How many of them a coarse bin takes in on every axis, 1 to 200.
    #[garde(range(min = 1, max = 200))]
    pub coarse: i64,
    /// What the samples are compared with.
    #[garde(dive)]
    pub reference: Reference,
    /// How our INN is trained.
    #[garde(dive)]
    pub inn: FlowTraining,
    /// How our SNF is trained.
    #[garde(dive)]
    pub snf: FlowTraining,
}

/// The posterior that samples are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// The masses of its density in the bins, by the midpoint rule with so many points an axis of a bin, 1 to 8.
    Quadrature(#[garde(range(min = 1, max = 8))] i64),
    /// The ends of Metropolis chains, as many as there are samples.
    Metropolis(#[garde(dive)] MetropolisChains),
}

/// Metropolis chains from the uniform distribution on the cube.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct MetropolisChains {
    /// Steps of a chain, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub steps: u32,
    /// Standard deviation of the proposals, above 0, at most 2.
    #[garde(range(min = 1e-12, max = 2.0))]
    pub sigma: f64,
}

impl SamplersProfile for MixtureProfile {
    const KIND: ExperimentKind = ExperimentKind::Mixture;
    const KEY: &'static str = "mixture";
}

impl SamplersProfile for ScatterometryProfile {
    const KIND: ExperimentKind = ExperimentKind::Scatterometry;
    const KEY: &'static str = "scatterometry";

    fn misfit(&self) -> Option<(&'static str, String)> {
        let problem = || ("coarse", format!("does not divide the {} bins", self.bins));
        (self.bins % self.coarse != 0).then(problem)
    }
}

impl<P: SamplersProfile> Samplers<P> {
    /// Reads the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        parse::of_kind(path, P::KEY, Self::parse)
    }

    /// Checks the text of an experiment file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`FileError`] naming file, line and column, as [`super::Experiment::parse`].
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, Box<FileError>> {
        parse::parse(file, text, |experiment: Self| {
            if experiment.kind != P::KIND {
                return Err(("kind".to_owned(), format!("not {}", P::KEY)));
            }
            for (which, profile) in experiment.profile.all() {
                if let Some((key, problem)) = profile.misfit() {
                    return Err((format!("{which}.{key}"), problem));
                }
            }
            Ok(Self { name: name.to_owned(), ..experiment })
        })
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &P {
        self.profile.of(name)
    }
}
