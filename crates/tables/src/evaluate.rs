//! One table of reconstructions: observes every image, runs every method on it, scores what comes back.
//!
//! A row is a method with its settings, an image is observed by the instrument of the problem: nothing here knows which methods or
//! problems there are.

mod row_scores;
mod scene_run;

use crate::calibration_plot;
use crate::data::DataSource;
use crate::experiment::{Data, EvaluationSet, Experiment, LearnsFrom, Observations, Profile, RowSpec};
use crate::options::RunOptions;
use crate::outcome::{ExperimentOutcome, ReportImage, ScoredImage, TableRow, UncertaintyMap};
use crate::report::{Facts, how};
use crate::table;
use row_scores::{RowScores, Scorer};
use scene_run::{Observed, SceneRun, no_room};
use smalti_base::checkpoint::data_hash;
use smalti_base::lpips::LpipsAlex;
use smalti_base::{Error, Result};
use smalti_methods::estimate::{ExtraImage, Metrics, Placement};
use smalti_methods::{
    Estimate, InverseProblem, Learned, Learns, ObservedImage, Prepared, Range, Reconstructor, Region, Run,
    Start, StartKind, TrainingData,
};
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Runs the sets of `profile`: row after row, each on all images of the set, so that results come as they are made. An image that
/// stands in several sets is observed with the same noise and reconstructed once.
///
/// What is wrong with an image or a reference, and a file of weights that is missing, is said before the first training.
///
/// # Errors
/// What loading, observing and the methods meet.
pub fn run(profile: &Profile, data: &DataSource, options: &RunOptions) -> Result<ExperimentOutcome> {
    let run = options.to_run();
    let stages = stages(profile, data, &run)?;
    let materials = materials(profile, &stages)?;
    let mut table = Table::new(profile, data, &stages, &materials)?;
    let mut outcome = ExperimentOutcome::default();
    for set in &profile.sets {
        table.evaluate(set, &mut outcome)?;
    }
    let learned = table.learned.iter().flat_map(BTreeMap::values);
    outcome.curve = learned.filter_map(|prepared| learned_by(prepared)?.curve.clone()).next();
    outcome.run = Some(run);
    Ok(outcome)
}

/// Whether [`run`] will find what it needs: images that suit the problem and the methods, and files of weights. It does so by
/// itself; where several experiments run one after the other, this says it before the first.
///
/// # Errors
/// What is wrong with an image or a file.
pub fn check(profile: &Profile, data: &DataSource, options: &RunOptions) -> Result<()> {
    let run = options.to_run();
    let stages = stages(profile, data, &run)?;
    let materials = materials(profile, &stages)?;
    Table::new(profile, data, &stages, &materials).map(drop)
}

/// The scenes of a profile with their instruments.
fn stages<'a>(profile: &'a Profile, data: &'a DataSource, run: &Run) -> Result<Vec<SceneRun<'a>>> {
    (0..profile.scenes.len()).map(|i| SceneRun::new(i, profile, data, run)).collect()
}

/// What is learned from in every scene. What is wrong with any image, or a file of weights that is missing, is said here.
fn materials<'a>(profile: &Profile, stages: &'a [SceneRun<'_>]) -> Result<Vec<TrainingData<'a>>> {
    for row in profile.used(None).into_iter().filter(|row| row.left_out.is_none()) {
        for (_, file) in row.settings.files() {
            std::fs::File::open(&file).map_err(|e| Error::file(file.as_ref(), "reading", e))?;
        }
    }
    for set in &profile.sets {
        let stage = &stages[set.scene];
        stage.check(&stage.images(set)?, &profile.rows)?;
    }
    let seen = |stage: &SceneRun<'_>| profile.sets.iter().any(|set| set.scene == stage.number);
    let material = |stage: &'a SceneRun<'_>| match seen(stage) {
        true => stage.material(),
        false => Ok(stage.no_material()),
    };
    stages.iter().map(material).collect()
}

/// What a table is made with.
struct Table<'a> {
    profile: &'a Profile,
    data: &'a DataSource,
    /// By scenes.
    stages: &'a [SceneRun<'a>],
    /// What the rows of every scene learn from.
    materials: &'a [TrainingData<'a>],
    /// What the rows of every scene have learned so far.
    learned: Vec<BTreeMap<String, Prepared>>,
    lpips: Option<LpipsAlex>,
}

impl<'a> Table<'a> {
    /// A table whose rows have learned where that takes no training: that says soon what is wrong with references or weights.
    fn new(
        profile: &'a Profile,
        data: &'a DataSource,
        stages: &'a [SceneRun<'a>],
        materials: &'a [TrainingData<'a>],
    ) -> Result<Self> {
        let learned = profile.scenes.iter().map(|_| BTreeMap::new()).collect();
        let mut table = Self { profile, data, stages, materials, learned, lpips: lpips(data) };
        for (scene, material) in materials.iter().enumerate() {
            let learning =
                |row: &&RowSpec| row.learns_from == LearnsFrom::References && row.left_out.is_none();
            for row in profile.used(Some(scene)).into_iter().filter(learning) {
                row.settings.check_material(material)?;
            }
        }
        for scene in 0..stages.len() {
            let untrained =
                |row: &&RowSpec| row.method.learns <= Learns::Patches || !row.settings.files().is_empty();
            for row in profile.used(Some(scene)).into_iter().filter(untrained) {
                table.learn(row, scene)?;
            }
        }
        Ok(table)
    }

    /// Lets a row of a scene learn, unless it has.
    fn learn(&mut self, row: &RowSpec, scene: usize) -> Result<()> {
        if row.learns_from != LearnsFrom::References || self.learned[scene].contains_key(&row.key) {
            return Ok(());
        }
        let run = &self.stages[scene].run;
        run.check()?;
        let prepared = match &row.left_out {
            Some(reason) => Prepared::Missing(reason.clone()),
            None => row.settings.prepare(&self.materials[scene], &run.for_row(&row.key))?,
        };
        self.learned[scene].insert(row.key.clone(), prepared);
        Ok(())
    }

    /// The estimate of a row for an image, or why there is none. The problem is as it was afterwards.
    fn estimate(
        &self,
        row: &RowSpec,
        stage: &SceneRun<'_>,
        image: &Observed,
        problem: &mut InverseProblem,
    ) -> Result<Result<Done, String>> {
        stage.run.check()?;
        if let Some(reason) = &row.left_out {
            return Ok(Err(reason.clone()));
        }
        let mut own = None;
        let prepared = match row.learns_from {
            LearnsFrom::References => self.learned[stage.number].get(&row.key),
            LearnsFrom::Observation => {
                let surroundings = image.seen.surroundings.iter();
                let references =
                    surroundings.map(|t| Ok(t.f_to_device(Device::Cpu)?)).collect::<Result<_>>()?;
                let references: Vec<Tensor> = references;
                if references.is_empty() {
                    return Err(no_room(&image.name));
                }
                let material = TrainingData { references, ..stage.no_material() };
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                let weights = format!("{}_{}", row.key, image.name.chars().map(plain).collect::<String>());
                let run = stage.run.for_row(&weights).part(&image.name, "learned from the observation");
                own = Some(row.settings.prepare(&material, &run)?);
                own.as_ref()
            }
        };
        let reconstructor = match prepared {
            Some(Prepared::Ready(reconstructor)) => reconstructor.as_ref(),
            Some(Prepared::Missing(why)) => return Ok(Err(why.clone())),
            None => return Ok(Err("nothing was learned".into())),
        };
        let mut identity = String::new();
        let mut before_it = None;
        if let Some(key) = &row.start {
            let Some(before) = self.profile.rows.get(key) else {
                return Ok(Err(format!("there is no row {key} to start from")));
            };
            match self.estimate(before, stage, image, problem)? {
                Ok(Done { estimate: Estimate { image, seconds, .. }, identity: of, .. }) => {
                    identity = of;
                    let start = Start { image, kind: StartKind::Method, seconds };
                    before_it = Some(std::mem::replace(&mut problem.start, start));
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        let learned = reconstructor.learned().map_or("", |learned| learned.identity.as_str());
        let settings = row.settings.to_toml();
        let identity = format!(
            "{} {settings} {learned} {} {identity}",
            data_hash(&[&problem.observation, &problem.start.image])?,
            stage.instrument.identity()
        );
        let estimate = reconstruct(row, reconstructor, problem, &stage.run, &identity)?;
        if let Some(start) = before_it {
            problem.start = start;
        }
        let assessed = reconstructor.assess(&image.seen.truth)?;
        let note = reconstructor.learned().map_or_else(String::new, |learned| learned.note.clone());
        Ok(Ok(Done { estimate, identity, assessed, note, own }))
    }

    fn evaluate(&mut self, set: &EvaluationSet, outcome: &mut ExperimentOutcome) -> Result<()> {
        let stage = &self.stages[set.scene];
        let images = stage.images(set)?;
        let mut posed = Vec::new();
        for i in 0..images.names.len() {
            let image = stage.observe(&images, i)?;
            let problem = stage.pose(&images, &image)?;
            let regions = stage.instrument.regions(image.domain);
            posed.push(Posed { image, problem, regions, results: Vec::new(), maps: Vec::new() });
        }
        let label = stage.label(&images)?;
        let parts = posed.last().map_or(&[][..], |posed| &posed.regions);
        let parts: Vec<String> = parts
            .iter()
            .map(
                |part| if part.label.is_empty() { label.clone() } else { format!("{label}, {}", part.label) },
            )
            .collect();
        // Published figures stand beside figures by the published protocol, on published data only.
        let comparable =
            !matches!(self.data, DataSource::Synthetic) && stage.instrument.is_published_protocol();
        let rows = set.methods.iter().filter_map(|key| self.profile.rows.get(key));
        let mut of_parts: Vec<Vec<TableRow>> = parts.iter().map(|_| Vec::new()).collect();
        for row in rows {
            // Nothing is learned for a row that starts from one that is left out.
            let next = |row: &RowSpec| self.profile.rows.get(row.start.as_ref()?);
            let needed: Vec<&RowSpec> = std::iter::successors(Some(row), |row| next(row)).collect();
            if needed.iter().all(|row| row.left_out.is_none()) {
                needed.into_iter().try_for_each(|row| self.learn(row, set.scene))?;
            }
            let mut scores = RowScores::of(row, &self.profile.rows);
            for (i, posed) in posed.iter_mut().enumerate() {
                self.score(row, stage, posed, &mut scores, outcome)?;
                if i >= set.show || posed.image.domain.depth.is_some() {
                    (posed.results, posed.maps) = (Vec::new(), Vec::new());
                }
            }
            let summary = match self.learned[set.scene].get(&row.key).or(scores.own.as_ref()) {
                Some(Prepared::Ready(reconstructor)) => reconstructor.summary(&scores.figures),
                _ => String::new(),
            };
            for (k, part) in parts.iter().enumerate() {
                let made = scores.rows((row, &summary), (k, part), set, comparable);
                made.iter().for_each(|row| tracing::info!("{}", table::line(row)));
                of_parts[k].extend(made);
            }
        }
        outcome.rows.extend(of_parts.into_iter().flatten());
        // Volumes are not shown.
        let shown = posed.into_iter().take(set.show).filter(|posed| posed.image.domain.depth.is_none());
        shown.for_each(|posed| outcome.show(posed.shown(stage)));
        Ok(())
    }

    /// Runs a row on an image, and adds what comes of it to the image, the row and the outcome.
    fn score(
        &self,
        row: &RowSpec,
        stage: &SceneRun<'_>,
        posed: &mut Posed,
        scores: &mut RowScores,
        outcome: &mut ExperimentOutcome,
    ) -> Result<()> {
        let Posed { image, problem, regions, results, maps } = posed;
        let done = match self.estimate(row, stage, image, problem)? {
            Ok(done) => done,
            Err(why) => {
                scores.notes.push(why);
                return Ok(());
            }
        };
        let (truth, instrument) = (&image.seen.truth, stage.instrument.as_ref());
        let judge = Scorer { instrument, regions: &*regions, truth, lpips: self.lpips.as_ref() };
        scores.own = done.own;
        let mut said = vec![done.note, done.estimate.note.clone()];
        let mut estimate = done.estimate;
        if let Some(draws) = estimate.draws.take() {
            let draws = instrument.scored_part(&draws.f_to_device(truth.device())?)?;
            let truth = instrument.scored_part(truth)?;
            let (note, mut plot) = calibration_plot::note_and_curve(&truth, &draws)?;
            said.push(note);
            plot.caption = format!("{}; {}", image.name, plot.caption);
            estimate.plots.push(plot);
        }
        scores.say(said);
        let others = std::mem::take(&mut estimate.others);
        let (before, after): (Vec<ExtraImage>, Vec<ExtraImage>) =
            others.into_iter().partition(|other| other.place == Placement::Before);
        for other in before {
            results.push(scores.other(other, &judge)?);
        }
        estimate.figures.extend(done.assessed);
        let made = (estimate.image, estimate.seconds);
        let restored = scores.estimate(&row.title, made, estimate.figures, &judge)?;
        let ScoredImage { title, psnr, ssim, .. } = &restored;
        tracing::info!("{}: {title} {psnr:.2} dB, SSIM {ssim:.3}", image.name);
        results.push(restored);
        for other in after {
            results.push(scores.other(other, &judge)?);
        }
        let own = |map: UncertaintyMap| UncertaintyMap { key: format!("{}-{}", row.key, map.key), ..map };
        maps.extend(estimate.maps.into_iter().map(own));
        outcome.plots.extend(estimate.plots);
        Ok(())
    }
}

/// LPIPS, where the folder of data has its weights.
fn lpips(data: &DataSource) -> Option<LpipsAlex> {
    let folder = data.folder()?;
    let (backbone, linear) =
        (folder.join("weights/lpips_alex"), folder.join("weights/lpips_lin_alex_v0.1.pth"));
    if !(backbone.exists() && linear.exists()) {
        tracing::info!(
            "no column LPIPS: its weights are not there; `cargo xtask fetch-data --only weights/lpips` brings them"
        );
        return None;
    }
    match LpipsAlex::load(&backbone, &linear) {
        Ok(lpips) => Some(lpips),
        Err(e) => {
            tracing::warn!("no column LPIPS: {e}");
            None
        }
    }
}

/// An image of a set with its problem, and what the rows have made of it.
struct Posed {
    image: Observed,
    problem: InverseProblem,
    regions: Vec<Region>,
    results: Vec<ScoredImage>,
    maps: Vec<UncertaintyMap>,
}

impl Posed {
    /// The image for the report.
    fn shown(self, stage: &SceneRun<'_>) -> ReportImage {
        let Self { image, problem, regions, results, maps } = self;
        let Observed { name, seen, domain } = image;
        let ObservedImage { truth, observation, .. } = seen;
        // Observations that are images are shown, too.
        let pictured = stage.instrument.observation_is_an_image();
        let observation = problem.grid.filter(|_| pictured).map(|grid| (observation, grid));
        let scored = match regions.last().map(|region| &region.axes[..]) {
            Some(&[rows, columns]) => [rows, columns],
            _ => [(0, domain.height), (0, domain.width)],
        };
        let Range { low, high, .. } = problem.range;
        let name = stage.called(&name);
        ReportImage { name, truth, observation, window: [low, high], scored, results, maps }
    }
}

fn reconstruct(
    row: &RowSpec,
    reconstructor: &dyn Reconstructor,
    problem: &InverseProblem,
    run: &Run,
    identity: &str,
) -> Result<Estimate> {
    let run = run.for_row(&row.key);
    if reconstructor.instant() {
        return reconstructor.reconstruct(problem, &run);
    }
    let estimate = run.once(&format!("{} {}", row.key, problem.name), identity, |run| {
        tracing::info!("{} of {}", row.title, problem.name);
        reconstructor.reconstruct(problem, run)
    })?;
    estimate.to(run.device)
}

fn learned_by(prepared: &Prepared) -> Option<&Learned> {
    match prepared {
        Prepared::Ready(reconstructor) => reconstructor.learned(),
        Prepared::Missing(_) => None,
    }
}

/// An estimate with what belongs to it.
struct Done {
    estimate: Estimate,
    identity: String,
    assessed: Metrics,
    note: String,
    /// The method, where it learned from the observation.
    own: Option<Prepared>,
}

/// What the report says about the run.
///
/// # Errors
/// Those of making the instruments.
pub fn facts<'a>(
    experiment: &'a Experiment,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Result<Facts<'a>> {
    let mut protocol = vec![("Experiment", format!("{}, profile {}", experiment.name, options.profile))];
    let mut scenes = Vec::new();
    for (_, scene) in profile.seen() {
        let instrument = scene.problem.instrument(data.folder())?;
        let mut said = instrument.protocol();
        said.extend(scene.observer.as_ref().map(|other| ("Observed with", other.description.clone())));
        said.push(("Learned from", learned_from(&scene.data, data)));
        scenes.push((&scene.name, said));
    }
    // What is so for all scenes is said once.
    for (i, (name, said)) in scenes.iter().enumerate() {
        for (key, value) in said {
            let everywhere = scenes.iter().all(|(_, other)| other.contains(&(*key, value.clone())));
            if !everywhere {
                protocol.push((*key, format!("{name}: {value}")));
            } else if i == 0 {
                protocol.push((*key, value.clone()));
            }
        }
    }
    protocol.push(("Mean ± std", "over images; standard deviation of the population".to_owned()));
    protocol.extend(how(options));
    Ok(Facts {
        title: &experiment.title,
        data,
        sources: profile.sources(),
        protocol,
        settings: profile.to_toml(),
    })
}

/// The references and observations that are learned from.
fn learned_from(of: &Data, data: &DataSource) -> String {
    let named = |name: &String| data.names(std::slice::from_ref(name), None).unwrap_or_default().join("");
    let mut all: Vec<String> = of.references.iter().map(named).collect();
    all.extend(of.observations.as_ref().map(|from| match from {
        Observations::File(name) => format!("observed crops {}", named(name)),
        Observations::Cut { image, .. } => format!("observed crops of {}", named(image)),
    }));
    let validation: Vec<String> =
        of.validation.iter().chain(&of.validation_observations).map(named).collect();
    let validation = match &validation[..] {
        [] => String::new(),
        names => format!(" (validation: {})", names.join(", ")),
    };
    format!("{}{validation}", all.join(", "))
}
