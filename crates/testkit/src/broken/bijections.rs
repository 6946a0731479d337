//! Broken bijections.

use smalti_base::Result;
use smalti_flows::{Bijection, Mapped};
use tch::{Kind, Tensor};

/// A bijection that gives the log-determinant of the other direction, both ways.
pub struct FlippedLogDet(pub Box<dyn Bijection>);
/// A bijection whose two directions are inverse to each other up to 1e-3 only.
pub struct InexactInverse(pub Box<dyn Bijection>);
/// A bijection that gives every element the log-determinant of the whole batch.
pub struct SummedLogDet(pub Box<dyn Bijection>);

impl Bijection for FlippedLogDet {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_latent(x, cond).map(flipped)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_data(z, cond).map(flipped)
    }
}

impl Bijection for InexactInverse {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_latent(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let Mapped { value, log_det } = self.0.to_data(z, cond)?;
        Ok(Mapped { value: value + 1e-3, log_det })
    }
}

impl Bijection for SummedLogDet {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_latent(x, cond).map(summed)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_data(z, cond).map(summed)
    }
}

fn flipped(Mapped { value, log_det }: Mapped) -> Mapped {
    Mapped { value, log_det: -log_det }
}

fn summed(Mapped { value, log_det }: Mapped) -> Mapped {
    let total = log_det.sum(None::<Kind>).expand(log_det.size(), false);
    Mapped { value, log_det: total }
}
