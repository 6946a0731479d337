//! Adam with a state that can be saved.

use smalti_base::{Error, Result, checkpoint::Checkpoint};
use tch::{Kind, Tensor};

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

/// Values updated at once: the six tensors involved then stay in the cache.
const BLOCK: i64 = 1 << 17;

impl Adam {
    /// Adam with betas (0.9, 0.999) and eps 1e-8 for parameters like these.
    pub fn new(parameters: &[Tensor]) -> Self {
        let zeros = || parameters.iter().map(|p| p.detach().zeros_like()).collect();
        Self { betas: (0.9, 0.999), eps: 1e-8, steps: 0, first: zeros(), second: zeros() }
    }

    /// One update of `parameters` in place, with learning rate `rate`.
    ///
    /// # Errors
    /// [`Error::Shape`] where gradients and parameters do not belong together.
    pub fn step(&mut self, parameters: &[Tensor], gradients: &[Tensor], rate: f64) -> Result<()> {
        if parameters.len() != self.first.len() || gradients.len() != self.first.len() {
            return Err(Error::shape("gradients", self.first.len(), gradients.len()));
        }
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        let (b1, b2) = self.betas;
        let correct = |b: f64| 1.0 - b.powi(self.steps);
        let (rate, root) = (rate / correct(b1), correct(b2).sqrt());
        for (k, (p, g)) in parameters.iter().zip(gradients).enumerate() {
            if p.size() != g.size() {
                return Err(Error::shape("gradient", p.size(), g.size()));
            }
            let flat = |t: &Tensor| t.f_view([-1]);
            let (p, g) = (flat(p)?, g.to_kind(p.kind()).reshape([-1]));
            let (m, v) = (flat(&self.first[k])?, flat(&self.second[k])?);
            let n = p.size()[0];
            for at in (0..n).step_by(BLOCK as usize) {
                let part = |t: &Tensor| t.narrow(0, at, BLOCK.min(n - at));
                let (mut p, g, mut m, mut v) = (part(&p), part(&g), part(&m), part(&v));
                let _ = m.f_lerp_(&g, 1.0 - b1)?;
                let _ = v.f_lerp_(&g.square(), 1.0 - b2)?;
                let root = v.sqrt().f_div_scalar_(root)?.f_add_scalar_(self.eps)?;
                let _ = p.f_sub_(&m.f_div(&root)?.f_mul_scalar_(rate)?)?;
            }
        }
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
