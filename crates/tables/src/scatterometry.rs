//! The table of scatterometry: the authors' trained flows and our own against the posterior, by histograms (Hagemann, Hertrich,
//! Steidl 2022, section 6.2).

mod reference;

use crate::data::DataSource;
use crate::distances::{WorkItem, gain, learned, of, row};
use crate::experiment::samplers::{MetropolisChains, Reference, Samplers, ScatterometryProfile as Profile};
use crate::options::RunOptions;
use crate::outcome::{DistanceKind, ExperimentOutcome, Figure};
use crate::report::{Facts, how};
use reference::{of_flow, references};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::ClampForm;
use smalti_flows::stochastic::scatterometry::{Scatterometry, import_inn, import_snf, scatterometry_flow};
use smalti_flows::stochastic::{ConditionalEnergy, ConditionalSnf};
use std::path::Path;
use tch::{Device, Tensor};

/// Noise levels `a` and `b` of the paper.
const NOISE: (f64, f64) = (0.2, 0.01);

/// The authors' forward model and flows.
const FILES: [&str; 3] =
    ["scatterometry/forward_model_new.pt", "scatterometry/inn.pt", "scatterometry/snf.pt"];

/// What stands in for them.
const TWIN: &str = "pairs of a small random forward model, because the files of the authors were not found; compare these \
                    figures with each other, not with others";

/// Keys of the rows.
const KEYS: [&str; 5] = ["inn_authors", "snf_authors", "inn", "snf", "reference"];

/// Where the data of this table come from: the folder with the authors' networks, or a random model.
///
/// # Errors
/// Those of [`DataSource::find`].
pub fn data(option: Option<&Path>, environment: Option<&Path>, repository: &Path) -> Result<DataSource> {
    let files = FILES.map(str::to_owned);
    Ok(match DataSource::find(option, environment, repository, &files, &[])? {
        folder @ DataSource::Folder { .. } => folder,
        _ => DataSource::Drawn(TWIN),
    })
}

/// The same on coarse bins, for logs.
const COARSE: [&str; 5] =
    ["coarse inn_authors", "coarse snf_authors", "coarse inn", "coarse snf", "coarse reference"];

/// The flows that are compared; the authors' ones where their files are there.
struct Flows {
    authors: Option<[ConditionalSnf; 2]>,
    ours: [ConditionalSnf; 2],
}

/// A hash of what is in the files that there are.
fn file_hash(files: &[Option<&Path>]) -> Result<String> {
    let bytes = files.iter().map(|file| match file {
        Some(path) => std::fs::read(path).map_err(|e| Error::file(path, "reading", e)),
        None => Ok(Vec::new()),
    });
    let bytes = bytes.map(|b| Ok(Tensor::f_from_slice(&b?)?)).collect::<Result<Vec<_>>>()?;
    data_hash(&bytes.iter().collect::<Vec<_>>())
}

/// Trains our flows, imports the authors' ones, and compares the samples of all with the posteriors.
///
/// # Errors
/// What loading, training and sampling meet.
pub fn run(
    experiment: &Samplers<Profile>,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let run = options.to_run();
    let seed = options.seed.derive("scatterometry", 0);
    let [model_file, inn_file, snf_file] = FILES.map(|file| data.path(file));
    let model = || forward_model(model_file.as_deref());
    let hash = file_hash(&[&model_file, &inn_file, &snf_file].map(Option::as_deref))?;
    let identity = format!("{hash} {profile:?} seed {}", options.seed.value());
    let piece = |name: &str| WorkItem { name: name.to_owned(), identity: &identity, run: &run };
    let authors = match (&inn_file, &snf_file) {
        (Some(inn), Some(snf)) => {
            let form = ClampForm::AlphaAtan;
            Some([import_inn(inn, form)?, import_snf(snf, form, Box::new(model()?))?])
        }
        _ => None,
    };
    let pairs = model()?;
    let train = |what: &str, posterior: Option<Box<dyn ConditionalEnergy>>| {
        let training = if posterior.is_some() { profile.snf } else { profile.inn };
        let seed = seed.derive(what, 0);
        let flow = scatterometry_flow(posterior, &mut seed.at("weights", 0))?;
        let draw = Box::new(|stream: &mut _| pairs.pairs(training.batch, stream));
        let (flow, seconds) = piece(what).trained(flow, draw, &training, seed)?;
        Ok::<_, Error>((flow, format!("trained here: {}", learned(&training, seconds))))
    };
    let (inn, of_inn) = train("scatterometry INN", None)?;
    let (snf, of_snf) = train("scatterometry SNF", Some(Box::new(model()?)))?;
    let flows = Flows { authors, ours: [inn, snf] };
    let there = if flows.authors.is_some() { 0 } else { 2 };
    let columns: Vec<&str> = KEYS[there..].iter().chain(&COARSE[there..]).copied().collect();
    let _no_grad = tch::no_grad_guard();
    let mut found = parallel::in_operations(|| {
        piece("scatterometry").compared(profile.observations, &columns, |k| {
            divergences(&flows, &pairs, profile, seed.derive("observation", k))
        })
    })?;
    let mut coarse = found.split_off(found.len() / 2);
    for all in [&mut found, &mut coarse] {
        all.splice(0..0, vec![Vec::new(); there]);
    }
    let bins = profile.bins / profile.coarse;
    let on_coarse = |k: usize| match &coarse[k][..] {
        [] => "needs the authors' files in the folder scatterometry of the data".to_owned(),
        values => format!("{} on {bins}^3 bins", spread(values)),
    };
    let below = |inn: usize, snf: usize| match &coarse[snf][..] {
        [] => String::new(),
        _ => format!(
            "; {} below the INN ({} on {bins}^3 bins), observation by observation (mean and standard error)",
            gain(&found[inn], &found[snf]),
            gain(&coarse[inn], &coarse[snf])
        ),
    };
    let notes = [
        on_coarse(0),
        format!("{}{}", on_coarse(1), below(0, 1)),
        format!("{of_inn}; {}", on_coarse(2)),
        format!("{of_snf}; {}{}", on_coarse(3), below(2, 3)),
        format!("{}; {}", again(profile), on_coarse(4)),
    ];
    let of = of(DistanceKind::KullbackLeibler, [1, profile.observations], profile.samples);
    let label = data.label(&[format!("{}, {}^3 bins", experiment.name, profile.bins)]);
    let rows = KEYS.iter().zip(&found).zip(notes);
    let rows = rows.map(|((key, values), note)| row(key, values, of, note, &label)).collect();
    Ok(ExperimentOutcome { rows, run: Some(run), ..ExperimentOutcome::default() })
}

/// `0.0123 ± 0.0045`, mean and population standard deviation.
fn spread(values: &[f64]) -> String {
    let figure = Figure::over(values);
    let of = |f: Figure| match f.std {
        Some(std) => format!("{:.4} ± {std:.4}", f.mean),
        None => format!("{:.4}", f.mean),
    };
    figure.map_or_else(String::new, of)
}

/// What the last row is.
fn again(profile: &Profile) -> String {
    match profile.reference {
        Reference::Quadrature(_) => {
            "independent points drawn from the reference itself: what the number of samples alone makes"
                .to_owned()
        }
        Reference::Metropolis(_) => "other chains of the same kind".to_owned(),
    }
}

/// `KL(reference, samples)` for one observation, in the order of [`KEYS`] as far as flows are there, then on coarse bins.
fn divergences(flows: &Flows, model: &Scatterometry, profile: &Profile, seed: Seed) -> Result<Vec<f64>> {
    let (_, y) = model.pairs(1, &mut seed.at("pair", 0))?;
    let (truth, again) = references(model, &y, profile, seed)?;
    let mut histograms = Vec::new();
    for (k, flow) in flows.authors.iter().flatten().chain(&flows.ours).enumerate() {
        let stream = &mut seed.at("samples of a flow", k as u64);
        histograms.push(of_flow(flow, &y, profile, stream)?);
    }
    histograms.push(again);
    let rough = truth.coarsened(profile.coarse)?;
    let fine = histograms.iter().map(|h| truth.divergence(h));
    let coarse = histograms.iter().map(|h| rough.divergence(&h.coarsened(profile.coarse)?));
    fine.chain(coarse).collect()
}

/// The forward model in `file`; without one a small random network, the same for every run, whose
/// posteriors are some tenths wide.
fn forward_model(file: Option<&Path>) -> Result<Scatterometry> {
    if let Some(file) = file {
        return Scatterometry::import(file, NOISE.0, NOISE.1);
    }
    let mut stream = Seed::new(1).at("forward model", 0);
    let mut layer = |inputs: i64, outputs: i64| -> (Tensor, Tensor) {
        let weight = stream.normal(&[outputs, inputs]) * 0.6 * (1.0 / inputs as f64).sqrt();
        (weight, stream.normal(&[outputs]) * 0.5)
    };
    let layers = vec![layer(3, 32), layer(32, 32), layer(32, 23)];
    Scatterometry::new(layers, NOISE.0, NOISE.1)
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a Samplers<Profile>,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let &Profile { observations, samples, bins, coarse, reference, .. } = profile;
    let reference = match reference {
        Reference::Quadrature(points) => {
            format!(
                "masses of the posterior density in the bins, by the midpoint rule with {points}^3 points a bin"
            )
        }
        Reference::Metropolis(MetropolisChains { steps, sigma }) => format!(
            "the ends of {samples} Metropolis chains of {steps} steps with standard deviation {sigma}, from the uniform \
             distribution"
        ),
    };
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        (
            "Problem",
            format!(
                "y = f(x) + b xi_1 + a f(x) xi_2, a = {}, b = {}; x uniform on [-1, 1]^3, y in R^23, f a network",
                NOISE.0, NOISE.1
            ),
        ),
        ("Reference", reference),
        (
            "Score",
            format!(
                "KL(reference, samples) on {bins}^3 bins of [-1, 1]^3, {samples} samples for each of {observations} \
                 observations; 1e-10 added to every bin; in the notes also on {}^3 bins",
                bins / coarse
            ),
        ),
        ("Mean ± std", "over observations; standard deviation of the population".to_owned()),
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
