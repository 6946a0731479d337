//! What a training says about itself: its curve, and where a model comes from.

use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Result, Seed};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// One point of a training curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Steps done.
    pub step: u64,
    /// Mean training loss since the point before.
    pub train: f64,
    /// Loss of the validation data.
    pub validation: Option<f64>,
}

impl CurvePoint {
    /// Puts a curve into a checkpoint.
    pub(crate) fn save(curve: &[Self], file: &mut Checkpoint) {
        let values: Vec<f64> =
            curve.iter().flat_map(|c| [c.step as f64, c.train, c.validation.unwrap_or(f64::NAN)]).collect();
        file.tensors.insert("training.curve".into(), Tensor::from_slice(&values));
        file.set_meta("training.points", curve.len());
    }

    /// Takes a curve out of a checkpoint.
    pub(crate) fn restore(state: &mut Checkpoint) -> Result<Vec<Self>> {
        let points: i64 = state.meta_parsed("training.points")?;
        let values = Vec::<f64>::try_from(state.take("training.curve", &[3 * points], Kind::Double)?)?;
        let point = |c: &[f64]| Self {
            step: c[0] as u64,
            train: c[1],
            validation: Some(c[2]).filter(|v| v.is_finite()),
        };
        Ok(values.chunks_exact(3).map(point).collect())
    }
}

/// The curve of a training, and the losses since its last point.
#[derive(Debug, Default)]
pub(crate) struct TrainingHistory {
    pub(crate) curve: Vec<CurvePoint>,
    sum: f64,
    count: f64,
}

impl TrainingHistory {
    /// Adds the loss of a step.
    pub(crate) fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1.0;
    }

    /// Adds a point to the curve; gives its training loss.
    pub(crate) fn point(&mut self, step: u64, validation: Option<f64>) -> f64 {
        let train = self.sum / self.count.max(1.0);
        (self.sum, self.count) = (0.0, 0.0);
        self.curve.push(CurvePoint { step, train, validation });
        train
    }

    /// The last validation loss.
    pub(crate) fn last_validation(&self) -> Option<f64> {
        self.curve.last().and_then(|point| point.validation)
    }

    pub(crate) fn save(&self, file: &mut Checkpoint) {
        file.tensors.insert("training.running".into(), Tensor::from_slice(&[self.sum, self.count]));
        CurvePoint::save(&self.curve, file);
    }

    pub(crate) fn restore(state: &mut Checkpoint) -> Result<Self> {
        let running = state.take("training.running", &[2], Kind::Double)?;
        let (sum, count) = (running.double_value(&[0]), running.double_value(&[1]));
        Ok(Self { curve: CurvePoint::restore(state)?, sum, count })
    }
}

/// Notes in `provenance` what a model was trained on, how, and with which seed.
pub(crate) fn record(
    provenance: &mut BTreeMap<String, String>,
    data_hash: String,
    settings: String,
    seed: Seed,
) {
    for (key, value) in [
        ("training_data_sha256", data_hash),
        ("training", settings),
        ("seed", seed.value().to_string()),
        ("value_range", "[0, 1]".to_owned()),
    ] {
        provenance.insert(key.into(), value);
    }
}
