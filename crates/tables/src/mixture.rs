//! The table of Gaussian mixtures: a flow with stochastic layers against one without, on inverse problems whose posteriors are
//! known (Hagemann, Hertrich, Steidl 2022, section 6.1).

use crate::data::DataSource;
use crate::distances::{WorkItem, gain, learned, of, row};
use crate::experiment::samplers::{MixtureProfile, Samplers};
use crate::options::RunOptions;
use crate::outcome::{DistanceKind, ExperimentOutcome};
use crate::report::{Facts, how};
use smalti_base::seed::Stream;
use smalti_base::{Result, Seed};
use smalti_flows::stochastic::{ConditionalSnf, FlowShape, Mala, MarkovKernel, MixtureProblem};
use smalti_flows::{ClampForm, SoftClamp};
use smalti_solvers::distances::wasserstein1;
use tch::{Device, Tensor};

/// Keys of the rows.
const KEYS: [&str; 3] = ["inn", "snf", "exact"];

/// Where the data of this table come from.
pub fn data() -> DataSource {
    DataSource::Drawn("pairs drawn from Gaussian mixtures with known posteriors; nothing was measured")
}

/// Trains both flows on every problem of `profile` and compares their samples with exact ones.
///
/// # Errors
/// What training and sampling meet.
pub fn run(
    experiment: &Samplers<MixtureProfile>,
    profile: &MixtureProfile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let run = options.to_run();
    let identity = format!("{profile:?} seed {}", options.seed.value());
    // Means over the observations of a problem, and seconds of the trainings.
    let mut means: [Vec<f64>; KEYS.len()] = Default::default();
    let mut seconds = [0.0; 2];
    for p in 0..profile.problems {
        run.check()?;
        let seed = options.seed.derive("mixture", p);
        let piece =
            |what: &str| WorkItem { name: format!("mixture {p}, {what}"), identity: &identity, run: &run };
        let problem = MixtureProblem::published(profile.dim, seed)?;
        let [inn, snf] = flows(profile, seed)?;
        let draw = || Box::new(|stream: &mut Stream| Ok(problem.pairs(profile.training.batch, stream)));
        let (inn, first) = piece("INN").trained(inn, draw(), &profile.training, seed)?;
        let (snf, second) = piece("SNF").trained(snf, draw(), &profile.training, seed)?;
        seconds = [seconds[0] + first, seconds[1] + second];
        let found = piece("distances").compared(profile.observations, &KEYS, |k| {
            distances([&inn, &snf], &problem, profile.samples, seed.derive("observation", k))
        })?;
        let mean = |all: &Vec<f64>| all.iter().sum::<f64>() / all.len() as f64;
        means.iter_mut().zip(&found).for_each(|(means, found)| means.push(mean(found)));
    }
    let each = seconds.map(|s| learned(&profile.training, s / profile.problems as f64));
    let notes = [
        format!("trained for each problem: {}", each[0]),
        format!(
            "trained for each problem: {}; {} below the INN, problem by problem (mean and standard error)",
            each[1],
            gain(&means[0], &means[1])
        ),
        "two independent sets of exact samples".to_owned(),
    ];
    let of = of(DistanceKind::Wasserstein1, [profile.problems, profile.observations], profile.samples);
    let label = data.label(&[format!("{}, dimension {}", experiment.name, profile.dim)]);
    let rows = KEYS.iter().zip(&means).zip(notes);
    let rows = rows.map(|((key, values), note)| row(key, values, of, note, &label)).collect();
    Ok(ExperimentOutcome { rows, run: Some(run), ..ExperimentOutcome::default() })
}

/// INN and SNF, untrained, with equally many couplings.
fn flows(profile: &MixtureProfile, seed: Seed) -> Result<[ConditionalSnf; 2]> {
    let &MixtureProfile { dim, blocks, couplings, hidden, mala, .. } = profile;
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4)?;
    let shape = |couplings| {
        FlowShape::new(dim, dim).with_couplings(couplings).with_hidden([hidden; 2]).with_clamp(clamp)
    };
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(mala.step_size)?)) };
    let posterior = Box::new(MixtureProblem::published(dim, seed)?);
    let inn = ConditionalSnf::inn(&shape(blocks * couplings), seed)?;
    let snf = ConditionalSnf::alternating(&shape(couplings), blocks, kernel, mala.steps, posterior, seed)?;
    Ok([inn, snf])
}

/// `W_1` of the flows' samples, and of other exact ones, to exact samples, for one observation.
fn distances(
    flows: [&ConditionalSnf; 2],
    problem: &MixtureProblem,
    samples: i64,
    seed: Seed,
) -> Result<Vec<f64>> {
    let (_, y) = problem.pairs(1, &mut seed.at("pair", 0));
    let posterior = problem.posterior(&y.f_squeeze_dim(0)?)?;
    let truth = posterior.sample(samples, &mut seed.at("exact samples", 0));
    let conditions = y.f_repeat([samples, 1])?;
    let mut drawn: Vec<Tensor> = Vec::new();
    for (key, flow) in KEYS.iter().zip(flows) {
        drawn.push(flow.sample(&conditions, &mut seed.at(key, 0))?);
    }
    drawn.push(posterior.sample(samples, &mut seed.at("exact samples", 1)));
    drawn.iter().map(|x| wasserstein1(x, &truth)).collect()
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a Samplers<MixtureProfile>,
    profile: &MixtureProfile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let &MixtureProfile { dim, problems, observations, samples, blocks, couplings, mala, .. } = profile;
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        (
            "Problem",
            format!(
                "y = A x + noise in dimension {dim}; x from 12 Gaussians of variance 1e-4 with means uniform in \
                 [-1, 1]^{dim}; A = diag(0.1 / i), noise 0.1"
            ),
        ),
        (
            "Flows",
            format!(
                "{} couplings; in the SNF {} steps of MALA after every {couplings}",
                blocks * couplings,
                mala.steps
            ),
        ),
        (
            "Score",
            format!(
                "exact W1 of {samples} samples and {samples} exact ones for each of {observations} observations"
            ),
        ),
        ("Mean ± std", format!("over {problems} problems, of means over observations; of the population")),
    ];
    // The flows are computed on the CPU whatever device others have.
    protocol.extend(how(&RunOptions { device: Device::Cpu, ..options.clone() }));
    Facts {
        title: &experiment.title,
        data,
        sources: Vec::new(),
        protocol,
        settings: toml::to_string(profile).unwrap_or_default(),
    }
}
