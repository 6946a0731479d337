//! Supervised training of conditional flows, with and without stochastic layers, by forward KL.

use crate::adam::Adam;
use crate::patchnr_training::CurvePoint;
use crate::run::{Iteration, Step};
use crate::schedule::{Schedule, check_rate};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed, seed::Stream};
use smalti_flows::Gradients;
use smalti_flows::stochastic::ConditionalSnf;
use tch::{Kind, Tensor};

/// Settings of [`SnfTraining`].
#[derive(Debug, Clone, Copy)]
pub struct SnfTrainingSettings {
    /// Number of steps, which the schedule refers to.
    pub steps: u64,
    /// Learning rate of Adam.
    pub rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Steps that one point of the training curve averages over.
    pub report_every: u64,
}

/// Draws a batch of training pairs, `x: [B, d]` and `y: [B, m]`, from a stream.
pub type DrawPairs<'a> = Box<dyn Fn(&mut Stream) -> Result<(Tensor, Tensor)> + 'a>;

/// A trained conditional flow.
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
    curve: Vec<CurvePoint>,
    /// Sum and number of the losses since the last point.
    running: (f64, f64),
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
        check_rate(settings.rate)?;
        if settings.report_every == 0 {
            return Err(Error::value("steps between two reports", "at least 1", 0));
        }
        let parameters: Vec<Tensor> = flow.parameters().into_iter().map(|(_, t)| t.shallow_clone()).collect();
        let adam = Adam::new(&parameters);
        Ok(Self { flow, draw, settings, parameters, adam, seed, curve: Vec::new(), running: (0.0, 0.0) })
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
        let rate = self.settings.rate * self.settings.schedule.factor(k, self.settings.steps);
        self.adam.step(&self.parameters, &[Gradients::sum(&gradients)?], rate)?;
        self.running = (self.running.0 + loss, self.running.1 + 1.0);
        if (k + 1).is_multiple_of(self.settings.report_every) || k + 1 == self.settings.steps {
            let train = self.running.0 / self.running.1;
            self.curve.push(CurvePoint { step: k + 1, train, validation: None });
            self.running = (0.0, 0.0);
        }
        Ok(Step { terms: vec![("training path NLL", loss)], done: None })
    }

    fn finish(self) -> Result<TrainedSnf> {
        Ok(TrainedSnf { flow: self.flow, curve: self.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.insert_part("flow", self.flow.to_checkpoint());
        self.adam.save(&mut file);
        file.tensors.insert("training.running".into(), Tensor::from_slice(&[self.running.0, self.running.1]));
        CurvePoint::save(&self.curve, &mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.flow.load(state.take_part("flow"))?;
        self.adam.restore(&mut state)?;
        let running = state.take("training.running", &[2], Kind::Double)?;
        self.running = (running.double_value(&[0]), running.double_value(&[1]));
        self.curve = CurvePoint::restore(&mut state)?;
        Ok(())
    }
}
