//! Elementary functions that the compiler turns into vector instructions.
//!
//! The coefficients minimise the largest relative error over the interval (fitted in float64, then rounded).

/// `arctan(x)`, relative error below 3e-7; NaN stays NaN.
#[inline(always)]
pub(crate) fn atan(x: f32) -> f32 {
    /// `arctan(sqrt(u)) / sqrt(u)` on `[0, 1]`.
    const C: [f32; 9] = [
        1.0,
        -0.333_330_72,
        0.199_926_2,
        -0.142_036_44,
        0.106_409_33,
        -0.075_042_94,
        0.042_691_51,
        -0.016_068_624,
        0.002_849_888_3,
    ];
    let size = x.abs();
    let outside = size > 1.0;
    let z = if outside { 1.0 / size } else { size };
    let inside = z * polynomial(&C, z * z);
    (if outside { std::f32::consts::FRAC_PI_2 - inside } else { inside }).copysign(x)
}

/// `e^x`, relative error below 3e-7; `x` beyond +-87 is taken for +-87, and NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// `e^r` for `|r| <= 0.35`.
    const C: [f32; 7] = [1.0, 1.0, 0.499_999_9, 0.166_664_11, 0.041_668_29, 0.008_375_636, 0.001_383_581_3];
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of which times n is exact.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    polynomial(&C, r) * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// `c_0 + c_1 x + c_2 x^2 + ...`
#[inline(always)]
fn polynomial<const N: usize>(c: &[f32; N], x: f32) -> f32 {
    c.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::{atan, exp};

    #[test]
    fn functions_are_right_to_the_last_bits() {
        for k in -40_000..=40_000 {
            let x = k as f32 / 1000.0;
            let (a, e) = (f64::from(x).atan(), f64::from(x).exp());
            assert!((f64::from(atan(x)) - a).abs() <= 3e-7 * a.abs(), "atan {x}: {} {a}", atan(x));
            assert!((f64::from(exp(x)) - e).abs() <= 3e-7 * e, "exp {x}: {} {e}", exp(x));
        }
    }

    #[test]
    fn limits_and_nan() {
        assert_eq!(
            (atan(f32::INFINITY), atan(f32::NEG_INFINITY)),
            (std::f32::consts::FRAC_PI_2, -std::f32::consts::FRAC_PI_2)
        );
        assert!(atan(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
        assert!(exp(f32::INFINITY) > 1e37 && exp(f32::NEG_INFINITY) < 1e-37 && exp(0.0) == 1.0);
    }
}
