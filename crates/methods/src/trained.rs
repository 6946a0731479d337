//! Trained models with the history of their training, as state is kept of them.

use crate::estimate::TrainingCurve;
use crate::run::Persist;
use smalti_base::Result;
use smalti_base::checkpoint::Checkpoint;
use smalti_flows::{PatchNr, WppFlow};
use smalti_priors::{GaussianMixture, PatchCritic};
use smalti_solvers::{AcNet, CurvePoint, ResidualNet, UNet};
use std::path::Path;
use tch::{Kind, Tensor};

/// A model that checkpoints hold.
pub(crate) trait Model: Sized {
    fn to_checkpoint(&self) -> Checkpoint;
    fn from_checkpoint(file: Checkpoint, path: &Path) -> Result<Self>;
}

macro_rules! models {
    ($($model:ty),*) => {$(
        impl Model for $model {
            fn to_checkpoint(&self) -> Checkpoint {
                Self::to_checkpoint(self)
            }

            fn from_checkpoint(file: Checkpoint, path: &Path) -> Result<Self> {
                Self::from_checkpoint(file, path)
            }
        }
    )*};
}

models!(PatchNr, WppFlow, AcNet, UNet, ResidualNet, GaussianMixture, PatchCritic);

/// A model with the history of its training.
pub(crate) struct Trained<M> {
    pub(crate) model: M,
    /// Empty where none is shown.
    pub(crate) curve: TrainingCurve,
    pub(crate) seconds: f64,
}

impl<M> Trained<M> {
    /// A model that was trained before this run.
    pub(crate) fn given(model: M) -> Self {
        Self { model, curve: TrainingCurve::default(), seconds: 0.0 }
    }
}

impl From<&[CurvePoint]> for TrainingCurve {
    fn from(points: &[CurvePoint]) -> Self {
        let mut curve = Self::default();
        for &CurvePoint { step, train, validation } in points {
            curve.training.push((step, train));
            curve.validation.extend(validation.map(|value| (step, value)));
        }
        curve
    }
}

impl<M: Model> Persist for Trained<M> {
    fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut file = self.model.to_checkpoint();
        file.set_meta("seconds", self.seconds);
        let TrainingCurve { training, validation } = &self.curve;
        for (name, points) in [("curve.training", training), ("curve.validation", validation)] {
            if !points.is_empty() {
                let flat: Vec<f64> = points.iter().flat_map(|&(step, value)| [step as f64, value]).collect();
                file.set_meta(name, points.len());
                file.tensors.insert(name.into(), Tensor::f_from_slice(&flat)?);
            }
        }
        Ok(file)
    }

    fn from_checkpoint(mut file: Checkpoint) -> Result<Self> {
        let mut points = |name: &str| -> Result<Vec<(u64, f64)>> {
            if !file.metadata.contains_key(name) {
                return Ok(Vec::new());
            }
            let n: i64 = file.meta_parsed(name)?;
            let flat = Vec::<f64>::try_from(file.take(name, &[2 * n], Kind::Double)?)?;
            Ok(flat.chunks_exact(2).map(|p| (p[0] as u64, p[1])).collect())
        };
        let curve =
            TrainingCurve { training: points("curve.training")?, validation: points("curve.validation")? };
        let seconds = file.meta_parsed("seconds")?;
        for name in ["seconds", "curve.training", "curve.validation"] {
            file.metadata.remove(name);
        }
        Ok(Self { model: M::from_checkpoint(file, Path::new("state of the run"))?, curve, seconds })
    }
}
