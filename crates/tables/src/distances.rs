//! What the tables of samplers share: trained flows, distances observation by observation, and their rows.

use crate::experiment::samplers::FlowTraining;
use crate::outcome::{Distance, DistanceKind, Figure, TableRow};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Result, Seed};
use smalti_flows::stochastic::ConditionalSnf;
use smalti_methods::Run;
use smalti_solvers::snf_training::DrawPairs;
use smalti_solvers::{AdamSettings, Iteration, SnfTraining, SnfTrainingSettings, Step};
use tch::Kind;

/// Keys in `distances.csv` and titles of the rows.
const TITLES: [(&str, &str); 6] = [
    ("inn", "INN"),
    ("snf", "SNF"),
    ("inn_authors", "INN, authors' weights"),
    ("snf_authors", "SNF, authors' weights"),
    ("exact", "exact samples"),
    ("reference", "reference again"),
];

/// The name of a row for readers.
fn title(key: &str) -> Option<&'static str> {
    TITLES.iter().find(|(known, _)| *known == key).map(|(_, title)| *title)
}

/// A piece of work, for logs and for the state of the run.
pub(crate) struct WorkItem<'a> {
    pub(crate) name: String,
    /// All settings that it depends on.
    pub(crate) identity: &'a str,
    pub(crate) run: &'a Run,
}

impl WorkItem<'_> {
    /// Trains `flow`, or takes it from the state of an interrupted run; with the seconds that it took.
    pub(crate) fn trained(
        &self,
        flow: ConditionalSnf,
        draw: DrawPairs<'_>,
        training: &FlowTraining,
        seed: Seed,
    ) -> Result<(ConditionalSnf, f64)> {
        let &FlowTraining { steps, learning_rate: rate, schedule, .. } = training;
        let settings = SnfTrainingSettings::default()
            .with_adam(AdamSettings::constant(steps, rate).with_schedule(schedule.with_warmup(0)))
            .with_report_every(steps.div_ceil(100).max(1));
        let train = |flow, run: &Run| {
            let training = SnfTraining::new(flow, draw, settings, seed)?;
            let (trained, summary) = run.iterate("training", steps, training)?;
            Ok((trained.flow, summary.elapsed.as_secs_f64()))
        };
        let save = |(flow, seconds): &(ConditionalSnf, f64)| {
            let mut file = flow.to_checkpoint();
            file.set_meta("seconds", seconds);
            Ok(file)
        };
        let restore = |mut flow: ConditionalSnf, file: Checkpoint| {
            let seconds = file.meta_parsed("seconds")?;
            flow.load(file)?;
            Ok((flow, seconds))
        };
        self.run.once_from(&self.name, self.identity, flow, train, (save, restore))
    }

    /// What `measure` finds for the observations `0..observations`: one list of distances for each of `methods`.
    pub(crate) fn compared(
        &self,
        observations: u64,
        methods: &[&'static str],
        measure: impl FnMut(u64) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let name = self.name.clone();
        let comparison =
            Comparison { name, methods: methods.to_vec(), measure, found: vec![Vec::new(); methods.len()] };
        let compare = |comparison, run: &Run| Ok(run.iterate("comparison", observations, comparison)?.0);
        let restore = |mut comparison: Comparison<_>, file| {
            comparison.restore(file)?;
            comparison.finish()
        };
        let save = |found: &Vec<Vec<f64>>| Ok(to_checkpoint(found));
        self.run.once_from(&self.name, self.identity, comparison, compare, (save, restore))
    }
}

/// Distances by method, as a file.
fn to_checkpoint(found: &[Vec<f64>]) -> Checkpoint {
    let mut file = Checkpoint::default();
    file.set_meta("observations", found.first().map_or(0, Vec::len));
    file.tensors.insert("distances".into(), tch::Tensor::from_slice(&found.concat()));
    file
}

/// Distances of several methods, an observation a step.
struct Comparison<F> {
    name: String,
    methods: Vec<&'static str>,
    measure: F,
    /// Method by method.
    found: Vec<Vec<f64>>,
}

impl<F: FnMut(u64) -> Result<Vec<f64>>> Iteration for Comparison<F> {
    type Output = Vec<Vec<f64>>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let found = (self.measure)(k)?;
        let terms = self.methods.iter().copied().zip(found.iter().copied()).collect();
        self.found.iter_mut().zip(found).for_each(|(all, distance)| all.push(distance));
        Ok(Step { terms, done: None })
    }

    fn finish(self) -> Result<Vec<Vec<f64>>> {
        Ok(self.found)
    }

    fn save(&self) -> Option<Checkpoint> {
        Some(to_checkpoint(&self.found))
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let observations: usize = state.meta_parsed("observations")?;
        let all = observations * self.found.len();
        let flat = Vec::<f64>::try_from(state.take("distances", &[all as i64], Kind::Double)?)?;
        for (k, found) in self.found.iter_mut().enumerate() {
            *found = flat[k * observations..(k + 1) * observations].to_vec();
        }
        Ok(())
    }
}

/// The row of a method; `values` are what mean and standard deviation go over, none where it could not run.
pub(crate) fn row(method: &str, values: &[f64], of: Distance, note: String, data: &str) -> TableRow {
    TableRow {
        method: method.into(),
        title: title(method).unwrap_or(method).into(),
        distance: Some(Distance { figure: Figure::over(values), ..of }),
        data: data.into(),
        note,
        ..TableRow::default()
    }
}

/// By how much `better` is below `worse`, value by value: `0.0340 ± 0.0040`, mean and standard error.
pub(crate) fn gain(worse: &[f64], better: &[f64]) -> String {
    let gains: Vec<f64> = worse.iter().zip(better).map(|(worse, better)| worse - better).collect();
    match Figure::over(&gains) {
        Some(Figure { mean, std: Some(std) }) => {
            format!("{mean:.4} ± {:.4}", std / (gains.len() as f64 - 1.0).sqrt())
        }
        Some(Figure { mean, std: None }) => format!("{mean:.4}"),
        None => String::new(),
    }
}

/// What is common to the rows of a run.
pub(crate) fn of(measure: DistanceKind, [problems, observations]: [u64; 2], samples: i64) -> Distance {
    Distance { measure, figure: None, problems, observations, samples }
}

/// What the note of a flow says about its training.
pub(crate) fn learned(training: &FlowTraining, seconds: f64) -> String {
    format!("{} steps of {} pairs in {seconds:.0} s", training.steps, training.batch)
}
