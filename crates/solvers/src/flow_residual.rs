//! How far the samples of a conditional flow are from the data.

use crate::crops::{check_operator, checked, observed_by};
use crate::run::finite;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Result, Seed};
use smalti_flows::{Bijection, WppFlow};
use smalti_operators::Operator;
use tch::Kind;

/// The root mean square of `F(T(z; y)) - y` over observations `y`, `[N, 1, h, w]`, with one sample `z ~ N(0, I)` for each, and
/// over the observed values that the operator has (see [`crate::WppTraining`]).
///
/// It needs no true images. For one observation repeat it: every copy has a sample of its own. Above the standard deviation of
/// the noise, samples trust the prior more than the data allow; [`smalti_flows::DataConsistency::scaled_to_noise`] takes it
/// as it is.
///
/// # Errors
/// [`smalti_base::Error::Shape`], [`smalti_base::Error::Value`] where flow, operator and observations do not fit together;
/// [`smalti_base::Error::NonFinite`] where a sample is not finite.
pub fn flow_residual(flow: &WppFlow, operator: &dyn Operator, y: &tch::Tensor, seed: Seed) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let y = Shared::new(checked("observations", y, flow.device())?.f_to_kind(flow.kind())?);
    let size = y.size();
    let domain = flow.images(size[2], size[3]);
    check_operator(operator, domain, &size[2..])?;
    let samples = parallel::map(size[0] as usize, |i| {
        let y = y.f_narrow(0, i as i64, 1)?;
        let z = seed.at("latents of a residual", i as u64).normal(&domain.batch(1));
        Ok(flow.to_data(&z.f_to_kind(flow.kind())?.f_to_device(flow.device())?, Some(&y))?.value)
    })?;
    let mut sum = 0.0;
    for (i, x) in samples.iter().enumerate() {
        let y = y.f_narrow(0, i as i64, 1)?;
        let residual = operator.apply(x)?.f_sub(&observed_by(operator, &y)?)?;
        sum += residual.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?;
    }
    let residual = (sum / samples.len() as f64).sqrt();
    finite("residual of samples", 0, residual)?;
    Ok(residual)
}
