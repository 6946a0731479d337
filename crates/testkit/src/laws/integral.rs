//! Densities integrate to 1.

use super::measure::largest;
use crate::violation::{Trial, Violation};
use smalti_base::Result as BaseResult;
use smalti_flows::Bijection;
use smalti_priors::PatchDensity;
use tch::{Device, Kind, Tensor};

/// Latents beyond this radius hold less than 1e-7 of the mass of a 2-D standard normal.
const RADIUS: f64 = 6.0;

/// The density of a flow on two-dimensional data with standard normal latents,
/// `p(x) = N(T^-1(x)) |det J_{T^-1}(x)|`, integrates to 1, to `tolerance`.
///
/// Quadrature by the midpoint rule on `n x n` points of the box that holds the image of the latents within 6
/// standard deviations; 400 points and 1e-3 suit mild flows.
///
/// # Errors
/// The [`Violation`].
pub fn flow_integrates(subject: &str, flow: &dyn Bijection, n: i64, tolerance: f64) -> Result<(), Violation> {
    let trial = Trial { law: "the unit integral", subject };
    let latents = midpoints([(-RADIUS, RADIUS); 2], 200);
    let x = trial.ok(flow.to_data(&latents, None))?.value.detach();
    let side = |dim: i64| {
        let values = x.select(1, dim);
        (values.min().double_value(&[]), values.max().double_value(&[]))
    };
    integral(trial, [side(0), side(1)], n, tolerance, |x| {
        let mapped = flow.to_latent(x, None)?;
        let energy = mapped.value.square().sum_dim_intlist(1i64, false, Kind::Double) * 0.5;
        Ok(energy - mapped.log_det + (2.0 * std::f64::consts::PI).ln())
    })
}

/// `exp(-nll - missing)` of a two-dimensional density integrates to 1, to `tolerance`, where `missing` is the
/// constant that its `nll` drops (for a flow without constant `log 2 pi`).
///
/// Quadrature by the midpoint rule on `n x n` points of the square `[-reach, reach]^2`, which must hold the
/// mass.
///
/// # Errors
/// The [`Violation`].
pub fn density_integrates(
    subject: &str,
    density: &dyn PatchDensity,
    missing: f64,
    reach: f64,
    n: i64,
    tolerance: f64,
) -> Result<(), Violation> {
    let trial = Trial { law: "the unit integral", subject };
    integral(trial, [(-reach, reach); 2], n, tolerance, |x| Ok(density.nll(x)? + missing))
}

fn integral(
    trial: Trial,
    sides: [(f64, f64); 2],
    n: i64,
    tolerance: f64,
    nll: impl Fn(&Tensor) -> BaseResult<Tensor>,
) -> Result<(), Violation> {
    let cell: f64 = sides.iter().map(|(low, high)| (high - low) / n as f64).product();
    let mut total = 0.0;
    for part in midpoints(sides, n).split(1 << 16, 0) {
        let nll = trial.ok(nll(&part))?.detach();
        trial.same_shape("the negative log-density", &nll.size(), &part.size()[..1])?;
        total += (-nll).exp().sum(Kind::Double).double_value(&[]) * cell;
    }
    let extent = largest(&Tensor::from_slice(&[sides[0].0, sides[0].1, sides[1].0, sides[1].1]));
    let detail = format!("the density integrates to {total:.6} (box up to {extent:.1}), error");
    trial.at_most(tolerance, (total - 1.0).abs(), detail)
}

/// The `n x n` midpoints of a grid over a box, `[n^2, 2]`.
fn midpoints(sides: [(f64, f64); 2], n: i64) -> Tensor {
    let axis = |(low, high): (f64, f64)| {
        (Tensor::arange(n, (Kind::Double, Device::Cpu)) + 0.5) * ((high - low) / n as f64) + low
    };
    let [rows, columns] = sides.map(axis);
    let rows = rows.unsqueeze(1).expand([n, n], false).reshape([-1]);
    let columns = columns.unsqueeze(0).expand([n, n], false).reshape([-1]);
    Tensor::stack(&[rows, columns], 1)
}
