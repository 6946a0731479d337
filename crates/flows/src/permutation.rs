//! Fixed permutations of the channels.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::layer::{Layer, refuse_condition};
use crate::tape::Tape;
use smalti_base::{Error, Result, parallel::Shared, seed::Stream};
use tch::{Kind, Tensor};

/// `x = z[:, perm]` on axis 1 of `[B, d, ...]`; `log |det| = 0`.
#[derive(Debug)]
pub struct Permutation {
    perm: Shared<Tensor>,
    inverse: Shared<Tensor>,
}

impl Permutation {
    /// The permutation with `x_i = z_{perm[i]}`.
    ///
    /// # Errors
    /// [`Error::Value`] where `perm` does not hold each of `0..len` once.
    pub fn new(perm: &[i64]) -> Result<Self> {
        let mut inverse = vec![-1i64; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            match usize::try_from(p).ok().and_then(|p| inverse.get_mut(p)) {
                Some(slot) if *slot < 0 => *slot = i as i64,
                _ => return Err(Error::value("permutation", "each of 0..length once", format!("{perm:?}"))),
            }
        }
        let [perm, inverse] = [perm, &inverse].map(|indices| Shared::new(Tensor::from_slice(indices)));
        Ok(Self { perm, inverse })
    }

    /// A random permutation of `dim` channels.
    ///
    /// # Errors
    /// Never, for a drawn permutation is one.
    pub fn random(dim: i64, stream: &mut Stream) -> Result<Self> {
        Self::new(&stream.permutation(dim.max(0) as usize))
    }

    /// `perm` as int64 `[d]`.
    pub fn indices(&self) -> &Tensor {
        &self.perm
    }

    fn pick(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
        match x.size()[..] {
            [_, d, ..] if d == indices.size()[0] => Ok(x.f_index_select(1, indices)?),
            _ => Err(Error::Shape {
                what: "input of a permutation".into(),
                expected: format!("[B, {}, ...]", indices.size()[0]),
                got: format!("{:?}", x.size()),
            }),
        }
    }

    fn zeros(x: &Tensor) -> Tensor {
        let kind = if x.kind() == Kind::BFloat16 { Kind::Float } else { x.kind() };
        Tensor::zeros([x.size()[0]], (kind, x.device()))
    }
}

impl Bijection for Permutation {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        Ok(Mapped { value: Self::pick(x, &self.inverse)?, log_det: Self::zeros(x) })
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        Ok(Mapped { value: Self::pick(z, &self.perm)?, log_det: Self::zeros(z) })
    }
}

impl Layer for Permutation {
    fn to_latent_taped(&self, x: &Tensor, _tape: &mut Tape) -> Result<Mapped> {
        self.to_latent(x, None)
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        _grad_log_det: f64,
        _tape: &mut Tape,
        _weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        Self::pick(grad, &self.perm)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        Vec::new()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        Vec::new()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut *self.perm, &mut *self.inverse]
    }
}
