//! Broken energies.

use smalti_base::Result;
use smalti_flows::stochastic::Energy;
use tch::{Kind, Tensor};

/// An energy whose gradient is scaled by 1.01.
pub struct ScaledForce<'a>(pub &'a dyn Energy);

impl Energy for ScaledForce<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.0.energy(x)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.0.energy_and_grad(x)?;
        Ok((value, gradient * 1.01))
    }
}

/// An energy that adds the mean over the batch to every row; its gradient knows.
pub struct MixedRows<'a>(pub &'a dyn Energy);

impl Energy for MixedRows<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let value = self.0.energy(x)?;
        Ok(&value + value.f_mean(None::<Kind>)?)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.energy(x)?, self.0.energy_and_grad(x)?.1 * 2.0))
    }
}
