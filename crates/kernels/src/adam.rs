//! One step of Adam in one pass over memory.

/// One summand of a gradient.
#[derive(Debug, Clone, Copy)]
pub enum GradientTerm<'a> {
    /// float32 values.
    F32(&'a [f32]),
    /// The bits of bfloat16 values.
    Bf16(&'a [u16]),
}

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Decay of the two moments.
    pub betas: (f64, f64),
    /// Learning rate.
    pub rate: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// Number of this step, from 1: what bias correction needs.
    pub step: i32,
}

/// Values whose gradient is summed up at once.
const BLOCK: usize = 1024;

/// Adam with bias correction (Kingma and Ba 2015, algorithm 1): with `g` the sum of `parts`,
///
/// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `p = p - rate m' / (sqrt(v') + eps)`,
///
/// `m' = m / (1 - b1^step)`, `v' = v / (1 - b2^step)`. All slices have the same length; what is beyond the
/// shortest is left alone.
///
/// Moments below 1e-32 are set to zero. Next to `eps` they move no float32 parameter, but the moments of weights that
/// receive no gradient would otherwise decay into subnormal numbers, on which processors are many times slower.
pub fn adam(p: &mut [f32], m: &mut [f32], v: &mut [f32], parts: &[GradientTerm<'_>], update: Update) {
    let arch = pulp::Arch::new();
    let numbers = Numbers::of(update);
    let mut sum = [0.0_f32; BLOCK];
    let blocks = p.chunks_mut(BLOCK).zip(m.chunks_mut(BLOCK)).zip(v.chunks_mut(BLOCK));
    for (k, ((p, m), v)) in blocks.enumerate() {
        let sum = &mut sum[..p.len()];
        arch.dispatch(
            #[inline(always)]
            || {
                sum.fill(0.0);
                for part in parts {
                    add(sum, part, k * BLOCK);
                }
                numbers.apply(p, m, v, sum);
            },
        );
    }
}

/// Moments below this are taken for zero.
const TINY: f32 = 1e-32;

/// `x`, or 0 where `|x|` is below [`TINY`]: a compare and a mask, no branch.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < TINY { 0.0 } else { x }
}

#[inline(always)]
fn add(sum: &mut [f32], part: &GradientTerm<'_>, at: usize) {
    match part {
        GradientTerm::F32(g) => {
            for (s, g) in sum.iter_mut().zip(g.get(at..).unwrap_or_default()) {
                *s += g;
            }
        }
        GradientTerm::Bf16(g) => {
            for (s, &g) in sum.iter_mut().zip(g.get(at..).unwrap_or_default()) {
                *s += f32::from_bits(u32::from(g) << 16);
            }
        }
    }
}

/// The numbers of a step as the loop wants them.
#[derive(Clone, Copy)]
struct Numbers {
    b1: f32,
    b2: f32,
    rate: f32,
    inverse_root: f32,
    eps: f32,
}

impl Numbers {
    fn of(update: Update) -> Self {
        let (b1, b2) = update.betas;
        let correct = |b: f64| 1.0 - b.powi(update.step);
        Self {
            b1: b1 as f32,
            b2: b2 as f32,
            rate: (update.rate / correct(b1)) as f32,
            inverse_root: (1.0 / correct(b2).sqrt()) as f32,
            eps: update.eps as f32,
        }
    }

    #[inline(always)]
    fn apply(self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        for (((p, m), v), &g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
            *m = flushed(*m + (1.0 - self.b1) * (g - *m));
            *v = flushed(*v + (1.0 - self.b2) * (g * g - *v));
            *p -= self.rate * *m / (v.sqrt() * self.inverse_root + self.eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in float64.
    fn plain(p: &mut f64, m: &mut f64, v: &mut f64, g: f64, u: Update) {
        let (b1, b2) = u.betas;
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        let (mc, vc) = (*m / (1.0 - b1.powi(u.step)), *v / (1.0 - b2.powi(u.step)));
        *p -= u.rate * mc / (vc.sqrt() + u.eps);
    }

    #[test]
    fn equals_the_definition_over_several_steps_and_blocks() {
        let n = 2 * BLOCK + 77;
        let value = |i: usize, k: usize| ((i * 37 + k * 101) % 199) as f32 / 99.0 - 1.0;
        let mut p: Vec<f32> = (0..n).map(|i| value(i, 7)).collect();
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let mut exact: Vec<[f64; 3]> = p.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
        for step in 1..=5 {
            let update = Update { betas: (0.9, 0.999), rate: 0.01 * f64::from(step), eps: 1e-8, step };
            let first: Vec<f32> = (0..n).map(|i| value(i, step as usize)).collect();
            // Values that bfloat16 holds exactly.
            let second: Vec<u16> = (0..n).map(|i| (value(i, 50).to_bits() >> 16) as u16).collect();
            adam(&mut p, &mut m, &mut v, &[GradientTerm::F32(&first), GradientTerm::Bf16(&second)], update);
            for (i, [p, m, v]) in exact.iter_mut().enumerate() {
                let g = first[i] + f32::from_bits(u32::from(second[i]) << 16);
                plain(p, m, v, f64::from(g), update);
            }
        }
        let gap = p.iter().zip(&exact).map(|(p, e)| (f64::from(*p) - e[0]).abs()).fold(0.0, f64::max);
        assert!(gap < 1e-6, "{gap}");
    }

    #[test]
    fn moments_do_not_become_subnormal() {
        let (mut p, mut m, mut v) = ([1.0_f32; 8], [0.0; 8], [0.0; 8]);
        for step in 1..2000 {
            let g = if step == 1 { [1e-3_f32; 8] } else { [0.0; 8] };
            let update = Update { betas: (0.9, 0.9), rate: 0.1, eps: 1e-8, step };
            adam(&mut p, &mut m, &mut v, &[GradientTerm::F32(&g)], update);
            assert!(m.iter().chain(&v).all(|x| !x.is_subnormal()), "step {step}");
        }
        assert_eq!((m, v), ([0.0; 8], [0.0; 8]));
    }

    #[test]
    fn no_gradient_moves_nothing() {
        let (mut p, mut m, mut v) = ([1.0_f32; 3], [0.0; 3], [0.0; 3]);
        adam(&mut p, &mut m, &mut v, &[], Update { betas: (0.9, 0.999), rate: 0.1, eps: 1e-8, step: 1 });
        assert_eq!(p, [1.0; 3]);
    }
}
