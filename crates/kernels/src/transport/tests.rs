//! The transform against a search over all pairs in float64.

pub(super) mod cases;
mod searches;

use std::{collections::HashSet, sync::Arc};

use proptest::prelude::*;

use super::{
    bounds::{Margins, squared_distance},
    brute_force::Products,
    int8_bounds::Int8Panels,
    potential::Potential as DualPotential,
    strategy::Strategy as How,
    *,
};
use crate::{error::KernelError, rows::Rows, simd::Isa};

use cases::{Case, KINDS, Kind, PSIS, Psi, Random, potential, rows};

const FLOATS: How = How::Dense(Products::Floats);
const BYTES: How = How::Dense(Products::Bytes);
const HOWS: [How; 4] = [How::Pruned, FLOATS, BYTES, How::Adaptive];

type Outcome = Result<(), KernelError>;

#[test]
fn the_distance_is_that_of_the_definition() {
    let mut random = Random(1);
    for dim in [16, 48, 224] {
        let x: Vec<f32> = (0..dim).map(|_| random.normal() as f32).collect();
        let y: Vec<f32> = (0..dim).map(|_| random.normal() as f32).collect();
        let plain: f64 = x.iter().zip(&y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
        assert!((squared_distance(&x, &y) / plain - 1.0).abs() < 1e-14);
    }
}

/// Every kind of data, potential, length of rows, strategy and instruction set: the same bits as over all pairs.
#[test]
fn equals_the_search_over_all_pairs() -> Outcome {
    let mut random = Random(2);
    for kind in KINDS {
        for (dim, n, m) in
            [(1, 90, 400), (3, 200, 700), (16, 130, 600), (36, 150, 900), (64, 70, 300), (200, 20, 60)]
        {
            let case = Case::new(kind, n, m, dim, &mut random);
            for psi_kind in PSIS {
                let psi = potential(psi_kind, &case, &mut random);
                let exact = case.oracle(&psi);
                for how in HOWS {
                    for isa in [Isa::V4, Isa::V3, Isa::Plain] {
                        let mut queries = case.queries()?;
                        let cold = queries.transform(&psi, (how, isa))?;
                        assert!(cold == exact, "{kind:?} {psi_kind:?} {dim} {how:?} {isa:?}");
                        let warm = queries.transform(&psi, (how, isa))?;
                        assert!(warm == exact, "warm {kind:?} {psi_kind:?} {dim} {how:?} {isa:?}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// Enough references for several boxes of the upper level, and potentials one after the other as in a solver.
#[test]
fn a_sequence_of_potentials_and_of_rows() -> Outcome {
    let mut random = Random(3);
    let mut case = Case::new(Kind::Smooth, 400, 6000, 36, &mut random);
    let mut queries = case.queries()?;
    let mut psi = vec![0.0; 6000];
    for step in 0..8 {
        let result = queries.c_transform(&psi)?;
        assert!(result == case.oracle(&psi), "step {step}");
        for (psi, share) in psi.iter_mut().zip(result.shares(6000)) {
            *psi += (1.0 / 6000.0 - share) / f64::from(step + 1) + 1e-3 * random.normal();
        }
        if step % 3 == 2 {
            case.x.iter_mut().for_each(|x| *x += 0.02 * random.normal() as f32);
            queries.update(&case.x)?;
        }
    }
    Ok(())
}

/// Potentials that leave what is remembered more and more behind, with any slack and number of candidates.
#[test]
fn remembered_candidates_change_nothing() -> Outcome {
    let mut random = Random(11);
    for kind in KINDS {
        let case = Case::new(kind, 150, 700, 12, &mut random);
        let all = [(0.0, 1), (0.0, 50), (0.05, 3), (0.5, 1000), (f64::INFINITY, 8)];
        // With zeros many costs on a grid are equal.
        for ((slack, most), start) in all.into_iter().flat_map(|of| [(of, Psi::Zero), (of, Psi::Small)]) {
            let mut psi = potential(start, &case, &mut random);
            let mut queries = case.queries()?;
            assert!(
                queries.cache_candidates(&psi, slack, most)? == case.oracle(&psi),
                "{kind:?} {slack} {most}"
            );
            for step in [0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0] {
                psi.iter_mut().for_each(|psi| *psi += step * random.normal());
                assert!(queries.c_transform(&psi)? == case.oracle(&psi), "{kind:?} {slack} {most} {step}");
            }
        }
    }
    Ok(())
}

/// Of more equally cheap references than are remembered the first one wins, wherever it is searched.
#[test]
fn ties_are_for_the_first_however_few_are_remembered() -> Outcome {
    for first in [1.0, -1.0] {
        let y: Vec<f32> = (1..=16).flat_map(|k| [first * k as f32, -first * k as f32]).collect();
        let case = Case { x: vec![0.0], y, dim: 1 };
        let psi = vec![0.0; 32];
        let mut queries = case.queries()?;
        assert_eq!(queries.cache_candidates(&psi, 0.0, 1)?.winners, [0]);
        assert_eq!(queries.c_transform(&psi)?.winners, [0]);
    }
    Ok(())
}

/// Calls `each(i, j, |x_i - y_j|^2)` for all remembered candidates.
fn for_each_candidate(queries: &Queries, mut each: impl FnMut(usize, usize, f64)) {
    let candidates = queries.candidates.as_ref().unwrap();
    for (position, &i) in queries.order.iter().enumerate() {
        for &(place, square) in candidates.of(position) {
            for &j in queries.index().members(place as usize) {
                each(i as usize, j as usize, square);
            }
        }
    }
}

/// What is remembered is all that the definition says, and decides while psi rises by less than the slack.
#[test]
fn candidates_are_complete() -> Outcome {
    let mut random = Random(12);
    let case = Case::new(Kind::Smooth, 100, 500, 20, &mut random);
    let psi = potential(Psi::Fitted, &Case::new(Kind::Smooth, 500, 500, 20, &mut random), &mut random);
    let mut queries = case.queries()?;
    let least = queries.cache_candidates(&psi, 0.02, 1000)?.values;
    let mut found = vec![HashSet::new(); 100];
    for_each_candidate(&queries, |i, j, square| {
        assert!(found[i].insert(j));
        assert!(square - psi[j] <= least[i] + 0.02);
    });
    let square = |i: usize, j: usize| -> f64 {
        let gap = |k: usize| f64::from(case.x[20 * i + k]) - f64::from(case.y[20 * j + k]);
        (0..20).map(|k| gap(k).powi(2)).sum()
    };
    for (i, found) in found.iter().enumerate() {
        let all = (0..500).filter(|&j| square(i, j) - psi[j] <= least[i] + 0.02 - 1e-12);
        assert!(all.into_iter().all(|j| found.contains(&j)), "{i}");
    }
    let risen: Vec<f64> = psi.iter().map(|psi| psi + 0.0199 * random.uniform()).collect();
    let potential = DualPotential::of(queries.index(), &risen)?;
    let known = queries.candidates.as_ref().unwrap().under(&potential);
    assert!((0..100).all(|position| known.best(position).1));
    Ok(())
}

/// Where the potential varies, the leaves that are searched hold other points than those of the index.
#[test]
fn points_regrouped_by_the_potential_are_the_same_points() -> Outcome {
    let mut random = Random(13);
    // A last leaf that is not full.
    let case = Case::new(Kind::Smooth, 300, 2503, 36, &mut random);
    for (scale, regrouped) in [(1e-6, false), (10.0, true)] {
        let psi: Vec<f64> = (0..2503).map(|_| scale * random.normal()).collect();
        let mut queries = case.queries()?;
        let references = Arc::clone(queries.references());
        let potential = DualPotential::of(&references.index, &psi)?;
        let (leaves, places) = potential.leaves(&references.index);
        assert_eq!(places.is_some(), regrouped);
        for (slot, &place) in places.unwrap_or_default().iter().enumerate() {
            assert_eq!(leaves.point(slot as u32), references.index.leaves.point(place), "{slot}");
        }
        let distinct: HashSet<&u32> = places.unwrap_or_default().iter().collect();
        assert_eq!(distinct.len(), if regrouped { references.index.distinct() } else { 0 });
        for isa in [Isa::V4, Isa::V3, Isa::Plain] {
            assert!(queries.transform(&psi, (How::Pruned, isa))? == case.oracle(&psi), "{scale} {isa:?}");
        }
        let slack = if regrouped { 2.0 } else { 0.01 };
        let least = queries.cache_candidates(&psi, slack, 1000)?.values;
        let (mut found, mut count) = (HashSet::new(), 0);
        for_each_candidate(&queries, |i, j, _| {
            assert!(found.insert((i, j)), "twice: {i} {j}");
            count += 1;
        });
        for (i, x) in case.x.chunks(36).enumerate() {
            let square = |y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
            for (j, y) in case.y.chunks(36).enumerate() {
                let near = square(y) - psi[j] <= least[i] + slack - 1e-3;
                assert!(!near || found.contains(&(i, j)), "{i} {j}");
            }
        }
        assert!(count > least.len(), "{count}");
    }
    Ok(())
}

#[test]
fn a_broken_bound_does_not_pass() -> Outcome {
    let mut random = Random(4);
    let case = Case::new(Kind::Smooth, 500, 3000, 36, &mut random);
    let psi = vec![0.0; 3000];
    let run = |spoil: &dyn Fn(&mut References)| -> Result<bool, KernelError> {
        let mut references = References::new(&Rows::dense(case.y.clone(), 36)?)?;
        spoil(&mut references);
        let mut queries = Queries::new(&Arc::new(references), Rows::dense(case.x.clone(), 36)?)?;
        Ok(queries.transform(&psi, (How::Pruned, Isa::V4))? == case.oracle(&psi))
    };
    assert!(run(&|_| ())?);
    assert!(!run(&|r| r
        .index
        .leaves
        .boxes
        .iter_mut()
        .for_each(|b| b.low = b.low.map(|low| low.map(|v| v + 0.1))))?);
    assert!(!run(&|r| r
        .index
        .upper
        .iter_mut()
        .for_each(|b| b.high = b.high.map(|high| high.map(|v| v - 0.5))))?);
    assert!(!run(&|r| r.index.leaves.all.iter_mut().for_each(|l| l.z[8] = l.z[8].map(|v| v - 0.05)))?);
    Ok(())
}

/// Clusters of width 1e-4 at distance 100: without the margins float32 would decide among their members by chance.
#[test]
fn bounds_without_margins_do_not_pass() -> Outcome {
    let mut random = Random(5);
    let case = Case::new(Kind::Clusters, 300, 2000, 36, &mut random);
    let psi = vec![0.0; 2000];
    let exact = case.oracle(&psi);
    let run = |spoil: &dyn Fn(&mut References), how| -> Result<bool, KernelError> {
        let mut references = References::new(&Rows::dense(case.y.clone(), 36)?)?;
        spoil(&mut references);
        let mut queries = Queries::new(&Arc::new(references), Rows::dense(case.x.clone(), 36)?)?;
        Ok(queries.transform(&psi, (how, Isa::V4))? == exact)
    };
    for how in [How::Pruned, FLOATS, BYTES] {
        assert!(run(&|_| (), how)?, "{how:?}");
    }
    assert!(!run(&|r| r.index.margins = Margins::none(), How::Pruned)?);
    assert!(!run(&|r| r.index.dense_margins = Margins::none(), FLOATS)?);
    assert!(!run(&|r| r.set_int8_panels(Int8Panels::of(&r.index).without_margins()), BYTES)?);
    assert!(run(&|r| r.set_int8_panels(Int8Panels::of(&r.index).plain()), BYTES)?);
    Ok(())
}

#[test]
fn windows_are_rows() -> Outcome {
    let mut random = Random(6);
    let image = rows(Kind::Smooth, 40, 30, &mut random);
    for centred in [false, true] {
        let finish = |r: Rows| if centred { r.centred() } else { r };
        let windows = Rows::windows(image.clone(), &[40, 30], &[6, 6], &[1, 1])?;
        let unfold = |r: &Rows| {
            let mut all = vec![0.0; r.len() * r.dim()];
            all.chunks_mut(r.dim()).enumerate().for_each(|(i, row)| r.read(i, row));
            all
        };
        let y = unfold(&windows)[..36 * 300].iter().map(|v| 0.9 * v).collect();
        let y = finish(Rows::dense(y, 36)?);
        let dense = finish(Rows::dense(unfold(&windows), 36)?);
        let case = Case { x: unfold(&dense), y: unfold(&y), dim: 36 };
        let psi: Vec<f64> = (0..300).map(|_| 0.01 * random.normal()).collect();
        let references = Arc::new(References::new(&y)?);
        let exact = case.oracle(&psi);
        assert_eq!(Queries::new(&references, dense)?.c_transform(&psi)?, exact);
        assert_eq!(Queries::new(&references, finish(windows))?.c_transform(&psi)?, exact);
        assert_eq!(references.row(7), &case.y[7 * 36..8 * 36]);
    }
    Ok(())
}

/// Central differences of the mean value, at a point where no winner changes.
#[test]
fn the_gradient_is_that_of_the_values() -> Outcome {
    let mut random = Random(10);
    let image = rows(Kind::Noise, 12, 14, &mut random);
    let y = Rows::dense(rows(Kind::Noise, 30, 9, &mut random), 9)?;
    for centred in [false, true] {
        let finish = |r: Rows| if centred { r.centred() } else { r };
        let references = Arc::new(References::new(&finish(y.clone()))?);
        let windows = finish(Rows::windows(image.clone(), &[12, 14], &[3, 3], &[1, 1])?);
        let weights: Vec<f64> = (0..windows.len()).map(|_| random.uniform()).collect();
        let mut queries = Queries::new(&references, windows)?;
        let psi = [0.0; 30];
        let result = queries.c_transform(&psi)?;
        for weights in [None, Some(&weights[..])] {
            let gradient = queries.gradient(&result, weights)?;
            let mut value = |image: &[f32]| -> Result<f64, KernelError> {
                queries.update(image)?;
                let values = queries.c_transform(&psi)?.values;
                let mean = 1.0 / values.len() as f64;
                Ok(values.iter().enumerate().map(|(i, v)| weights.map_or(mean, |w| w[i]) * v).sum())
            };
            for at in [0, 17, 80, 167] {
                let mut moved = image.clone();
                moved[at] = image[at] + 1.0 / 256.0;
                let up = value(&moved)?;
                moved[at] = image[at] - 1.0 / 256.0;
                let slope = (up - value(&moved)?) * 128.0;
                assert!(
                    (slope - gradient[at]).abs() < 1e-3 * (1e-3 + slope.abs()),
                    "{at}: {slope} {}",
                    gradient[at]
                );
            }
            queries.update(&image)?;
        }
        assert!(queries.gradient(&result, Some(&[1.0; 3])).is_err());
    }
    Ok(())
}

#[test]
fn threads_change_nothing() -> Outcome {
    let mut random = Random(8);
    let case = Case::new(Kind::Grid, 3000, 800, 4, &mut random);
    let psi: Vec<f64> = (0..800).map(|_| random.below(3) as f64).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.queries()?.c_transform(&psi))
    };
    let one = on(1)?;
    assert_eq!(one, case.oracle(&psi));
    assert_eq!(one, on(3)?);
    Ok(())
}

#[test]
fn bad_input_is_refused() -> Outcome {
    let mut random = Random(9);
    let case = Case::new(Kind::Noise, 20, 30, 5, &mut random);
    let mut queries = case.queries()?;
    assert!(queries.c_transform(&[0.0; 29]).is_err());
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        let mut psi = [0.0; 30];
        psi[11] = bad;
        let error = queries.c_transform(&psi).unwrap_err().to_string();
        assert!(error.contains("position 11"), "{error}");
    }
    assert!(queries.update(&[0.0; 99]).is_err());
    assert!(queries.update(&[f32::NAN; 100]).is_err());
    assert!(queries.start_from(&[0; 19]).is_err());
    assert!(queries.start_from(&[30; 20]).is_err());
    assert!(queries.cache_candidates(&[0.0; 30], -1.0, 5).is_err());
    assert!(queries.cache_candidates(&[0.0; 30], f64::NAN, 5).is_err());
    assert!(queries.cache_candidates(&[0.0; 30], 1.0, 0).is_err());
    let references = queries.references();
    assert!(Queries::new(references, Rows::dense(vec![0.0; 12], 4)?).is_err());
    // Refused input has left no trace.
    let psi = [0.0; 30];
    assert_eq!(queries.c_transform(&psi)?, case.oracle(&psi));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any sizes, scales and offsets, and wrong winners to start from.
    #[test]
    fn any_start_leads_to_the_minimum(
        (seed, kind, psi_kind) in (any::<u64>(), 0..KINDS.len(), 0..PSIS.len()),
        (n, m, dim) in (1_usize..90, 1_usize..320, 1_usize..40),
        (scale, offset) in (-35_i32..13, -3_f32..3.0),
        how in 0_usize..3,
    ) {
        let mut random = Random(seed);
        let mut case = Case::new(KINDS[kind], n, m, dim, &mut random);
        let scale = 10_f32.powi(scale);
        case.x.iter_mut().chain(&mut case.y).for_each(|v| *v = (*v + offset) * scale);
        let psi = potential(PSIS[psi_kind], &case, &mut random);
        let start: Vec<u32> = (0..n).map(|_| random.below(m) as u32).collect();
        let mut queries = case.queries().unwrap();
        queries.start_from(&start).unwrap();
        prop_assert_eq!(queries.transform(&psi, (HOWS[how], Isa::V4)).unwrap(), case.oracle(&psi));
    }
}
