//! One table of reconstructions: observes every image, runs every method on it, scores what comes back.
//!
//! A row is a method with its settings, an image is observed by the instrument of the problem: nothing here knows which methods or
//! problems there are.

use crate::calibrated;
use crate::data::DataSource;
use crate::experiment::{EvaluationSet, Experiment, LearnsFrom, Profile, RowSpec};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown};
use crate::report::{Facts, how};
use crate::run::RunOptions;
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Space};
use smalti_methods::estimate::{Figures as Numbers, Other, Place};
use smalti_methods::{
    Estimate, Instrument, InverseProblem, Learned, Material, Prepared, Reconstructor, Role, Run, Seen, Start,
    StartKind,
};
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Lets all methods learn that learn from references, then runs the sets of `profile`. An image that stands in several sets is
/// observed with the same noise and reconstructed once.
///
/// # Errors
/// What loading, observing and the methods meet.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let table = Table::new(experiment, profile, data, options)?;
    table.check_images()?;
    let prepared = table.prepare()?;
    let mut outcome = Outcome::default();
    for set in &profile.sets {
        table.evaluate(set, &prepared, &mut outcome)?;
    }
    let curves = prepared.values().filter_map(|prepared| learned(prepared)?.curve.clone());
    outcome.curve = curves.into_iter().next();
    Ok(outcome)
}

/// What a table is made with.
struct Table<'a> {
    experiment: &'a Experiment,
    profile: &'a Profile,
    data: &'a DataSource,
    run: Run,
    instrument: Box<dyn Instrument>,
}

/// An image with what all rows know about it.
struct Observed {
    name: String,
    seen: Seen,
    domain: Space,
}

impl<'a> Table<'a> {
    fn new(
        experiment: &'a Experiment,
        profile: &'a Profile,
        data: &'a DataSource,
        options: &RunOptions,
    ) -> Result<Self> {
        let run = options.to_run();
        Ok(Self { experiment, profile, data, run, instrument: profile.problem.instrument(None)? })
    }

    /// What is wrong with an image is said before any training, not after it.
    fn check_images(&self) -> Result<()> {
        for set in &self.profile.sets {
            for name in self.data.names(&set.images, set.take)? {
                let image = self.data.image(&name, Role::Evaluation, self.instrument.as_ref())?;
                let domain = Space::of(&name, &self.instrument.truth(&name, &image)?)?;
                for row in set.methods.iter().filter_map(|key| self.profile.rows.get(key)) {
                    row.settings.check(Some(domain)).map_err(|(key, problem)| {
                        Error::value(format!("{name} for {} ({key})", row.key), "an image that fits", problem)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// What is learned from the references.
    fn material(&self) -> Result<Material<'_>> {
        let load = |name: &String| {
            let image = self.data.image(name, Role::Reference, self.instrument.as_ref())?;
            self.instrument.reference(name, &image)
        };
        let names = &self.experiment.data.references;
        let validation = self.experiment.data.validation.as_ref().filter(|name| !names.contains(name));
        Ok(Material {
            references: names.iter().map(load).collect::<Result<_>>()?,
            validation: validation.map(load).transpose()?,
            ..self.no_material()
        })
    }

    fn no_material(&self) -> Material<'_> {
        let folder = match self.data {
            DataSource::Folder { folder, .. } => Some(folder.as_path()),
            _ => None,
        };
        let grey_step = self.experiment.data.grey_step;
        let instrument = self.instrument.as_ref();
        Material { grey_step, folder, ..Material::none(instrument) }
    }

    /// The methods of all rows that learn from references. What learns fast comes first: it says soon what is wrong.
    fn prepare(&self) -> Result<BTreeMap<String, Prepared>> {
        let mut rows = self.profile.used();
        rows.retain(|row| row.learns_from == LearnsFrom::References);
        rows.sort_by_key(|row| row.method.learns);
        let material = self.material()?;
        let prepare = |row: &RowSpec| {
            self.run.check()?;
            Ok((row.key.clone(), row.settings.prepare(&material, &self.run.for_row(&row.key))?))
        };
        rows.into_iter().map(prepare).collect()
    }

    fn observe(&self, name: &str) -> Result<Observed> {
        let image = self.data.image(name, Role::Evaluation, self.instrument.as_ref())?;
        let image = image.f_to_device(self.run.device)?;
        let seen = self.instrument.look(name, &image, self.run.seed.derive(name, 0))?;
        let domain = Space::of(name, &seen.truth)?;
        Ok(Observed { name: name.to_owned(), seen, domain })
    }

    /// The estimate of a row for an image, or why there is none.
    fn estimate(
        &self,
        row: &RowSpec,
        image: &Observed,
        prepared: &BTreeMap<String, Prepared>,
    ) -> Result<Result<Done, String>> {
        self.run.check()?;
        let own: Prepared;
        let prepared_row = match row.learns_from {
            LearnsFrom::References => prepared.get(&row.key),
            LearnsFrom::Observation => {
                let surroundings = image.seen.surroundings.iter();
                let references =
                    surroundings.map(|t| Ok(t.f_to_device(Device::Cpu)?)).collect::<Result<_>>()?;
                let material = Material { references, ..self.no_material() };
                let run = self.run.for_row(&row.key).part(&image.name, "learned from the observation");
                own = row.settings.prepare(&material, &run)?;
                Some(&own)
            }
        };
        let reconstructor = match prepared_row {
            Some(Prepared::Ready(reconstructor)) => reconstructor.as_ref(),
            Some(Prepared::Missing(why)) => return Ok(Err(why.clone())),
            None => return Ok(Err("nothing was learned".into())),
        };
        let mut problem = self.instrument.pose(&image.name, &image.seen.observation, Some(image.domain))?;
        let mut identity = String::new();
        if let Some(key) = &row.start {
            let Some(before) = self.profile.rows.get(key) else {
                return Ok(Err(format!("there is no row {key} to start from")));
            };
            match self.estimate(before, image, prepared)? {
                Ok(Done { estimate: Estimate { image, seconds, .. }, identity: of, .. }) => {
                    identity = of;
                    problem.start = Start { image, kind: StartKind::Method, seconds };
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        let learned = reconstructor.learned().map_or("", |learned| learned.identity.as_str());
        let settings = row.settings.to_toml();
        let identity = format!(
            "{} {settings} {learned} {} {identity}",
            data_hash(&[&problem.observation])?,
            self.instrument.identity()
        );
        let estimate = self.reconstruct(row, reconstructor, &problem, &identity)?;
        let assessed = reconstructor.assess(&image.seen.truth)?;
        let note = reconstructor.learned().map_or_else(String::new, |learned| learned.note.clone());
        Ok(Ok(Done { estimate, identity, assessed, note }))
    }

    fn reconstruct(
        &self,
        row: &RowSpec,
        reconstructor: &dyn Reconstructor,
        problem: &InverseProblem,
        identity: &str,
    ) -> Result<Estimate> {
        let run = self.run.for_row(&row.key);
        if reconstructor.instant() {
            return reconstructor.reconstruct(problem, &run);
        }
        let estimate = run.once(&format!("{} {}", row.key, problem.name), identity, |run| {
            tracing::info!("{} of {}", row.title, problem.name);
            reconstructor.reconstruct(problem, run)
        })?;
        estimate.to(self.run.device)
    }

    fn evaluate(
        &self,
        set: &EvaluationSet,
        prepared: &BTreeMap<String, Prepared>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let names = self.data.names(&set.images, set.take)?;
        let specs: Vec<&RowSpec> = set.methods.iter().filter_map(|key| self.profile.rows.get(key)).collect();
        let mut rows: Vec<Column> = specs.iter().map(|row| Column::of(row)).collect();
        for (i, name) in names.iter().enumerate() {
            let image = self.observe(name)?;
            let mut results = Vec::new();
            let mut maps = Vec::new();
            for (row, column) in specs.iter().zip(&mut rows) {
                let done = match self.estimate(row, &image, prepared)? {
                    Ok(done) => done,
                    Err(why) => {
                        column.notes.push(why);
                        continue;
                    }
                };
                let mut said = vec![done.note];
                said.push(done.estimate.note.clone());
                let mut estimate = done.estimate;
                if let Some(draws) = estimate.draws.take() {
                    let (note, plot) = self.calibrated(&draws, &image.seen.truth)?;
                    said.push(note);
                    estimate.plots.push(plot);
                }
                column.say(said);
                let others = std::mem::take(&mut estimate.others);
                let (before, after): (Vec<Other>, Vec<Other>) =
                    others.into_iter().partition(|other| other.place == Place::Before);
                for other in before {
                    results.push(column.other(self, other, &image)?);
                }
                let mut numbers = self.instrument.score(&estimate.image, &image.seen.truth)?;
                let (psnr, ssim) = (numbers["psnr"], numbers["ssim"]);
                tracing::info!("{name}: {} {psnr:.2} dB, SSIM {ssim:.3}", row.title);
                numbers.extend(estimate.figures);
                numbers.extend(done.assessed);
                column.scores.push(([psnr, ssim], Some(estimate.seconds)));
                column.figures.push(numbers);
                results.push(Restored {
                    key: row.key.clone(),
                    title: row.title.clone(),
                    image: estimate.image,
                    psnr,
                    ssim,
                });
                for other in after {
                    results.push(column.other(self, other, &image)?);
                }
                maps.extend(estimate.maps);
                outcome.plots.extend(estimate.plots);
            }
            if i < set.show {
                outcome.shown.push(self.shown(image, results, maps)?);
            }
        }
        // Published figures stand beside figures by the published protocol, on published data only.
        let comparable =
            !matches!(self.data, DataSource::Synthetic) && self.instrument.is_published_protocol();
        let label = self.data.label(&names);
        for (row, column) in specs.iter().zip(rows) {
            let summary = match prepared.get(&row.key) {
                Some(Prepared::Ready(reconstructor)) => reconstructor.summary(&column.figures),
                _ => String::new(),
            };
            let published = if comparable { set.published(row) } else { Figures::default() };
            outcome.rows.extend(column.rows(row, published, &summary, &label));
        }
        Ok(())
    }

    /// What draws of the posterior say about the truth: how often intervals hold it, and the calibration curve.
    fn calibrated(&self, draws: &Tensor, truth: &Tensor) -> Result<(String, smalti_methods::estimate::Plot)> {
        let draws = self.instrument.scored_part(&draws.f_to_device(truth.device())?)?;
        calibrated::note_and_curve(&self.instrument.scored_part(truth)?, &draws)
    }

    /// An image for the report.
    fn shown(
        &self,
        image: Observed,
        results: Vec<Restored>,
        maps: Vec<crate::outcome::Map>,
    ) -> Result<Shown> {
        let Observed { name, seen, domain } = image;
        let Seen { truth, observation, .. } = seen;
        let problem = self.instrument.pose(&name, &observation, Some(domain))?;
        // Observations that are images are shown, too.
        let pictured = self.instrument.observation_is_an_image();
        let observation = pictured.then(|| (observation, problem.operator.grid()));
        let scored = match self.instrument.scored(domain)[..] {
            [rows, columns] => [rows, columns],
            _ => [(0, domain.height), (0, domain.width)],
        };
        Ok(Shown { name, truth, observation, scored, results, maps })
    }
}

fn learned(prepared: &Prepared) -> Option<&Learned> {
    match prepared {
        Prepared::Ready(reconstructor) => reconstructor.learned(),
        Prepared::Missing(_) => None,
    }
}

/// An estimate with what belongs to it.
struct Done {
    estimate: Estimate,
    identity: String,
    assessed: Numbers,
    note: String,
}

/// PSNR and SSIM of an image, and its seconds.
type Scores = ([f64; 2], Option<f64>);

/// What a row adds up over images.
struct Column {
    key: String,
    scores: Vec<Scores>,
    figures: Vec<Numbers>,
    notes: Vec<String>,
    /// Rows of the same computation: key, title, place, scores.
    others: Vec<(String, String, Place, Vec<Scores>)>,
}

impl Column {
    fn of(row: &RowSpec) -> Self {
        let key = row.key.clone();
        Self { key, scores: Vec::new(), figures: Vec::new(), notes: Vec::new(), others: Vec::new() }
    }

    fn say(&mut self, notes: Vec<String>) {
        let said: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
        if !said.is_empty() {
            self.notes.push(said.join("; "));
        }
    }

    /// Scores an image beside the estimate.
    fn other(&mut self, table: &Table<'_>, other: Other, image: &Observed) -> Result<Restored> {
        let Other { key, title, image: x, seconds, place } = other;
        // `patchnr_mean` and `map` make `patchnr_map`.
        let key = format!("{}_{key}", self.key.trim_end_matches("_mean"));
        let numbers = table.instrument.score(&x, &image.seen.truth)?;
        let (psnr, ssim) = (numbers["psnr"], numbers["ssim"]);
        if place != Place::Pictures {
            let known = self.others.iter_mut().find(|(known, ..)| *known == key);
            match known {
                Some((.., scores)) => scores.push(([psnr, ssim], seconds)),
                None => {
                    self.others.push((key.clone(), title.clone(), place, vec![([psnr, ssim], seconds)]));
                }
            }
        }
        Ok(Restored { key, title, image: x, psnr, ssim })
    }

    /// The rows of the table.
    fn rows(mut self, row: &RowSpec, published: Figures, summary: &str, label: &str) -> Vec<Row> {
        self.notes.dedup();
        let mut note = self.notes.join("; ");
        if !summary.is_empty() {
            note = if note.is_empty() { summary.to_owned() } else { format!("{note}; {summary}") };
        }
        let make = |key: &str, title: &str, scores: &[Scores], published, note: String| {
            let over =
                |k: usize| Figure::over(&scores.iter().map(|(score, _)| score[k]).collect::<Vec<f64>>());
            let seconds: Vec<f64> = scores.iter().filter_map(|(_, seconds)| *seconds).collect();
            Row {
                method: key.into(),
                title: title.into(),
                images: scores.len(),
                ours: Figures { psnr: over(0), ssim: over(1), lpips: None },
                seconds_mean: Figure::over(&seconds).map(|f| f.mean),
                published,
                distance: None,
                data: label.into(),
                note,
            }
        };
        let beside = |place: Place| {
            let others = self.others.iter().filter(move |(_, _, at, _)| *at == place);
            others.map(|(key, title, _, scores)| make(key, title, scores, Figures::default(), String::new()))
        };
        let main = make(&row.key, &row.title, &self.scores, published, note);
        beside(Place::Before).chain([main]).chain(beside(Place::After)).collect()
    }
}

/// What the report says about the run.
///
/// # Errors
/// Those of making the instrument.
pub fn facts<'a>(
    experiment: &'a Experiment,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Result<Facts<'a>> {
    let instrument = profile.problem.instrument(None)?;
    let named = |name: &String| data.names(std::slice::from_ref(name), None).unwrap_or_default().join("");
    let references: Vec<String> = experiment.data.references.iter().map(named).collect();
    let validation = experiment.data.validation.as_ref().map(named);
    let validation = validation.map_or_else(String::new, |name| format!(" (validation: {name})"));
    let mut protocol = vec![("Experiment", format!("{}, profile {}", experiment.name, options.profile))];
    protocol.extend(instrument.protocol());
    protocol.push(("Mean ± std", "over images; standard deviation of the population".to_owned()));
    protocol.push(("Learned from", format!("{}{validation}", references.join(", "))));
    protocol.extend(how(options));
    let range = instrument.range();
    Ok(Facts {
        title: &experiment.title,
        window: [range.low, range.high],
        data,
        sources: profile.sources(),
        protocol,
        settings: profile.to_toml(),
    })
}
