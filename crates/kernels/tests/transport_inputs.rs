//! Whatever rows, windows, weights and potentials the transport kernels are given: a result or one clear line.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use smalti_kernels::{
    rows::Rows,
    transport::{Dual, DualMethod, Queries, References, Side, Sinkhorn, SinkhornMethod, softmin},
};

/// Small whole numbers (many ties), and now and then something that is none.
fn values(bad: bool, length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f32>> {
    let good = (0_i8..4).prop_map(f32::from);
    let one = if bad {
        prop_oneof![
            60 => good.boxed(),
            1 => Just(f32::NAN).boxed(),
            1 => Just(f32::INFINITY).boxed(),
            1 => Just(3e38_f32).boxed(),
        ]
        .boxed()
    } else {
        good.boxed()
    };
    prop::collection::vec(one, length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_read_or_refused(
        data in values(true, 0..200),
        shape in prop::collection::vec(0_usize..7, 0..4),
        window in prop::collection::vec(0_usize..5, 0..4),
        step in prop::collection::vec(0_usize..4, 0..4),
    ) {
        let fits = !shape.is_empty()
            && window.len() == shape.len()
            && step.len() == shape.len()
            && !window.contains(&0)
            && !step.contains(&0)
            && shape.iter().zip(&window).all(|(s, w)| s >= w)
            && shape.iter().product::<usize>() == data.len()
            && data.iter().all(|v| v.abs() <= 1e15);
        match Rows::windows(data, &shape, &window, &step) {
            Ok(rows) => {
                prop_assert!(fits && rows.len() >= 1 && rows.dim() == window.iter().product::<usize>());
                rows.read(rows.len() - 1, &mut vec![0.0; rows.dim()]);
            }
            Err(error) => prop_assert!(!fits && error.to_string().lines().count() == 1, "{error}"),
        }
    }

    #[test]
    fn transport_is_solved_or_refused(
        (x, y, dim) in (values(true, 0..60), values(true, 0..60), 0_usize..5),
        psi in prop::collection::vec(prop_oneof![40 => -1.0..1.0_f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)], 0..20),
        weights in prop::option::of(prop::collection::vec(prop_oneof![9 => 0.0..1.0_f64, 1 => Just(-1.0), 1 => Just(f64::NAN)], 0..20)),
        (eps, steps) in (prop_oneof![Just(0.0), Just(f64::NAN), 1e-6..10.0_f64], 0_usize..40),
    ) {
        let finite = |v: &[f32]| dim > 0 && !v.is_empty() && v.len().is_multiple_of(dim) && v.iter().all(|v| v.abs() <= 1e15);
        let (good_x, good_y) = (finite(&x), finite(&y));
        let (x, y) = (Rows::dense(x, dim), Rows::dense(y, dim));
        prop_assert_eq!((x.is_ok(), y.is_ok()), (good_x, good_y));
        let (Ok(x), Ok(y)) = (x, y) else { return Ok(()) };
        let good_psi = psi.len() == y.len() && psi.iter().all(|v| v.is_finite());
        let good_weights = weights.as_ref().is_none_or(|w| {
            w.len() == x.len() && w.iter().all(|w| *w >= 0.0 && w.is_finite()) && w.iter().any(|w| *w > 0.0)
        });

        let soft = softmin(&x, Side { rows: &y, weights: None, potential: &psi }, eps);
        prop_assert_eq!(soft.is_ok(), good_psi && eps > 0.0);
        prop_assert!(soft.unwrap_or_default().iter().all(|v| v.is_finite()));

        let references = Arc::new(References::new(&y).unwrap());
        let mut queries = Queries::new(&references, x.clone()).unwrap();
        let transform = queries.c_transform(&psi);
        prop_assert_eq!(transform.is_ok(), good_psi);

        let method = DualMethod::Converge { gap: 0.01, evaluations: steps };
        let solved = Dual::new(&references, method).and_then(|mut dual| dual.solve(&mut queries, weights.as_deref()));
        prop_assert_eq!(solved.is_ok(), steps > 0 && good_weights);
        if let Ok(solution) = solved {
            prop_assert!(solution.value.is_finite() && solution.upper.is_none_or(|upper| upper >= solution.value - 1e-9));
        }

        let method = SinkhornMethod { iterations: steps, ..SinkhornMethod::new(eps) };
        let sum: f64 = weights.iter().flatten().sum();
        let normalised = weights.as_ref().map(|w| w.iter().map(|w| w / sum).collect::<Vec<f64>>());
        let solved = Sinkhorn::new(y, method).and_then(|mut s| s.solve(&x, normalised.as_deref()));
        prop_assert_eq!(solved.is_ok(), steps > 0 && eps > 0.0 && good_weights);
        if let Ok(solution) = solved {
            prop_assert!(solution.value.is_finite() && solution.gradient.iter().all(|g| g.is_finite()));
        }
    }
}
