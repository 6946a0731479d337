//! Which search is taken, and what the one by products of bytes needs.

use std::sync::Arc;

use super::{
    super::{
        int8_bounds::{self, Int8Panels},
        potential::Potential,
    },
    *,
};

/// Rows of which all that is rounded away, of the query or of the reference, lies along the other one: here the margin for
/// it is as large as the error, and without it the better reference is left out.
#[test]
fn the_margins_of_bytes_are_needed_in_full() -> Outcome {
    let whole = vec![1.0; 36];
    let mut between = vec![(63.0 + 0.49) / 127.0; 36];
    between[0] = 1.0;
    for (x, y) in [(&between, &whole), (&whole, &between)] {
        let both = y.iter().copied().chain(y.iter().map(|v| -v)).collect();
        let case = Case { x: x.clone(), y: both, dim: 36 };
        let product: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum();
        // The reference that the search starts from costs more by a part of the error.
        for (share, noticed) in [(0.05, true), (1.1, false)] {
            let psi = [0.0, 4.0 * product - share * 2.0 * 35.0 * 0.49 / 127.0];
            let run = |spoil: &dyn Fn(Int8Panels) -> Int8Panels| -> Result<bool, KernelError> {
                let mut references = References::new(&Rows::dense(case.y.clone(), 36)?)?;
                references.set_int8_panels(spoil(Int8Panels::of(&references.index)));
                let mut queries = Queries::new(&Arc::new(references), Rows::dense(x.clone(), 36)?)?;
                queries.start_from(&[1])?;
                Ok(queries.transform(&psi, (BYTES, Isa::V4))? == case.oracle(&psi))
            };
            assert_eq!(case.oracle(&psi).winners, [0]);
            assert!(run(&|bytes| bytes)?);
            assert_eq!(run(&Int8Panels::without_margins)?, !noticed);
        }
    }
    Ok(())
}

/// The cheapest search is chosen: by bounds for smooth rows, over all pairs for noise, and there not by bytes where one row far
/// away makes them coarse.
#[test]
fn each_kind_of_rows_has_its_search() -> Outcome {
    let mut random = Random(14);
    let quick = int8_bounds::quick(36);
    assert!(!int8_bounds::quick(513));
    for (kind, far, how) in [
        (Kind::Smooth, 1.0, How::Pruned),
        (Kind::Noise, 1.0, if quick { BYTES } else { FLOATS }),
        (Kind::Noise, 1000.0, FLOATS),
    ] {
        let mut case = Case::new(kind, 300, 5000, 36, &mut random);
        case.y[..36].iter_mut().for_each(|v| *v *= far);
        let queries = case.queries()?;
        let potential = Potential::of(queries.index(), &[0.0; 5000])?;
        let positions: Vec<u32> = (0..300).collect();
        let (_, decided) = queries.shortlists(&potential, &positions, How::Adaptive, |_| 3);
        assert_eq!(decided, how, "{kind:?} {far}");
    }
    Ok(())
}
