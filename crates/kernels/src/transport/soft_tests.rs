//! Soft minima against their formula in float64, and Sinkhorn's iteration against exact transport and closed forms.

use proptest::prelude::*;

use super::{
    sinkhorn::{SinkhornMethod, SinkhornSolver},
    soft_gradient,
    softmin::{Side, softmin},
    tests::cases::{Case, KINDS, Kind, Random},
};
use crate::{error::KernelError, rows::Rows};

type Outcome = Result<(), KernelError>;

/// Soft minima and the means of the references under the weights of each query, by the formula.
fn by_formula(case: &Case, psi: &[f64], b: &[f64], eps: f64) -> (Vec<f64>, Vec<Vec<f64>>) {
    let of_query = |x: &[f32]| {
        let y: Vec<&[f32]> = case.y.chunks(case.dim).collect();
        let square = |y: &[f32]| -> f64 {
            x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
        };
        let scores: Vec<f64> = y.iter().zip(psi).map(|(y, psi)| (psi - square(y)) / eps).collect();
        let top =
            scores.iter().zip(b).filter(|(_, b)| **b > 0.0).fold(f64::NEG_INFINITY, |t, (s, _)| t.max(*s));
        let weights: Vec<f64> =
            scores.iter().zip(b).map(|(s, b)| if *b > 0.0 { b * (s - top).exp() } else { 0.0 }).collect();
        let total: f64 = weights.iter().sum();
        let mean = |k: usize| y.iter().zip(&weights).map(|(y, w)| w * f64::from(y[k])).sum::<f64>() / total;
        (-eps * (top + total.ln()), (0..case.dim).map(mean).collect())
    };
    case.x.chunks(case.dim).map(of_query).unzip()
}

fn dense(values: &[f32], dim: usize) -> Result<Rows, KernelError> {
    Rows::dense(values.to_vec(), dim)
}

#[test]
fn soft_minima_are_those_of_the_formula() -> Outcome {
    let mut random = Random(21);
    for kind in KINDS {
        for (dim, n, m) in [(1, 30, 40), (5, 200, 300), (36, 30, 520), (64, 13, 257)] {
            let case = Case::new(kind, n, m, dim, &mut random);
            let psi: Vec<f64> = (0..m).map(|_| 0.1 * random.normal()).collect();
            let weights: Vec<f64> = (0..m).map(|j| if j % 3 == 0 { 0.0 } else { random.uniform() }).collect();
            let sum: f64 = weights.iter().sum();
            let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
            let (x, y) = (dense(&case.x, dim)?, dense(&case.y, dim)?);
            for weights in [None, Some(&weights[..])] {
                let same = vec![1.0 / m as f64; m];
                for eps in [1e-4, 0.02, 1.0, 300.0] {
                    let (expected, means) = by_formula(&case, &psi, weights.unwrap_or(&same), eps);
                    let side = Side { rows: &y, weights, potential: &psi };
                    let found = softmin(&x, side, eps)?;
                    let near =
                        |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * (1.0 + b.abs() + eps);
                    assert!(
                        found.iter().zip(&expected).all(|(a, b)| near(*a, *b, 3e-6)),
                        "{kind:?} {dim} {eps}"
                    );
                    let (values, gradient) = soft_gradient::exact(&x, side, None, eps, &found)?;
                    assert!(
                        values.iter().zip(&expected).all(|(a, b)| near(*a, *b, 1e-12)),
                        "{kind:?} {dim} {eps}"
                    );
                    for ((g, x), mean) in gradient.iter().zip(&case.x).zip(means.iter().flatten()) {
                        let wanted = 2.0 * (f64::from(*x) - mean) / n as f64;
                        assert!(
                            (g - wanted).abs() < 1e-8 * (1.0 + x.abs() as f64),
                            "{kind:?} {dim} {eps}: {g} {wanted}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn threads_change_no_bit() -> Outcome {
    let mut random = Random(22);
    let case = Case::new(Kind::Smooth, 700, 300, 9, &mut random);
    let (x, y) = (dense(&case.x, 9)?, dense(&case.y, 9)?);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let solution =
            pool.install(|| SinkhornSolver::new(y.clone(), SinkhornMethod::new(0.02))?.solve(&x, None))?;
        Ok::<_, KernelError>((solution.value.to_bits(), solution.gradient, solution.iterations))
    };
    assert!(on(1)? == on(3)?);
    Ok(())
}

/// Tight, with all the iterations that it takes.
fn tight(eps: f64) -> SinkhornMethod {
    SinkhornMethod { tolerance: 1e-4, iterations: 20_000, ..SinkhornMethod::new(eps) }
}

/// `W_2^2` of points `t_i u` and `s_j u` on one line: sorted points are matched.
fn on_a_line(t: &[f64], s: &[f64]) -> f64 {
    let copies = |points: &[f64], times: usize| {
        let mut all: Vec<f64> = points.iter().flat_map(|&p| vec![p; times]).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (t, s) = (copies(t, s.len()), copies(s, t.len()));
    t.iter().zip(&s).map(|(t, s)| (t - s).powi(2)).sum::<f64>() / t.len() as f64
}

#[test]
fn small_smoothing_is_exact_transport() -> Outcome {
    let mut random = Random(23);
    for (n, m) in [(30, 30), (24, 36), (40, 20)] {
        let t: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let s: Vec<f64> = (0..m).map(|_| 0.5 + random.normal().powi(3) / 4.0).collect();
        // The line is along a unit vector.
        let rows = |points: &[f64]| {
            let values: Vec<f32> =
                points.iter().flat_map(|p| [0.6 * p, 0.0, -0.8 * p].map(|v| v as f32)).collect();
            dense(&values, 3)
        };
        let exact = on_a_line(&t, &s);
        let mut errors = Vec::new();
        for eps in [0.5, 0.1, 0.02] {
            let solution = SinkhornSolver::new(rows(&s)?, tight(eps))?.solve(&rows(&t)?, None)?;
            assert!(solution.converged, "{eps}: {}", solution.marginal_error);
            // From above, as the divergence is not negative, and by no more than eps times the largest entropy.
            let most = eps * (n.max(m) as f64).ln();
            let value = solution.value;
            assert!(value > exact - 1e-3 && value < exact + most, "{eps} {value} {exact}");
            errors.push((value - exact).abs());
        }
        assert!(errors[2] < 0.2 * errors[0] && errors[2] < 0.1 * exact, "{errors:?} {exact}");
    }
    Ok(())
}

#[test]
fn between_single_points_nothing_is_smoothed() -> Outcome {
    // One reference: all go there, whatever eps. One query: P = b, and KL(P | a b^T) = 0.
    let many = [0.0, 1.0, 2.0, 3.0, 5.0, 2.0];
    for (x, y) in [(&many[..], &[1.0, 1.0][..]), (&[1.0, 1.0], &many)] {
        let mean =
            [(1.0_f64, 0.0_f64), (1.0, 2.0), (4.0, 1.0)].iter().map(|(a, b)| a * a + b * b).sum::<f64>()
                / 3.0;
        for eps in [1e-3, 1.0, 100.0] {
            for rho in [None, Some(0.7)] {
                let method = SinkhornMethod { rho, ..tight(eps) };
                let solution = SinkhornSolver::new(dense(y, 2)?, method)?.solve(&dense(x, 2)?, None)?;
                // Mass is not created: with one reference its marginal is 1 also where relaxed.
                if rho.is_none() || y.len() == 2 {
                    assert!((solution.value - mean).abs() < 1e-3, "{eps} {rho:?}: {} {mean}", solution.value);
                } else {
                    // min_p <c, p> + (eps + rho) KL(p | b) over probabilities p.
                    let s = eps + 0.7;
                    let soft =
                        -s * ([1.0, 5.0, 17.0].iter().map(|c: &f64| (-c / s).exp()).sum::<f64>() / 3.0).ln();
                    assert!(
                        (solution.value - soft).abs() < 1e-3 * (1.0 + soft),
                        "{eps}: {} {soft}",
                        solution.value
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn relaxation_lowers_the_value_up_to_the_balanced_one() -> Outcome {
    let mut random = Random(24);
    let case = Case::new(Kind::Smooth, 60, 80, 4, &mut random);
    let (x, y) = (dense(&case.x, 4)?, dense(&case.y, 4)?);
    let weights: Vec<f64> = (0..60).map(|i| f64::from(i % 4) / 90.0).collect();
    let with = |rho| {
        let method = SinkhornMethod { rho, ..tight(0.01) };
        let solution = SinkhornSolver::new(y.clone(), method)?.solve(&x, Some(&weights))?;
        assert!(solution.converged);
        Ok::<_, KernelError>(solution)
    };
    let balanced = with(None)?;
    let mut last = 0.0_f64;
    for rho in [1e-3, 1e-2, 0.1, 1.0] {
        let value = with(Some(rho))?.value;
        assert!(value > last && value < balanced.value, "{rho}: {last} {value} {}", balanced.value);
        last = value;
    }
    let large = with(Some(1e4))?;
    assert!((large.value / balanced.value - 1.0).abs() < 1e-4);
    let gap = large.gradient.iter().zip(&balanced.gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let size = balanced.gradient.iter().map(|g| g.abs()).fold(0.0, f64::max);
    assert!(gap < 1e-2 * size, "{gap} {size}");
    Ok(())
}

#[test]
fn a_warm_start_is_shorter_and_bounds_come_from_below() -> Outcome {
    let mut random = Random(25);
    let case = Case::new(Kind::Smooth, 100, 120, 6, &mut random);
    let x = dense(&case.x, 6)?;
    let method = |iterations| SinkhornMethod { iterations, tolerance: 0.0, ..SinkhornMethod::new(0.003) };
    let mut last = 0.0_f64;
    for iterations in [20, 40, 80] {
        let found = SinkhornSolver::new(dense(&case.y, 6)?, method(iterations))?.solve(&x, None)?;
        assert!(!found.converged && found.iterations == iterations);
        assert!(found.value >= last - 1e-6 * last.abs(), "{last} {}", found.value);
        last = found.value;
    }
    let mut sinkhorn = SinkhornSolver::new(dense(&case.y, 6)?, tight(0.02))?;
    let first = sinkhorn.solve(&x, None)?;
    let moved: Vec<f32> = case.x.iter().map(|x| x + 1e-4).collect();
    let second = sinkhorn.solve(&dense(&moved, 6)?, None)?;
    assert!(second.iterations < first.iterations, "{} {}", first.iterations, second.iterations);
    Ok(())
}

#[test]
fn bad_input_is_refused() -> Outcome {
    let rows = dense(&[0.0, 1.0, 2.0, 3.0], 2)?;
    for bad in [
        SinkhornMethod::new(0.0),
        SinkhornMethod::new(-1.0),
        SinkhornMethod::new(f64::NAN),
        SinkhornMethod { rho: Some(0.0), ..SinkhornMethod::new(1.0) },
        SinkhornMethod { annealing: 0.0, ..SinkhornMethod::new(1.0) },
        SinkhornMethod { annealing: 2.0, ..SinkhornMethod::new(1.0) },
        SinkhornMethod { iterations: 0, ..SinkhornMethod::new(1.0) },
        SinkhornMethod { tolerance: f64::NAN, ..SinkhornMethod::new(1.0) },
    ] {
        assert!(SinkhornSolver::new(rows.clone(), bad).is_err(), "{bad:?}");
    }
    let mut sinkhorn = SinkhornSolver::new(rows.clone(), SinkhornMethod::new(1.0))?;
    assert!(sinkhorn.solve(&dense(&[0.0; 3], 3)?, None).is_err());
    for weights in [vec![1.0], vec![1.0, f64::NAN], vec![1.0, -1.0], vec![0.0, 0.0]] {
        assert!(sinkhorn.solve(&rows, Some(&weights)).is_err(), "{weights:?}");
    }
    assert!(sinkhorn.set_potential(&[0.0]).is_err());
    assert!(sinkhorn.set_potential(&[0.0, f64::INFINITY]).is_err());
    assert!(sinkhorn.solve(&rows, None)?.converged);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Any data, scale and smoothing: a finite value, not above what the product plan costs.
    #[test]
    fn any_rows_have_a_value(
        (seed, kind) in (any::<u64>(), 0..KINDS.len()),
        (n, m, dim) in (1_usize..70, 1_usize..300, 1_usize..20),
        (scale, smoothing, relaxation) in (-10_i32..6, -8_i32..4, -6_i32..3),
        relaxed in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let mut case = Case::new(KINDS[kind], n, m, dim, &mut random);
        case.x.iter_mut().chain(&mut case.y).for_each(|v| *v *= 10_f32.powi(scale));
        let rho = relaxed.then(|| 10_f64.powi(2 * scale + relaxation));
        let eps = 10_f64.powi(2 * scale + smoothing);
        let method = SinkhornMethod { rho, iterations: 8, ..SinkhornMethod::new(eps) };
        let mut sinkhorn = SinkhornSolver::new(dense(&case.y, dim).unwrap(), method).unwrap();
        let found = sinkhorn.solve(&dense(&case.x, dim).unwrap(), None).unwrap();
        let product = case.x.chunks(dim).flat_map(|x| case.y.chunks(dim).map(move |y| (x, y)));
        let cost: f64 = product.map(|(x, y)| x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>()).sum();
        let cost = cost / (n * m) as f64;
        prop_assert!(found.value <= cost * (1.0 + 1e-6) + 1e-30, "{} {}", found.value, cost);
        prop_assert!(found.gradient.iter().all(|g| g.is_finite()) && found.marginal_error >= 0.0);
    }
}
