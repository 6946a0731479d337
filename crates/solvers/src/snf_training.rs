//! Supervised training of conditional flows, with and without stochastic layers, by forward KL.

use crate::adam::{Adam, AdamSettings};
use crate::run::{Iteration, Step};
use crate::training_history::{CurvePoint, TrainingHistory};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed, seed::Stream};
use smalti_flows::Gradients;
use smalti_flows::stochastic::ConditionalSnf;
use tch::Tensor;

/// Settings of [`SnfTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SnfTrainingSettings {
    /// Steps and learning rate.
    pub adam: AdamSettings,
    /// Steps that one point of the training curve averages over.
    pub report_every: u64,
}

impl Default for SnfTrainingSettings {
    /// [`AdamSettings::default`], with a point of the curve for every 100 steps.
    fn default() -> Self {
        Self { adam: AdamSettings::default(), report_every: 100 }
    }
}

impl SnfTrainingSettings {
    /// The same with other steps.
    #[must_use]
    pub fn with_adam(mut self, adam: AdamSettings) -> Self {
        self.adam = adam;
        self
    }

    /// The same with points of the curve that average over so many steps.
    #[must_use]
    pub fn with_report_every(mut self, report_every: u64) -> Self {
        self.report_every = report_every;
        self
    }
}

/// Draws a batch of training pairs, `x: [B, d]` and `y: [B, m]`, from a stream.
pub type DrawPairs<'a> = Box<dyn Fn(&mut Stream) -> Result<(Tensor, Tensor)> + 'a>;

/// A trained conditional flow.
#[derive(Debug)]
pub struct TrainedSnf {
    /// The flow after the last step.
    pub flow: ConditionalSnf,
    /// The training curve.
    pub curve: Vec<CurvePoint>,
}

/// Minimises `E_y KL(p(x | y), flow(y))`, from pairs `(x, y)` and up to a constant, by Adam: the mean over each batch of
/// `|z|^2 / 2 - sum l`, see [`ConditionalSnf::loss_and_weight_grads`].
pub struct SnfTraining<'a> {
    flow: ConditionalSnf,
    draw: DrawPairs<'a>,
    settings: SnfTrainingSettings,
    parameters: Vec<Tensor>,
    adam: Adam,
    seed: Seed,
    history: TrainingHistory,
}

impl std::fmt::Debug for SnfTraining<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnfTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<'a> SnfTraining<'a> {
    /// Training of `flow` on the pairs that `draw` gives, one batch a step. What it draws must depend on the stream alone, or a
    /// resumed run differs from an uninterrupted one.
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is out of range.
    pub fn new(
        flow: ConditionalSnf,
        draw: DrawPairs<'a>,
        settings: SnfTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        settings.adam.check()?;
        if settings.report_every == 0 {
            return Err(Error::value("steps between two reports", "at least 1", 0));
        }
        let parameters: Vec<Tensor> = flow.parameters().into_iter().map(|(_, t)| t.shallow_clone()).collect();
        let adam = Adam::new(&parameters);
        Ok(Self { flow, draw, settings, parameters, adam, seed, history: TrainingHistory::default() })
    }
}

impl Iteration for SnfTraining<'_> {
    type Output = TrainedSnf;

    fn name(&self) -> String {
        "training conditional flow".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let (x, y) = (self.draw)(&mut self.seed.at("training pairs", k))?;
        let stream = &mut self.seed.at("stochastic layers", k);
        let (loss, gradients) = self.flow.loss_and_weight_grads(&x, &y, stream)?;
        self.adam.step(&self.parameters, &[Gradients::sum(&gradients)?], self.settings.adam.rate_at(k))?;
        self.history.add(loss);
        if (k + 1).is_multiple_of(self.settings.report_every) || k + 1 == self.settings.adam.steps {
            self.history.point(k + 1, None);
        }
        Ok(Step { terms: vec![("training path NLL", loss)], done: None })
    }

    fn finish(self) -> Result<TrainedSnf> {
        Ok(TrainedSnf { flow: self.flow, curve: self.history.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.insert_part("flow", self.flow.to_checkpoint());
        self.adam.save(&mut file);
        self.history.save(&mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.flow.load(state.take_part("flow"))?;
        self.adam.restore(&mut state)?;
        self.history = TrainingHistory::restore(&mut state)?;
        Ok(())
    }
}
