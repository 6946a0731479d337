//! Dual solvers against exact solutions of small problems.

mod exact;

use std::sync::Arc;

use proptest::prelude::*;

use super::{DualMethod, DualSolver, Solution, solution::semi_dual_value};
use crate::{
    error::KernelError,
    transport::tests::cases::{Case, KINDS, Kind, Random},
};

fn tight(gap: f64) -> DualMethod {
    DualMethod::Converge { gap, evaluations: 5000 }
}

/// A solution of a case from the potential zero.
fn solved(
    case: &Case,
    method: DualMethod,
    weights: Option<&[f64]>,
) -> Result<(Solution, Vec<f64>), KernelError> {
    let mut queries = case.queries()?;
    let mut dual = DualSolver::new(&Arc::clone(queries.references()), method)?;
    let solution = dual.solve(&mut queries, weights)?;
    Ok((solution, dual.potential().to_vec()))
}

/// `value <= exact <= upper` up to the rounding of the exact solver, and a gap as small as asked for.
fn check(case: &Case, weights: Option<&[usize]>, gap: f64) -> Result<(), TestCaseError> {
    let n = case.x.len() / case.dim;
    let whole = weights.map_or_else(|| vec![1; n], <[usize]>::to_vec);
    let real: Vec<f64> = whole.iter().map(|&w| 0.1 * w as f64).collect();
    let (solution, psi) = solved(case, tight(gap), weights.map(|_| &real[..])).unwrap();
    let exact = exact::w2_squared(&case.x, &whole, &case.y, case.dim);
    let size =
        case.x.iter().chain(&case.y).map(|v| f64::from(*v).powi(2)).fold(0.0, f64::max) * case.dim as f64;
    let slack = 1e-12 * size;
    let upper = solution.upper.unwrap();
    prop_assert!(solution.value <= exact + slack && exact <= upper + slack, "{solution:?} {exact}");
    prop_assert!(solution.converged, "{} {upper} after {}", solution.value, solution.evaluations);
    prop_assert!(upper - solution.value <= (gap * upper).max(1e-9 * size), "{} {upper}", solution.value);
    // What is returned belongs to the potential.
    prop_assert_eq!(&case.queries().unwrap().c_transform(&psi).unwrap(), &solution.transform);
    let sum: usize = whole.iter().sum();
    let normalised: Vec<f64> = whole.iter().map(|&w| w as f64 / sum as f64).collect();
    let value = semi_dual_value(&solution.transform, Some(&normalised), &psi);
    prop_assert!((solution.value - value).abs() <= slack, "{} {value}", solution.value);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn exact_of_as_many(
        (seed, kind, n, dim) in (any::<u64>(), 0..KINDS.len(), 1_usize..60, 1_usize..40),
        gap in -4_i32..-1,
    ) {
        let case = Case::new(KINDS[kind], n, n, dim, &mut Random(seed));
        check(&case, None, 10_f64.powi(gap))?;
    }

    /// More queries or more references, also many more.
    #[test]
    fn exact_of_others(
        (seed, kind, dim) in (any::<u64>(), 0..KINDS.len(), 1_usize..20),
        (n, m, part) in (1_usize..15, 1_usize..15, 1_usize..9),
        swap in any::<bool>(),
    ) {
        let (n, m) = (n * part, m);
        let (n, m) = if swap { (m, n) } else { (n, m) };
        prop_assume!(n * m <= 400);
        check(&Case::new(KINDS[kind], n, m, dim, &mut Random(seed)), None, 1e-3)?;
    }

    #[test]
    fn exact_with_weights(
        (seed, kind, dim) in (any::<u64>(), 0..KINDS.len(), 1_usize..20),
        weights in proptest::collection::vec(0_usize..4, 1..16),
        m in 1_usize..8,
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let case = Case::new(KINDS[kind], weights.len(), m, dim, &mut Random(seed));
        check(&case, Some(&weights), 1e-3)?;
    }
}

/// Windows of a smooth image move by a little.
#[test]
fn a_small_step_is_followed_quickly() -> Result<(), KernelError> {
    let mut random = Random(3);
    let case = Case::new(Kind::Smooth, 700, 500, 36, &mut random);
    let mut queries = case.queries()?;
    let mut dual = DualSolver::new(&Arc::clone(queries.references()), DualMethod::default())?;
    let cold = dual.solve(&mut queries, None)?;
    assert!(cold.converged && cold.gap() <= Some(1e-3), "{cold:?}");
    // Nothing has changed: one evaluation finds that out.
    let again = dual.solve(&mut queries, None)?;
    assert_eq!((again.evaluations, again.value), (1, cold.value));
    let moved: Vec<f32> = case.x.iter().map(|x| x + 0.002 * random.normal() as f32).collect();
    queries.update(&moved)?;
    let warm = dual.solve(&mut queries, None)?;
    // Rows drawn with other seeds need 12 to 18; patches of real images 7 to 10, see docs/benchmarks.md.
    assert!(warm.converged && warm.evaluations <= 20, "{}", warm.evaluations);
    assert!((warm.value - cold.value).abs() > 1e-3 * cold.value, "nothing moved");
    Ok(())
}

/// A few evaluations at a time, with more or fewer queries than references, and with queries without weight.
#[test]
fn few_evaluations_at_a_time_come_close() -> Result<(), KernelError> {
    let mut random = Random(11);
    for (n, m, every) in [(400, 300, 1), (300, 400, 1), (60, 400, 1), (500, 400, 2)] {
        let case = Case::new(Kind::Smooth, n, m, 16, &mut random);
        let weights: Vec<f64> = (0..n).map(|i| if i % every == 0 { 1.0 } else { 0.0 }).collect();
        let goal = solved(&case, DualMethod::default(), Some(&weights))?.0.value;
        let mut queries = case.queries()?;
        let method = DualMethod::Converge { gap: 1e-3, evaluations: 5 };
        let mut dual = DualSolver::new(&Arc::clone(queries.references()), method)?;
        let nearest = queries.c_transform(dual.potential())?.values;
        let nearest: f64 =
            nearest.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / weights.iter().sum::<f64>();
        let mut values = vec![nearest];
        for _ in 0..8 {
            values.push(dual.solve(&mut queries, Some(&weights))?.value);
        }
        assert!(values.is_sorted() && nearest < 0.9 * goal, "{n} x {m}: {values:?}");
        assert!(values[8] > 0.9 * goal, "{n} x {m}: {values:?} of {goal}");
    }
    Ok(())
}

/// What is left to the auction of the references ends with a certificate.
#[test]
fn fewer_queries_keep_their_certificate() -> Result<(), KernelError> {
    let mut random = Random(17);
    let case = Case::new(Kind::Smooth, 200, 500, 16, &mut random);
    let mut queries = case.queries()?;
    let references = Arc::clone(queries.references());
    let mut cold = DualSolver::new(&references, DualMethod::Converge { gap: 1e-2, evaluations: 400 })?;
    assert!(cold.solve(&mut queries, None)?.converged);
    for evaluations in 17..40 {
        let mut dual = DualSolver::new(&references, DualMethod::Converge { gap: 1e-3, evaluations })?;
        dual.set_potential(cold.potential())?;
        let solution = dual.solve(&mut queries, None)?;
        assert!(solution.gap() < Some(0.05), "{evaluations}: {:?}", solution.gap());
    }
    Ok(())
}

/// Masses that an auction can only take rounded: what rounding puts elsewhere goes to near places, too.
#[test]
fn masses_without_a_common_divisor_converge() -> Result<(), KernelError> {
    for (n, m) in [(500, 4099), (1999, 2503), (2503, 1999), (2501, 2503), (9001, 800)] {
        let case = Case::new(Kind::Smooth, n, m, 16, &mut Random(23));
        let solution = solved(&case, DualMethod::default(), None)?.0;
        println!("{n} x {m}: gap {:?} after {}", solution.gap(), solution.evaluations);
        assert!(solution.converged, "{n} x {m}: gap {:?} after {}", solution.gap(), solution.evaluations);
    }
    Ok(())
}

/// Threads share out searches, which then come to places in another order: where many costs are equal, too.
#[test]
fn threads_change_no_bit() -> Result<(), Box<dyn std::error::Error>> {
    let run = |case: &Case, threads| -> Result<_, Box<dyn std::error::Error>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(pool.install(|| solved(case, DualMethod::default(), None))?)
    };
    for (kind, n, m, dim) in [(Kind::Smooth, 900, 350, 20), (Kind::Grid, 900, 800, 4)] {
        let case = Case::new(kind, n, m, dim, &mut Random(5));
        let ((one, psi_one), (four, psi_four)) = (run(&case, 1)?, run(&case, 4)?);
        assert_eq!((psi_one, one.value, one.upper), (psi_four, four.value, four.upper), "{kind:?}");
    }
    // The smoothed ascent on lists, which sums up in their order.
    let case = Case::new(Kind::Smooth, 200, 500, 20, &mut Random(6));
    let moved: Vec<f32> = case.x.iter().map(|x| x + 0.01 * x.sin()).collect();
    let warm = |threads| -> Result<_, Box<dyn std::error::Error>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(pool.install(|| -> Result<_, KernelError> {
            let mut queries = case.queries()?;
            let mut dual = DualSolver::new(
                &Arc::clone(queries.references()),
                DualMethod::Converge { gap: 1e-3, evaluations: 40 },
            )?;
            dual.solve(&mut queries, None)?;
            queries.update(&moved)?;
            let solution = dual.solve(&mut queries, None)?;
            Ok((solution.value, solution.upper, dual.potential().to_vec()))
        })?)
    };
    assert_eq!(warm(1)?, warm(4)?);
    Ok(())
}

/// One pair far away does not make a large gap of all others a small one.
#[test]
fn an_outlier_is_no_excuse() -> Result<(), KernelError> {
    let with = |far: f32, near: &dyn Fn(f32) -> f32| {
        (0..100).map(|i| if i == 99 { far } else { near(i as f32 / 99.0) }).collect()
    };
    for far in [30.0, 1e3, 1e6] {
        let case = Case { x: with(far, &|t| t), y: with(far, &|t| t * t), dim: 1 };
        let exact = exact::w2_squared(&case.x, &[1; 100], &case.y, 1);
        let solution = solved(&case, tight(1e-3), None)?.0;
        let gap = solution.gap().unwrap_or(f64::NAN);
        assert!(
            solution.value <= exact * (1.0 + 1e-9) && Some(exact) <= solution.upper,
            "{solution:?} {exact}"
        );
        let rounding = 1e-14 * f64::from(far).powi(2);
        assert!(!solution.converged || gap <= (1e-3_f64).max(rounding / exact), "{far} {gap}");
        // Costs on lists are float32 numbers: of a million, to a sixteenth.
        assert!(far > 100.0 || solution.converged, "{gap}");
    }
    Ok(())
}

/// What is added to all values of a potential changes no distance, and hides none.
#[test]
fn a_shifted_potential_gives_true_bounds() -> Result<(), KernelError> {
    let case = Case { x: vec![3.0], y: vec![0.0], dim: 1 };
    let mut queries = case.queries()?;
    let mut dual = DualSolver::new(&Arc::clone(queries.references()), DualMethod::default())?;
    dual.set_potential(&[1e17])?;
    let solution = dual.solve(&mut queries, None)?;
    assert!(solution.converged && (solution.value - 9.0).abs() < 1e-9, "{solution:?}");

    let case = Case::new(Kind::Smooth, 300, 200, 9, &mut Random(4));
    let exact = solved(&case, tight(1e-6), None)?.0;
    for shift in [1e8, 1e17, 1e30] {
        let mut queries = case.queries()?;
        let mut dual = DualSolver::new(&Arc::clone(queries.references()), DualMethod::default())?;
        let potential: Vec<f64> = (0..200).map(|j| shift * (1.0 + f64::from(j % 3) * 1e-9)).collect();
        dual.set_potential(&potential)?;
        let solution = dual.solve(&mut queries, None)?;
        assert!(
            Some(solution.value) <= exact.upper && solution.upper >= Some(exact.value),
            "{shift} {solution:?}"
        );
    }
    Ok(())
}

/// A limit on evaluations ends the work with true bounds.
#[test]
fn limits_hold() -> Result<(), KernelError> {
    let case = Case::new(Kind::Noise, 40, 40, 12, &mut Random(8));
    let exact = exact::w2_squared(&case.x, &[1; 40], &case.y, 12);
    for evaluations in [1, 2, 3, 5, 8, 10] {
        let solution = solved(&case, DualMethod::Converge { gap: 1e-9, evaluations }, None)?.0;
        assert!(solution.evaluations <= evaluations + 8, "{evaluations} {}", solution.evaluations);
        assert!(
            !solution.converged && solution.value < exact && solution.upper > Some(exact),
            "{solution:?}"
        );
    }
    Ok(())
}

/// Squared distances whose rounded values lie above or below the exact ones, of more references than a list can have;
/// references and queries with so little mass that an auction has no room for them.
#[test]
fn ties_and_tiny_masses_converge() -> Result<(), KernelError> {
    let method = DualMethod::Converge { gap: 1e-3, evaluations: 200 };
    let close = |case: Case, weights: Option<&[f64]>, exact: f64| -> Result<(), KernelError> {
        let solution = solved(&case, method, weights)?.0;
        let upper = solution.upper.unwrap_or(f64::NAN);
        assert!(solution.converged, "{exact}: {} {upper}", solution.value);
        assert!(solution.value <= exact * (1.0 + 1e-8) && exact <= upper * (1.0 + 1e-8), "{solution:?}");
        Ok(())
    };
    // Rows with 3 of 36 values at 0.1, all different, and rows with 10, seen from 0.
    let mut y = Vec::new();
    for [i, j, k] in (0..36_usize.pow(3)).map(|n| [n / 36 / 36, n / 36 % 36, n % 36]) {
        if i < j && j < k && y.len() < 36 * 3_000 {
            y.extend((0..36).map(|d| if [i, j, k].contains(&d) { 0.1_f32 } else { 0.0 }));
        }
    }
    for start in 0..1_000 {
        y.extend((0..36).map(|d| if (d + 36 - start % 36) % 36 < 10 { 0.1_f32 } else { 0.0 }));
    }
    assert_eq!(y.len(), 36 * 4_000);
    let tenth = f64::from(0.1_f32).powi(2);
    close(Case { x: vec![0.0; 36 * 4_000], y, dim: 36 }, None, tenth * (0.75 * 3.0 + 0.25 * 10.0))?;
    let y = (0..=200_000).map(|j| if j < 200_000 { 0.0 } else { 1.0 }).collect();
    close(Case { x: vec![1.0; 17], y, dim: 1 }, None, 200_000.0 / 200_001.0)?;
    let exact = (1.1 * 1.1 + 0.1 * 0.1 + 0.9 * 0.9) / 3.0;
    close(Case { x: vec![0.0, 1.1], y: vec![0.0, 1.0, 2.0], dim: 1 }, Some(&[1e-9, 1.0]), exact)
}

/// A flat region: many equal rows have the distance of one with their weight.
#[test]
fn equal_queries_are_one_with_their_weight() -> Result<(), KernelError> {
    let case = Case::new(Kind::Smooth, 600, 300, 16, &mut Random(29));
    let mut many = case.x.clone();
    many.extend(case.x[..16].repeat(399));
    let merged = solved(&Case { x: many, y: case.y.clone(), dim: 16 }, tight(1e-3), None)?.0;
    let weights: Vec<f64> = (0..600).map(|i| if i == 0 { 400.0 } else { 1.0 }).collect();
    let weighted = solved(&case, tight(1e-3), Some(&weights))?.0;
    println!("{:?} {} {:?} {}", merged.gap(), merged.evaluations, weighted.gap(), weighted.evaluations);
    assert!(merged.converged && weighted.converged, "{:?} {:?}", merged.gap(), weighted.gap());
    assert!(Some(merged.value) <= weighted.upper && Some(weighted.value) <= merged.upper);
    Ok(())
}

/// The steps by hand.
#[test]
fn averaged_steps() -> Result<(), KernelError> {
    let case = Case::new(Kind::Smooth, 50, 20, 9, &mut Random(9));
    for (steps, weights) in [(1, None), (3, None), (7, None), (7, Some((0..50).map(f64::from).collect()))] {
        let weights: Option<Vec<f64>> = weights;
        let sum = weights.as_ref().map_or(50.0, |w| w.iter().sum::<f64>());
        let mut iterates = vec![vec![0.0; 20]];
        for t in 0..steps {
            let mut next: Vec<f64> = iterates[t].iter().map(|psi| psi + 0.05 / 20.0).collect();
            for (i, &j) in case.oracle(&iterates[t]).winners.iter().enumerate() {
                next[j as usize] -= 0.05 * weights.as_ref().map_or(1.0, |w| w[i]) / sum;
            }
            iterates.push(next);
        }
        let late = &iterates[3.min(steps)..];
        let expected = (0..20).map(|j| late.iter().map(|psi| psi[j]).sum::<f64>() / late.len() as f64);
        let method = DualMethod::AveragedSgd { steps, step: 0.05 };
        let (solution, psi) = solved(&case, method, weights.as_deref())?;
        assert!(psi.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!((solution.evaluations, solution.upper, solution.converged), (steps + 1, None, false));
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<(), KernelError> {
    let case = Case::new(Kind::Smooth, 5, 4, 3, &mut Random(1));
    let mut queries = case.queries()?;
    let references = Arc::clone(queries.references());
    for method in [
        DualMethod::AveragedSgd { steps: 0, step: 1.0 },
        DualMethod::AveragedSgd { steps: 1, step: f64::NAN },
        DualMethod::Converge { gap: 0.0, evaluations: 1 },
        DualMethod::Converge { gap: 0.1, evaluations: 0 },
    ] {
        assert!(DualSolver::new(&references, method).is_err(), "{method:?}");
    }
    let mut dual = DualSolver::new(&references, DualMethod::default())?;
    assert!(dual.set_potential(&[0.0; 3]).is_err());
    assert!(dual.set_potential(&[f64::NAN; 4]).is_err());
    assert!(dual.solve(&mut queries, Some(&[1.0; 4])).is_err());
    assert!(dual.solve(&mut case.queries()?, None).is_err(), "an index of its own");
    dual.set_potential(&[1.0, 2.0, 3.0, 4.0])?;
    assert_eq!(dual.potential(), [1.0, 2.0, 3.0, 4.0]);
    assert!(dual.solve(&mut queries, None)?.converged);
    Ok(())
}
