//! Whole conditional flows, with or without stochastic layers.

use super::conditional::{ConditionalCoupling, ConditionalLayer};
use super::energy::{ConditionalEnergy, Interpolated, latent};
use super::kernel::MarkovKernel;
use crate::bijection::Mapped;
use crate::clamp::{ClampForm, SoftClamp};
use smalti_base::{Error, Result, Seed, checkpoint::Checkpoint, seed::Stream};
use tch::{Kind, Tensor};

/// One stage of a path.
pub enum Stage {
    /// A deterministic layer.
    Flow(Box<dyn ConditionalLayer>),
    /// `steps` steps of a kernel at the energy interpolated with `lambda`, 0 to 1.
    Markov {
        /// The kernel.
        kernel: Box<dyn MarkovKernel>,
        /// How many steps, at least 1.
        steps: u32,
        /// The place between the latent's energy, 0, and the posterior's, 1.
        lambda: f64,
    },
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flow(_) => f.debug_tuple("Flow").finish_non_exhaustive(),
            Self::Markov { steps, lambda, .. } => {
                f.debug_struct("Markov").field("steps", steps).field("lambda", lambda).finish_non_exhaustive()
            }
        }
    }
}

/// The deterministic layers of a flow, or of one of its blocks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FlowShape {
    /// Dimension `d` of vectors, at least 2.
    pub dim: i64,
    /// Dimension `m` of conditions, at least 1.
    pub condition: i64,
    /// Couplings one after the other, without permutations between: each changes both halves.
    pub couplings: i64,
    /// Hidden widths of the subnets.
    pub hidden: Vec<i64>,
    /// The clamp of log-scales.
    pub clamp: SoftClamp,
}

impl FlowShape {
    /// Four couplings of two hidden layers of 64 and the clamp 1.6, for vectors of dimension `dim` under conditions of dimension
    /// `condition`.
    pub fn new(dim: i64, condition: i64) -> Self {
        let clamp = SoftClamp::of(ClampForm::AlphaAtan, 1.6);
        Self { dim, condition, couplings: 4, hidden: vec![64, 64], clamp }
    }

    /// The same with so many couplings.
    #[must_use]
    pub fn with_couplings(mut self, couplings: i64) -> Self {
        self.couplings = couplings;
        self
    }

    /// The same with hidden layers of these widths.
    #[must_use]
    pub fn with_hidden(mut self, hidden: impl Into<Vec<i64>>) -> Self {
        self.hidden = hidden.into();
        self
    }

    /// The same with another clamp.
    #[must_use]
    pub fn with_clamp(mut self, clamp: SoftClamp) -> Self {
        self.clamp = clamp;
        self
    }

    fn layers(&self, seed: Seed, block: u64) -> Result<Vec<Stage>> {
        let coupling = |k: u64| -> Result<Stage> {
            let mut stream = seed.derive("block", block).at("weights of a coupling", k);
            let layer =
                ConditionalCoupling::new(self.dim, self.condition, &self.hidden, self.clamp, &mut stream)?;
            Ok(Stage::Flow(Box::new(layer)))
        };
        (0..self.couplings.max(0) as u64).map(coupling).collect()
    }
}

/// A conditional stochastic normalizing flow, see [`super`]; without Markov stages it is a conditional INN.
pub struct ConditionalSnf {
    pub(super) stages: Vec<Stage>,
    pub(super) posterior: Option<Box<dyn ConditionalEnergy>>,
    dim: i64,
    condition: i64,
}

impl std::fmt::Debug for ConditionalSnf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConditionalSnf").field("stages", &self.stages).finish_non_exhaustive()
    }
}

impl ConditionalSnf {
    /// The stages in the order latent to data, with the energy of the posterior where some are stochastic.
    ///
    /// # Errors
    /// [`Error::Value`] where there is no stage of dimension known, sizes differ, a `lambda` is not within 0 to 1, a stage has no
    /// steps, or a stochastic stage has no energy.
    pub fn new(stages: Vec<Stage>, posterior: Option<Box<dyn ConditionalEnergy>>) -> Result<Self> {
        let mut sizes = stages.iter().filter_map(|stage| match stage {
            Stage::Flow(layer) => Some((layer.dim(), layer.condition())),
            Stage::Markov { .. } => None,
        });
        let Some(size) = sizes.next() else {
            return Err(Error::value("deterministic layers of a flow", "at least 1", 0));
        };
        let of_energy = posterior.as_ref().map(|e| (e.dim(), e.condition()));
        if let Some(other) = sizes.chain(of_energy).find(|other| *other != size) {
            return Err(Error::shape("dimensions (d, m) of a layer or energy", size, other));
        }
        for stage in &stages {
            if let Stage::Markov { steps, lambda, .. } = stage {
                if posterior.is_none() {
                    return Err(Error::value(
                        "energy of the posterior",
                        "given, for stochastic layers",
                        "none",
                    ));
                }
                if !(0.0..=1.0).contains(lambda) || *steps == 0 {
                    let got = format!("lambda {lambda}, {steps} steps");
                    return Err(Error::value(
                        "stochastic layer",
                        "lambda between 0 and 1, at least 1 step",
                        got,
                    ));
                }
            }
        }
        Ok(Self { stages, posterior, dim: size.0, condition: size.1 })
    }

    /// A conditional INN: the couplings of `shape`.
    ///
    /// # Errors
    /// [`Error::Value`] where a size is out of range.
    pub fn inn(shape: &FlowShape, seed: Seed) -> Result<Self> {
        Self::new(shape.layers(seed, 0)?, None)
    }

    /// `blocks` times the couplings of `shape`, each followed by `steps` steps of a kernel at the energy interpolated with
    /// `lambda = k / blocks`, `k = 1, ..., blocks`.
    ///
    /// # Errors
    /// [`Error::Value`] where a size is out of range; those of `kernel`.
    pub fn alternating(
        shape: &FlowShape,
        blocks: i64,
        kernel: impl Fn() -> Result<Box<dyn MarkovKernel>>,
        steps: u32,
        posterior: Box<dyn ConditionalEnergy>,
        seed: Seed,
    ) -> Result<Self> {
        let mut stages = Vec::new();
        for k in 1..=blocks {
            stages.extend(shape.layers(seed, k as u64 - 1)?);
            stages.push(Stage::Markov { kernel: kernel()?, steps, lambda: k as f64 / blocks as f64 });
        }
        Self::new(stages, Some(posterior))
    }

    /// Dimensions `d` of vectors and `m` of conditions.
    pub fn sizes(&self) -> (i64, i64) {
        (self.dim, self.condition)
    }

    pub(super) fn energy<'a>(&'a self, condition: &'a Tensor, lambda: f64) -> Interpolated<'a> {
        Interpolated { posterior: self.posterior.as_deref(), condition, lambda }
    }

    pub(super) fn check(&self, what: &str, x: &Tensor, cond: &Tensor) -> Result<()> {
        let rows = x.size().first().copied().unwrap_or(0);
        for (what, t, width) in [(what, x, self.dim), ("condition", cond, self.condition)] {
            if t.size() != [rows, width] {
                return Err(Error::shape(what, [rows, width], t.size()));
            }
        }
        Ok(())
    }

    fn path<'a>(
        &'a self,
        stages: impl Iterator<Item = &'a Stage>,
        x: &Tensor,
        cond: &Tensor,
        stream: &mut Stream,
        layer: impl Fn(&dyn ConditionalLayer, &Tensor) -> Result<Mapped>,
    ) -> Result<Mapped> {
        let _no_grad = tch::no_grad_guard();
        let log_det = Tensor::f_zeros([x.size()[0]], (x.kind(), x.device()))?;
        let mut path = Mapped { value: x.shallow_clone(), log_det };
        for stage in stages {
            let next = match stage {
                Stage::Flow(l) => layer(l.as_ref(), &path.value)?,
                Stage::Markov { kernel, steps, lambda } => {
                    kernel.walk(&self.energy(cond, *lambda), &path.value, *steps, stream)?
                }
            };
            path = Mapped { value: next.value, log_det: path.log_det + next.log_det };
        }
        Ok(path)
    }

    /// A path from latents `z: [B, d]` to data, given conditions `[B, m]`: its end, and the sum of its importance terms.
    ///
    /// # Errors
    /// [`Error::Shape`] where `z` or `cond` does not fit; those of the layers.
    pub fn to_data(&self, z: &Tensor, cond: &Tensor, stream: &mut Stream) -> Result<Mapped> {
        self.check("latents", z, cond)?;
        self.path(self.stages.iter(), z, cond, stream, |layer, x| layer.to_data(x, Some(cond)))
    }

    /// A path back from data `x: [B, d]` to latents, with the same kernels.
    ///
    /// # Errors
    /// Those of [`ConditionalSnf::to_data`].
    pub fn to_latent(&self, x: &Tensor, cond: &Tensor, stream: &mut Stream) -> Result<Mapped> {
        self.check("data", x, cond)?;
        self.path(self.stages.iter().rev(), x, cond, stream, |layer, x| layer.to_latent(x, Some(cond)))
    }

    /// One sample `[B, d]` for every row of the conditions `[B, m]`.
    ///
    /// # Errors
    /// Those of [`ConditionalSnf::to_data`].
    pub fn sample(&self, cond: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        Ok(self.to_data(&self.latents(cond, stream), cond, stream)?.value)
    }

    /// Samples with their log-weights `w: [B]`, for which `E exp(w) = int exp(-E(x | y)) dx`: weighted by `exp(w)` they are
    /// samples of the posterior itself.
    ///
    /// # Errors
    /// Also [`Error::Value`] where the flow has no energy of the posterior.
    pub fn weighted(&self, cond: &Tensor, stream: &mut Stream) -> Result<(Tensor, Tensor)> {
        let Some(posterior) = &self.posterior else {
            return Err(Error::value("energy of the posterior", "given, for weights of samples", "none"));
        };
        let z = self.latents(cond, stream);
        let path = self.to_data(&z, cond, stream)?;
        let log_latent = -(latent(&z)? + self.dim as f64 / 2.0 * (2.0 * std::f64::consts::PI).ln());
        let weights = path.log_det - posterior.energy(&path.value, cond)? - log_latent;
        Ok((path.value, weights))
    }

    fn latents(&self, cond: &Tensor, stream: &mut Stream) -> Tensor {
        let rows = cond.size().first().copied().unwrap_or(0);
        stream.normal(&[rows, self.dim]).to_kind(cond.kind()).to_device(cond.device())
    }

    /// `|z|^2 / 2 - sum l` of one path back from each row of `x`: `[B]`. Its mean over data is the forward KL divergence of
    /// the paths up to a constant; for an INN it is the NLL, without `d/2 log(2 pi)`.
    ///
    /// # Errors
    /// Those of [`ConditionalSnf::to_data`].
    pub fn path_nll(&self, x: &Tensor, cond: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        let path = self.to_latent(x, cond, stream)?;
        Ok(latent(&path.value)? - path.log_det)
    }

    /// The trainable parameters with their names `stages.K.subnetJ.L.weight` and `.bias`, in a fixed order.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::new();
        for (k, stage) in self.stages.iter().enumerate() {
            if let Stage::Flow(layer) = stage {
                let named = layer.parameters().into_iter();
                all.extend(named.map(|(name, t)| (format!("stages.{k}.{name}"), t)));
            }
        }
        all
    }

    /// Converts all parameters.
    pub fn to_kind(&mut self, kind: Kind) {
        for stage in &mut self.stages {
            if let Stage::Flow(layer) = stage {
                layer.parameters_mut().into_iter().for_each(|p| *p = p.to_kind(kind));
            }
        }
    }

    /// The parameters as a checkpoint. (Stages are code: a file says nothing about them but the shapes of their parameters.)
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self.parameters().into_iter().map(|(name, t)| (name, t.copy())).collect();
        file
    }

    /// Takes the parameters of a flow with the same stages.
    ///
    /// # Errors
    /// [`Error::Content`] where names, shapes or dtypes differ, [`Error::Value`] where the file has more of them: this flow is then as
    /// it was.
    pub fn load(&mut self, mut file: Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let take =
            |(name, p): (String, &Tensor)| Ok((p.shallow_clone(), file.take(&name, &p.size(), p.kind())?));
        let taken = self.parameters().into_iter().map(take).collect::<Result<Vec<_>>>()?;
        if let Some(name) = file.tensors.keys().next() {
            return Err(Error::value(
                "parameters of a flow",
                "those of the same stages",
                format!("also {name}"),
            ));
        }
        taken.into_iter().try_for_each(|(mut parameter, value)| Ok(parameter.f_copy_(&value).map(drop)?))
    }
}
