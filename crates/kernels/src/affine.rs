//! The affine half of a coupling and its way back, each in one pass over memory.

use crate::elementary::{atan, exp};
use crate::mlp::Matrix;
use pulp::Arch;

/// The log-scale `s(r) = bound arctan(slope r)` of a coupling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// The factor in front.
    pub bound: f32,
    /// The factor inside.
    pub slope: f32,
}

/// What [`invert`] computes, `[rows, n]` each but for the log-determinants `[rows]`.
#[derive(Debug)]
pub struct Inverse<'a> {
    /// `x = (y - t) e^-s`.
    pub x: &'a mut [f32],
    /// `e^-s`.
    pub scale: &'a mut [f32],
    /// `s'(r)`.
    pub derivative: &'a mut [f32],
    /// `sum s` of every row.
    pub log_det: &'a mut [f32],
}

/// Rows whose log-scales are computed at once: all of them together fill vectors better than the few numbers of one.
const ROWS: usize = 64;

/// `x = (y - t) e^-s(r)` with `(r, t)` the two halves of every row of `out: [rows, 2 n]`, for `y: [rows, n]`.
pub fn invert(out: &[f32], y: Matrix<'_>, n: usize, clamp: Clamp, to: Inverse<'_>) {
    let mut raw = vec![0.0; ROWS * n];
    let blocks = out.chunks(2 * n * ROWS).zip(y.values.chunks(y.stride * ROWS));
    let results = to.x.chunks_mut(n * ROWS).zip(to.scale.chunks_mut(n * ROWS));
    let results = results.zip(to.derivative.chunks_mut(n * ROWS)).zip(to.log_det.chunks_mut(ROWS));
    for ((out, y_block), (((x, scale), derivative), log_det)) in blocks.zip(results) {
        let raw = &mut raw[..scale.len()];
        let y_rows = y_block.chunks(y.stride);
        for (to, from) in raw.chunks_exact_mut(n).zip(out.chunks_exact(2 * n)) {
            to.copy_from_slice(&from[..n]);
        }
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((r, scale), derivative) in raw.iter_mut().zip(&mut *scale).zip(derivative) {
                    let inner = *r * clamp.slope;
                    *r = clamp.bound * atan(inner);
                    *scale = exp(-*r);
                    *derivative = clamp.bound * clamp.slope / (1.0 + inner * inner);
                }
                let rows = out.chunks_exact(2 * n).zip(y_rows).zip(raw.chunks_exact(n));
                let rows = rows.zip(x.chunks_exact_mut(n).zip(scale.chunks_exact(n)));
                for ((((out, y), s), (x, scale)), log_det) in rows.zip(log_det) {
                    for (((x, y), t), scale) in x.iter_mut().zip(y).zip(&out[n..]).zip(scale) {
                        *x = (y - t) * scale;
                    }
                    *log_det = s.iter().sum();
                }
            },
        );
    }
}

/// The way back through [`invert`]: from `grad = dL/dx` and `grad_log_det = dL/d(-sum s)`, the same for all rows, to
/// `grad_out = dL/d(r, t): [rows, 2 n]` and `grad_y = dL/dy: [rows, n]`, given what [`invert`] has computed.
pub fn invert_backward(
    grad: Matrix<'_>,
    grad_log_det: f32,
    n: usize,
    [x, scale, derivative]: [&[f32]; 3],
    grad_out: &mut [f32],
    grad_y: &mut [f32],
) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let given = x.chunks_exact(n).zip(scale.chunks_exact(n)).zip(derivative.chunks_exact(n));
            let results = grad_out.chunks_exact_mut(2 * n).zip(grad_y.chunks_exact_mut(n));
            for ((g, ((x, scale), derivative)), (out, grad_y)) in
                grad.values.chunks(grad.stride).zip(given).zip(results)
            {
                let (of_raw, of_t) = out.split_at_mut(n);
                let rest = x.iter().zip(scale).zip(derivative);
                let to = of_raw.iter_mut().zip(of_t).zip(grad_y);
                for ((g, ((x, scale), derivative)), ((of_raw, of_t), grad_y)) in g.iter().zip(rest).zip(to) {
                    *of_raw = -(g * x + grad_log_det) * derivative;
                    *grad_y = g * scale;
                    *of_t = -*grad_y;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1_u32 << 22) as f32 - 2.0
        };
        (0..n).map(next).collect()
    }

    #[test]
    fn both_ways_equal_the_formulas() {
        let (rows, n, stride) = (2 * ROWS + 5, 7, 11);
        let (out, y, grad) = (numbers(rows * 2 * n, 1), numbers(rows * stride, 2), numbers(rows * stride, 3));
        let clamp = Clamp { bound: 1.1, slope: 0.6 };
        let [mut x, mut scale, mut derivative] = [0; 3].map(|_| vec![0.0; rows * n]);
        let mut log_det = vec![0.0; rows];
        let to = Inverse { x: &mut x, scale: &mut scale, derivative: &mut derivative, log_det: &mut log_det };
        invert(&out, Matrix { values: &y[..rows * stride - 4], stride }, n, clamp, to);
        let (mut grad_out, mut grad_y) = (vec![0.0; rows * 2 * n], vec![0.0; rows * n]);
        let grads = Matrix { values: &grad, stride };
        invert_backward(grads, -0.3, n, [&x, &scale, &derivative], &mut grad_out, &mut grad_y);
        let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 2e-6 * (1.0 + b.abs()), "{a} {b}");
        for r in 0..rows {
            let mut sum = 0.0;
            for c in 0..n {
                let (raw, t) = (f64::from(out[r * 2 * n + c]), f64::from(out[r * 2 * n + n + c]));
                let s = 1.1 * (0.6 * raw).atan();
                let by_hand = (f64::from(y[r * stride + c]) - t) * (-s).exp();
                let slope = 1.1 * 0.6 / (1.0 + (0.6 * raw).powi(2));
                let g = f64::from(grad[r * stride + c]);
                near(x[r * n + c], by_hand);
                near(grad_y[r * n + c], g * (-s).exp());
                near(grad_out[r * 2 * n + c], -(g * by_hand - 0.3) * slope);
                near(grad_out[r * 2 * n + n + c], -g * (-s).exp());
                sum += s;
            }
            near(log_det[r], sum);
        }
    }
}
