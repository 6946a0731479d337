//! Adam with a state that can be saved.

use crate::fused_adam;
use crate::schedule::{Schedule, check_rate};
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, checkpoint::Checkpoint, slices};
use smalti_kernels::adam::Update;
use tch::{Kind, Tensor};

/// Steps and learning rate of a minimisation by Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AdamSettings {
    /// Number of steps, which the schedule refers to.
    pub steps: u64,
    /// Learning rate, in units of the parameters a step.
    pub rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
}

impl Default for AdamSettings {
    /// 1000 steps at the learning rate 1e-3.
    fn default() -> Self {
        Self::constant(1000, 1e-3)
    }
}

impl AdamSettings {
    /// `steps` steps at the learning rate `rate`.
    pub fn constant(steps: u64, rate: f64) -> Self {
        Self { steps, rate, schedule: Schedule::Constant }
    }

    /// The same with so many steps.
    #[must_use]
    pub fn with_steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// The same with another learning rate.
    #[must_use]
    pub fn with_rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// The same with a learning rate that changes.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The learning rate of step `k`.
    pub fn rate_at(&self, k: u64) -> f64 {
        self.rate * self.schedule.factor(k, self.steps)
    }

    /// # Errors
    /// [`Error::Value`] where the learning rate is not positive and finite.
    pub(crate) fn check(&self) -> Result<()> {
        check_rate(self.rate).map(|_| ())
    }
}

/// Adam with bias correction (Kingma and Ba 2015, algorithm 1); `eps` is added to the corrected root.
///
/// The moments are plain tensors, one for every parameter tensor: unlike libtorch's optimizer they can be put
/// into a checkpoint, so that a resumed run goes on as if it had not been interrupted.
#[derive(Debug)]
pub struct Adam {
    betas: (f64, f64),
    eps: f64,
    steps: i32,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

/// The update in libtorch operations, for any dtype and device.
fn plain([mut p, mut m, mut v]: [Tensor; 3], gradients: &[Tensor], update: Update) -> Result<()> {
    let (b1, b2) = update.betas;
    let correct = |b: f64| 1.0 - b.powi(update.step);
    let mut g = Tensor::zeros_like(&p);
    for gradient in gradients {
        let _ = g.f_add_(gradient)?;
    }
    let _ = m.f_lerp_(&g, 1.0 - b1)?;
    let _ = v.f_lerp_(&g.square(), 1.0 - b2)?;
    let root = v.sqrt().f_div_scalar_(correct(b2).sqrt())?.f_add_scalar_(update.eps)?;
    let _ = p.f_sub_(&m.f_div(&root)?.f_mul_scalar_(update.rate / correct(b1))?)?;
    Ok(())
}

/// Values updated at once: the tensors involved then stay in the cache.
const BLOCK: i64 = 1 << 16;

impl Adam {
    /// Adam with betas (0.9, 0.999) and eps 1e-8 for parameters like these.
    pub fn new(parameters: &[Tensor]) -> Self {
        let zeros = || parameters.iter().map(|p| Tensor::zeros(p.size(), (p.kind(), p.device()))).collect();
        Self { betas: (0.9, 0.999), eps: 1e-8, steps: 0, first: zeros(), second: zeros() }
    }

    /// The same with other decay rates of the moments, each at least 0 and below 1.
    ///
    /// # Errors
    /// [`Error::Value`] where one is not.
    pub fn with_betas(mut self, betas: (f64, f64)) -> Result<Self> {
        for beta in [betas.0, betas.1] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::value("beta of Adam", "at least 0 and below 1", beta));
            }
        }
        self.betas = betas;
        Ok(self)
    }

    /// The numbers of the next step, with learning rate `rate`, for those who apply it to [`Adam::moments`] themselves.
    pub fn next_update(&mut self, rate: f64) -> Update {
        self.steps += 1;
        Update { betas: self.betas, rate, eps: self.eps, step: self.steps }
    }

    /// First and second moment of every parameter; they share memory with this state.
    pub fn moments(&self) -> Vec<[Tensor; 2]> {
        self.first.iter().zip(&self.second).map(|(m, v)| [m.shallow_clone(), v.shallow_clone()]).collect()
    }

    /// One update of `parameters` in place, with learning rate `rate`. The gradient is the sum of `parts`, each
    /// one tensor for every parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] where gradients and parameters do not belong together; [`Error::Value`] where a parameter
    /// is not contiguous, which cannot be changed block by block, or shares memory with another one, a moment or a gradient.
    pub fn step(&mut self, parameters: &[Tensor], parts: &[Vec<Tensor>], rate: f64) -> Result<()> {
        self.check(parameters, parts)?;
        let update = self.next_update(rate);
        self.change(parameters, parts, update)
    }

    fn check(&self, parameters: &[Tensor], parts: &[Vec<Tensor>]) -> Result<()> {
        if parameters.len() != self.first.len() {
            return Err(Error::shape("parameters", self.first.len(), parameters.len()));
        }
        if let Some(p) = parameters.iter().find(|p| !p.is_contiguous()) {
            return Err(Error::value(
                "parameter",
                "a contiguous tensor",
                format!("strides {:?}", p.stride()),
            ));
        }
        for part in parts {
            if part.len() != self.first.len() {
                return Err(Error::shape("gradients", self.first.len(), part.len()));
            }
            if let Some((p, g)) = parameters.iter().zip(part).find(|(p, g)| p.size() != g.size()) {
                return Err(Error::shape("gradient", p.size(), g.size()));
            }
        }
        let written = parameters.iter().chain(&self.first).chain(&self.second);
        if !slices::are_disjoint(written, parts.iter().flatten()) {
            let expected = "tensors with memory to themselves";
            return Err(Error::value("parameters and gradients", expected, "some that share memory"));
        }
        Ok(())
    }

    /// What [`Adam::step`] does, with numbers from [`Adam::next_update`].
    ///
    /// # Errors
    /// Those of [`Adam::step`].
    pub fn apply(&mut self, parameters: &[Tensor], parts: &[Vec<Tensor>], update: Update) -> Result<()> {
        self.check(parameters, parts)?;
        self.change(parameters, parts, update)
    }

    /// The update of what has been checked.
    #[allow(unsafe_code)]
    fn change(&mut self, parameters: &[Tensor], parts: &[Vec<Tensor>], update: Update) -> Result<()> {
        // A GPU has no use for small pieces.
        let on_gpu = parameters.iter().any(|p| p.device().is_cuda());
        let block = if on_gpu { i64::MAX } else { BLOCK };
        let blocks: Vec<(usize, i64)> = parameters
            .iter()
            .enumerate()
            .flat_map(|(k, p)| (0..p.numel() as i64).step_by(block as usize).map(move |at| (k, at)))
            .collect();
        // A few pieces of work for every thread.
        let size = blocks.len().div_ceil(4 * parallel::workers()).max(1);
        let shares: Vec<&[(usize, i64)]> = blocks.chunks(size).collect();
        let (parameters, parts) = (Shared::new(parameters), Shared::new(parts));
        let (first, second) = (Shared::new(&self.first), Shared::new(&self.second));
        parallel::map(shares.len(), |share| {
            for &(k, at) in shares[share] {
                let n = block.min(parameters[k].numel() as i64 - at);
                let part = |t: &Tensor| -> Result<Tensor> { Ok(t.f_reshape([-1])?.f_narrow(0, at, n)?) };
                let moving = [part(&parameters[k])?, part(&first[k])?, part(&second[k])?];
                let gradients: Vec<Tensor> = parts.iter().map(|g| part(&g[k])).collect::<Result<_>>()?;
                // SAFETY: the tensors of the update do not overlap, as checked, nor do blocks; every block is the work of
                // one thread, and outside of it nobody uses tensors that are lent to this function (decision 013).
                if !unsafe { fused_adam::step(&moving, &gradients, update) } {
                    plain(moving, &gradients, update)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Puts the state under names that begin with `adam.`.
    pub fn save(&self, file: &mut Checkpoint) {
        file.metadata.insert("adam.steps".into(), self.steps.to_string());
        for (name, moments) in [("adam.first", &self.first), ("adam.second", &self.second)] {
            for (k, t) in moments.iter().enumerate() {
                file.tensors.insert(format!("{name}.{k}"), t.copy());
            }
        }
    }

    /// Takes the state back.
    ///
    /// # Errors
    /// [`Error::Content`] where the file does not hold it.
    pub fn restore(&mut self, file: &mut Checkpoint) -> Result<()> {
        self.steps = file.meta_parsed("adam.steps")?;
        for (name, moments) in [("adam.first", &mut self.first), ("adam.second", &mut self.second)] {
            for (k, t) in moments.iter_mut().enumerate() {
                let kind: Kind = t.kind();
                *t = file.take(&format!("{name}.{k}"), &t.size(), kind)?.to_device(t.device());
            }
        }
        Ok(())
    }
}
