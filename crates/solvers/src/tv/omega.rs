//! The Wright omega function, which the proximal map of the Poisson term is made of.

use smalti_base::Result;
use tch::{Kind, Tensor};

/// `omega(l)`: the `q > 0` with `q + log q = l`, value by value, to the rounding of the dtype.
///
/// By Newton's method from `exp(l)` or `l - log(l)`: `q + log q` is concave, so that every iterate after the first lies
/// below the solution and comes nearer; the start is good enough for [`STEPS`] of them.
///
/// # Reference
/// R. Corless and D. Jeffrey, "The Wright omega function", AISC 2002.
pub(super) fn wright_omega(l: &Tensor) -> Result<Tensor> {
    // Below this the logarithm is of no use, and omega is exp(l).
    let (least, steps) = if l.kind() == Kind::Double { (1e-300, STEPS) } else { (1e-37, STEPS - 1) };
    let large = l - l.f_clamp_min(1.0)?.f_log()?;
    let mut q = large.f_where_self(&l.f_gt(1.0)?, &l.f_clamp_max(1.0)?.f_exp()?)?;
    let one_more = l + 1.0;
    for _ in 0..steps {
        let slope = &q + 1.0;
        q = q.f_mul(&(&one_more - q.f_clamp_min(least)?.f_log()?))?.f_div(&slope)?;
    }
    Ok(q)
}

/// Steps of Newton's method in float64; one fewer serve float32.
const STEPS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn it_solves_its_equation() {
        for (kind, low, tolerance) in [(Kind::Double, -600.0, 4e-15), (Kind::Float, -80.0, 1e-6)] {
            let dense = Tensor::linspace(-30.0, 60.0, 200_001, (kind, Device::Cpu));
            let wide = Tensor::linspace(low, 3000.0, 20_001, (kind, Device::Cpu));
            for l in [dense, wide] {
                let q = wright_omega(&l).unwrap();
                assert!(q.min().double_value(&[]) > 0.0);
                let error = ((&q + q.log() - &l) / (l.abs() + 1.0)).abs().max().double_value(&[]);
                assert!(error < tolerance, "{kind:?}: {error}");
            }
        }
        // omega(1) = 1, omega(0) is the omega constant.
        let known = wright_omega(&Tensor::from_slice(&[1.0, 0.0])).unwrap();
        assert!(
            (known - Tensor::from_slice(&[1.0, 0.567_143_290_409_783_8])).abs().max().double_value(&[])
                < 1e-15
        );
        // Far below nothing is left, and nothing is NaN.
        let none = wright_omega(&Tensor::from_slice(&[-1e4f32, -200.0])).unwrap();
        assert_eq!(none.abs().max().double_value(&[]), 0.0);
    }
}
