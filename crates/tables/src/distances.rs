//! What the tables of samplers share: trained flows, distances observation by observation, and their rows.

use crate::experiment::samplers::FlowTraining;
use crate::experiment::settings::Schedule as ScheduleChoice;
use crate::outcome::{Distance, Figure, Measure, Row};
use crate::state::State;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Result, Seed};
use smalti_flows::stochastic::ConditionalSnf;
use smalti_solvers::snf_training::DrawPairs;
use smalti_solvers::{Budget, Iteration, Schedule, SnfTraining, SnfTrainingSettings, Step, run};
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
pub(crate) fn title(key: &str) -> Option<&'static str> {
    TITLES.iter().find(|(known, _)| *known == key).map(|(_, title)| *title)
}

/// A piece of work, for logs and for the state of the run.
pub(crate) struct Piece<'a> {
    pub(crate) name: String,
    /// All settings that it depends on.
    pub(crate) identity: &'a str,
    pub(crate) state: &'a State,
}

impl Piece<'_> {
    fn done<I: Iteration>(&self, iteration: &mut I, steps: u64) -> Result<f64> {
        let observer = self.state.observer(&self.name, self.identity);
        let summary = run(iteration, Budget::steps(steps), &observer)?;
        self.state.go_on(&summary)?;
        Ok(summary.elapsed.as_secs_f64())
    }

    /// Trains `flow`, or takes it from the state of an interrupted run; with the seconds that it took.
    pub(crate) fn trained(
        &self,
        mut flow: ConditionalSnf,
        draw: DrawPairs<'_>,
        training: &FlowTraining,
        seed: Seed,
    ) -> Result<(ConditionalSnf, f64)> {
        if let Some(file) = self.state.finished(&self.name, self.identity)? {
            let seconds = file.meta_parsed("seconds")?;
            flow.load(file)?;
            return Ok((flow, seconds));
        }
        let &FlowTraining { steps, learning_rate: rate, schedule, .. } = training;
        let schedule = match schedule {
            ScheduleChoice::Constant => Schedule::Constant,
            ScheduleChoice::Cosine => Schedule::Cosine { warmup: 0 },
        };
        let settings =
            SnfTrainingSettings { steps, rate, schedule, report_every: steps.div_ceil(100).max(1) };
        let mut training = SnfTraining::new(flow, draw, settings, seed)?;
        let seconds = self.done(&mut training, steps)?;
        let flow = training.finish()?.flow;
        let mut file = flow.to_checkpoint();
        file.set_meta("seconds", seconds);
        self.state.finish(&self.name, self.identity, file)?;
        Ok((flow, seconds))
    }

    /// What `measure` finds for the observations `0..observations`: one list of distances for each of `methods`.
    pub(crate) fn compared(
        &self,
        observations: u64,
        methods: &[&'static str],
        measure: impl FnMut(u64) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let name = self.name.clone();
        let mut comparison =
            Comparison { name, methods: methods.to_vec(), measure, found: vec![Vec::new(); methods.len()] };
        if let Some(file) = self.state.finished(&self.name, self.identity)? {
            comparison.restore(file)?;
            return comparison.finish();
        }
        self.done(&mut comparison, observations)?;
        self.state.finish(&self.name, self.identity, comparison.save().unwrap_or_default())?;
        comparison.finish()
    }
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
        let mut file = Checkpoint::default();
        file.set_meta("observations", self.found.first().map_or(0, Vec::len));
        let flat = self.found.concat();
        file.tensors.insert("distances".into(), tch::Tensor::from_slice(&flat));
        Some(file)
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
pub(crate) fn row(method: &str, values: &[f64], of: Distance, note: String, data: &str) -> Row {
    Row {
        method: method.into(),
        distance: Some(Distance { figure: Figure::over(values), ..of }),
        data: data.into(),
        note,
        ..Row::default()
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
pub(crate) fn of(measure: Measure, [problems, observations]: [u64; 2], samples: i64) -> Distance {
    Distance { measure, figure: None, problems, observations, samples }
}

/// What the note of a flow says about its training.
pub(crate) fn learned(training: &FlowTraining, seconds: f64) -> String {
    format!("{} steps of {} pairs in {seconds:.0} s", training.steps, training.batch)
}
