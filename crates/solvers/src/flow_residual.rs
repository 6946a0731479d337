//! How far the samples of a conditional flow are from the data.

use crate::crops::{observed, ready};
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::{Bijection, WppFlow};
use smalti_operators::Operator;
use tch::Kind;

/// The root mean square of `F(T(z; y)) - y` over observations `y`, `[N, 1, h, w]`, with one sample `z ~ N(0, I)` for each, and
/// over the observed values that the operator has (see [`crate::WppFlowTraining`]).
///
/// It needs no true images. Above the standard deviation of the noise, samples trust the prior more than the data allow;
/// [`smalti_flows::DataConsistency::to_noise`] takes it as it is.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] where flow, operator and observations do not fit together or values are not finite.
pub fn flow_residual(flow: &WppFlow, operator: &dyn Operator, y: &tch::Tensor, seed: Seed) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let y = ready("observations", y, flow.device())?.f_to_kind(flow.kind())?;
    let size = y.size();
    let domain = flow.images(size[2], size[3]);
    if operator.domain() != domain {
        return Err(Error::shape("domain of the operator", domain, operator.domain()));
    }
    let squares = parallel::map(size[0] as usize, |i| {
        let y = y.f_narrow(0, i as i64, 1)?;
        let z = seed.at("latents of a residual", i as u64).normal(&domain.batch(1));
        let x = flow.to_data(&z.f_to_kind(flow.kind())?.f_to_device(flow.device())?, Some(&y))?.value;
        let residual = operator.apply(&x)?.f_sub(&observed(operator, &y)?)?;
        Ok(residual.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?)
    })?;
    Ok((squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}
