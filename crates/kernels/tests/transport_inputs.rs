//! Whatever rows, windows, weights and potentials the transport kernels are given: a result or one clear line.
#![allow(clippy::unwrap_used)] // in helpers, too

use std::{cell::Cell, fmt::Debug, sync::Arc};

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{TestCaseResult, TestRunner},
};
use smalti_kernels::{
    rows::Rows,
    transport::{DualMethod, DualSolver, Queries, References, Side, SinkhornMethod, SinkhornSolver, softmin},
};

const CASES: u32 = 300;

/// Whatever the strategy makes, and that enough of it was no mere refusal: `law` says which.
fn always<T: Debug>(strategy: impl Strategy<Value = T>, law: impl Fn(T, &dyn Fn()) -> TestCaseResult) {
    let good = Cell::new(0);
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, |value| law(value, &|| good.set(good.get() + 1))).unwrap();
    assert!(good.get() > CASES / 10, "only {} of {CASES} cases were good", good.get());
}

/// The good in nine of ten cases.
fn mostly<T: Debug + 'static>(
    good: impl Strategy<Value = T> + 'static,
    bad: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![9 => good, 1 => bad].boxed()
}

/// So many values, one of which is a bad one, mostly none.
fn list(length: usize, good: BoxedStrategy<f64>, bad: &'static [f64]) -> BoxedStrategy<Vec<f64>> {
    let bad = mostly(Just(None), select(bad).prop_map(Some));
    let values =
        mostly(Just(length), 0..60_usize).prop_flat_map(move |n| prop::collection::vec(good.clone(), n));
    let with = |(mut values, bad, at): (Vec<f64>, Option<f64>, Index)| {
        if let (Some(bad), false) = (bad, values.is_empty()) {
            let at = at.index(values.len());
            values[at] = bad;
        }
        values
    };
    (values, bad, any::<Index>()).prop_map(with).boxed()
}

/// Grey values: small whole numbers, many of them equal.
fn grey(length: usize) -> impl Strategy<Value = Vec<f32>> {
    let values = list(length, (0_i8..4).prop_map(f64::from).boxed(), &[f64::NAN, f64::INFINITY, 3e38]);
    values.prop_map(|values| values.into_iter().map(|v| v as f32).collect())
}

fn finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.abs() <= 1e15)
}

#[test]
fn windows_are_read_or_refused() {
    let axis = (1_usize..7, mostly(1_usize..4, Just(0)), mostly(1_usize..4, Just(0)));
    let axes = mostly(1_usize..4, Just(0)).prop_flat_map(move |n| prop::collection::vec(axis.clone(), n));
    let windows = axes.prop_flat_map(|axes| {
        let shape: Vec<usize> = axes.iter().map(|axis| axis.0).collect();
        let window: Vec<usize> = axes.iter().map(|axis| axis.1).collect();
        let step: Vec<usize> = axes.iter().map(|axis| axis.2).collect();
        let inside = shape.iter().zip(&window).map(|(s, w)| *w.min(s)).collect();
        let others = prop::collection::vec(1_usize..7, 0..4);
        (
            grey(shape.iter().product()),
            Just(shape),
            mostly(Just(inside), Just(window)),
            mostly(Just(step), others),
        )
    });
    always(windows, |(data, shape, window, step), good| {
        let fits = !shape.is_empty()
            && window.len() == shape.len()
            && step.len() == shape.len()
            && !window.contains(&0)
            && !step.contains(&0)
            && shape.iter().zip(&window).all(|(s, w)| s >= w)
            && shape.iter().product::<usize>() == data.len()
            && finite(&data);
        match Rows::windows(data, &shape, &window, &step) {
            Ok(rows) => {
                good();
                prop_assert!(fits && rows.len() >= 1 && rows.dim() == window.iter().product::<usize>());
                rows.read(rows.len() - 1, &mut vec![0.0; rows.dim()]);
            }
            Err(error) => prop_assert!(!fits && error.to_string().lines().count() == 1, "{error}"),
        }
        Ok(())
    });
}

/// Rows `x` and `y` of `dim` values, a potential, weights, a method.
type Problem = (usize, Vec<f32>, Vec<f32>, Vec<f64>, Option<Vec<f64>>, DualMethod, f64);

fn problems() -> impl Strategy<Value = Problem> {
    let sizes = (mostly(1_usize..5, Just(0)), 1_usize..16, 1_usize..16);
    sizes.prop_flat_map(|(dim, n, m)| {
        let psi = list(m, (-1.0..1.0_f64).boxed(), &[f64::NAN, f64::INFINITY, -1e40, 1e34, -1e20]);
        let weights = list(n, (0.0..1.0_f64).boxed(), &[-1.0, f64::NAN, f64::INFINITY]);
        let steps = mostly(1_usize..40, Just(0));
        let sgd = (steps.clone(), mostly(Just(1.0), select(&[0.0, f64::NAN, -1.0][..])));
        let converge = (steps, mostly(Just(0.01), select(&[0.0, f64::NAN, -1.0][..])));
        let method = prop_oneof![
            sgd.prop_map(|(steps, step)| DualMethod::AveragedSgd { steps, step }),
            converge.prop_map(|(evaluations, gap)| DualMethod::Converge { gap, evaluations }),
        ];
        let eps = mostly(1e-6..10.0_f64, select(&[0.0, f64::NAN, -1.0][..]));
        (Just(dim), grey(n * dim), grey(m * dim), psi, prop::option::of(weights), method, eps)
    })
}

#[test]
fn transport_is_solved_or_refused() {
    always(problems(), |(dim, x, y, psi, weights, method, eps), good| {
        let rows = |v: &[f32]| dim > 0 && !v.is_empty() && v.len().is_multiple_of(dim) && finite(v);
        let (good_x, good_y) = (rows(&x), rows(&y));
        let (x, y) = (Rows::dense(x, dim), Rows::dense(y, dim));
        prop_assert_eq!((x.is_ok(), y.is_ok()), (good_x, good_y));
        let (Ok(x), Ok(y)) = (x, y) else { return Ok(()) };
        let psi_below = |most: f64| psi.len() == y.len() && psi.iter().all(|v| v.abs() <= most);
        let good_weights = weights.as_ref().is_none_or(|w| {
            w.len() == x.len() && w.iter().all(|w| *w >= 0.0 && w.is_finite()) && w.iter().any(|w| *w > 0.0)
        });

        let soft = softmin(&x, Side { rows: &y, weights: None, potential: &psi }, eps);
        prop_assert_eq!(soft.is_ok(), psi_below(1e30) && eps > 0.0);
        prop_assert!(soft.unwrap_or_default().iter().all(|v| v.is_finite()));

        let references = Arc::new(References::new(&y).unwrap());
        let mut queries = Queries::new(&references, x.clone()).unwrap();
        let transform = queries.c_transform(&psi);
        prop_assert_eq!(transform.is_ok(), psi_below(1e35));

        let (count, size) = match method {
            DualMethod::AveragedSgd { steps, step } => (steps, step),
            DualMethod::Converge { evaluations, gap } => (evaluations, gap),
        };
        let dual = DualSolver::new(&references, method);
        prop_assert_eq!(dual.is_ok(), count > 0 && size > 0.0);
        if let Ok(mut dual) = dual {
            let started = dual.set_potential(&psi);
            prop_assert_eq!(started.is_ok(), psi_below(1e35));
            let solved = dual.solve(&mut queries, weights.as_deref());
            prop_assert_eq!(solved.is_ok(), good_weights, "{:?}", solved.err());
            if let Ok(solution) = solved {
                started.iter().for_each(|()| good());
                let slack = 1e-9 + 1e-12 * psi.iter().fold(0.0, |most: f64, v| v.abs().max(most));
                let below = |upper: f64| upper >= solution.value - slack;
                prop_assert!(
                    solution.value.is_finite() && solution.upper.is_none_or(below),
                    "{:?}",
                    solution
                );
            }
        }

        let method = SinkhornMethod { iterations: count, ..SinkhornMethod::new(eps) };
        let sinkhorn = SinkhornSolver::new(y.clone(), method);
        prop_assert_eq!(sinkhorn.is_ok(), count > 0 && eps > 0.0);
        let Ok(mut sinkhorn) = sinkhorn else { return Ok(()) };
        prop_assert_eq!(sinkhorn.set_potential(&psi).is_ok(), psi_below(1e30));
        let far = psi_below(1e30) && !psi_below(1e15);
        let solved = sinkhorn.solve(&x, weights.as_deref());
        // From a potential that is far off there is a result, or an error that names it.
        prop_assert!(far || solved.is_ok() == good_weights, "{:?}", solved.err());
        if let Ok(solution) = solved {
            prop_assert!(solution.value.is_finite() && solution.gradient.iter().all(|g| g.is_finite()));
        }
        Ok(())
    });
}
