//! What a model of images given an observation must be able to do to be trained.

use smalti_base::checkpoint::Checkpoint;
use smalti_base::seed::Stream;
use smalti_base::{Result, Space};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// A model `G` that makes images `x = G(y)`, or random ones `x = G(z; y)` of latents `z`, of observations `y`.
///
/// # Shapes
/// `y: [B, 1, h, w]`; `x` and `z`: `[B, 1, f h, f w]`.
pub trait Generator: Sync {
    /// What it is called, in seeds too.
    const NAME: &'static str;
    /// What its images are called in logs.
    const RESULT: &'static str;
    /// What is kept of a pass for its gradient.
    type Pass: Send;

    /// Checks the settings, and makes the model ready for training in float32.
    ///
    /// # Errors
    /// [`smalti_base::Error::Value`] where a setting is out of range.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Its settings as text.
    fn settings(&self) -> String;

    /// Where the model comes from.
    fn provenance(&mut self) -> &mut BTreeMap<String, String>;

    /// Device of the parameters.
    fn device(&self) -> Device;

    /// The space of images of observations of `h` x `w` pixels.
    fn images(&self, h: i64, w: i64) -> Space;

    /// The parameters, contiguous; they share their memory with the model.
    fn parameters(&self) -> Vec<Tensor>;

    /// Latents of that size, where the model takes some.
    ///
    /// # Errors
    /// Those of libtorch.
    fn latents(&self, _stream: &mut Stream, _size: &[i64]) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Chooses what depends on the first batch, where that has not been done.
    ///
    /// # Errors
    /// Those of the model.
    fn initialise(&mut self, _z: Option<&Tensor>, _y: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Images without a gradient.
    ///
    /// # Errors
    /// Those of the model.
    fn generate(&self, z: Option<&Tensor>, y: &Tensor) -> Result<Generated>;

    /// Images, and what their gradient needs.
    ///
    /// # Errors
    /// Those of the model.
    fn pass(&self, z: Option<&Tensor>, y: &Tensor) -> Result<(Generated, Self::Pass)>;

    /// The gradient in the parameters of a loss that has the gradient `gradient` in the images of `pass`, which are among `batch`
    /// images; the entropy included.
    ///
    /// # Errors
    /// Those of the model.
    fn pull_back(&self, pass: &Self::Pass, gradient: &Tensor, batch: i64) -> Result<Vec<Tensor>>;

    /// Gradients whose sum is the one to descend along, of those of the parts of a batch; with its norm where it is bounded.
    ///
    /// # Errors
    /// Those of libtorch.
    fn limited(&self, parts: Vec<Vec<Tensor>>) -> Result<(Vec<Vec<Tensor>>, Option<f64>)> {
        Ok((parts, None))
    }

    /// The data term of the residuals of a batch.
    ///
    /// # Errors
    /// Those of libtorch.
    fn data_term(&self, residual: &Tensor) -> Result<f64>;

    /// Its gradient in the images, from `vjp`, the operator's vector-Jacobian product with the residual.
    fn data_gradient(&self, vjp: Tensor, residual: &Tensor) -> Tensor;

    /// The weight of the mean log-determinant.
    fn entropy_weight(&self) -> f64 {
        0.0
    }

    /// The model as a checkpoint.
    fn to_checkpoint(&self) -> Checkpoint;

    /// Takes the parameters back, in place.
    ///
    /// # Errors
    /// [`smalti_base::Error::Content`] where the state is not one of this model.
    fn restore(&mut self, state: &mut Checkpoint) -> Result<()>;
}

/// Images of a generator.
#[derive(Debug)]
pub struct Generated {
    /// The images, without a graph.
    pub images: Tensor,
    /// `log |det|` of the map from latents to images, `[B]`, where there is one.
    pub log_det: Option<Tensor>,
}

impl Generated {
    /// Parts of a batch, joined.
    pub(super) fn joined<'a>(parts: impl Iterator<Item = &'a Self>) -> Result<Self> {
        let (images, log_dets): (Vec<&Tensor>, Vec<Option<&Tensor>>) =
            parts.map(|part| (&part.images, part.log_det.as_ref())).unzip();
        let log_dets = log_dets.into_iter().collect::<Option<Vec<&Tensor>>>();
        Ok(Self {
            images: Tensor::f_cat(&images, 0)?,
            log_det: log_dets.map(|parts| Tensor::f_cat(&parts, 0)).transpose()?,
        })
    }

    pub(super) fn mean_log_det(&self) -> Result<Option<f64>> {
        let mean = |t: &Tensor| Ok(t.f_mean(Kind::Double)?.f_double_value(&[])?);
        self.log_det.as_ref().map(mean).transpose()
    }
}
