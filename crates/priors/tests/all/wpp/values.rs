//! Values against exact assignments, and how they scale.

use super::{GAP, coarser, draw, exact, patches, prior, tight};
use smalti_base::Seed;
use smalti_priors::Regularizer;
use smalti_priors::wpp::{DualMethod, ReferencePatches, ScaleReport, WassersteinPatchPrior};
use tch::{Kind, Tensor};

/// Value and bound enclose the exact distance to the gap.
fn encloses(report: &ScaleReport, exact: f64) {
    let (value, upper) = (report.value.full(), report.upper.unwrap().full());
    assert!(report.converged && report.gap().unwrap() <= GAP, "{report:?}");
    let rounding = 1e-6 * exact;
    assert!(value <= exact + rounding && exact <= upper + rounding, "{value} <= {exact} <= {upper}");
    assert!(value >= exact * (1.0 - GAP) - rounding, "{value} is far below {exact}");
}

#[test]
fn values_are_exact_assignments() {
    for (size, p, centred) in [
        (vec![1, 1, 9, 8], 3, false),
        (vec![1, 1, 9, 8], 3, true),
        (vec![1, 3, 7, 6], 2, true),
        (vec![1, 1, 4, 5, 6], 2, false),
    ] {
        let (x, reference) = (draw("x", &size), draw("reference", &size));
        let prior = prior(&size, &[&reference], &tight(p).with_centred(centred));
        let value = prior.value(&x).unwrap();
        let expected = exact::uniform(&patches(&x, p, 1, centred), &patches(&reference, p, 1, centred));
        assert!((value / expected - 1.0).abs() < 2.0 * GAP, "{size:?}: {value} instead of {expected}");
        encloses(&prior.reports()[0], expected);
    }
}

#[test]
fn scales_are_blurred_and_weighed() {
    for size in [vec![1, 1, 15, 14], vec![1, 2, 14, 17], vec![1, 1, 9, 8, 8]] {
        let p = if size.len() == 5 { 3 } else { 4 };
        let (x, reference) = (draw("x", &size), draw("reference", &size));
        let mut expected = vec![];
        let (mut a, mut b) = (x.shallow_clone(), reference.shallow_clone());
        for l in 0..2 {
            if l > 0 {
                (a, b) = (coarser(&a), coarser(&b));
            }
            expected.push(exact::uniform(&patches(&a, p, 1, false), &patches(&b, p, 1, false)));
        }
        for scale_weights in [None, Some(vec![0.2, 3.0])] {
            let weights = scale_weights.clone().unwrap_or(vec![0.5, 0.5]);
            let prior =
                prior(&size, &[&reference], &tight(p).with_scales(2).with_scale_weights(scale_weights));
            let value = prior.value(&x).unwrap();
            let sum = weights[0] * expected[0] + weights[1] * expected[1];
            assert!((value / sum - 1.0).abs() < 2.0 * GAP, "{size:?}: {value} instead of {sum}");
            let reports = prior.reports();
            assert_eq!(reports.iter().map(|r| r.weight).collect::<Vec<_>>(), weights);
            reports.iter().zip(&expected).for_each(|(report, expected)| encloses(report, *expected));
        }
    }
}

#[test]
fn batches_and_references_are_pooled() {
    let (first, second) = (draw("first", &[1, 1, 7, 6]), draw("second", &[1, 1, 7, 6]));
    let (batch, reference) = (Tensor::cat(&[&first, &second], 0), draw("reference", &[1, 1, 7, 6]));
    let many = prior(&[2, 1, 7, 6], &[&reference], &tight(3)).value(&batch).unwrap();
    let expected = exact::uniform(&patches(&batch, 3, 1, false), &patches(&reference, 3, 1, false));
    assert!((many / expected - 1.0).abs() < 2.0 * GAP, "{many} instead of {expected}");

    // The other way round: two references of different sizes.
    let other = draw("other", &[1, 1, 6, 4]);
    let value = prior(&[1, 1, 7, 6], &[&first, &other], &tight(3)).value(&reference).unwrap();
    let rows = Tensor::cat(&[patches(&first, 3, 1, false), patches(&other, 3, 1, false)], 0);
    let expected = exact::uniform(&patches(&reference, 3, 1, false), &rows);
    assert!((value / expected - 1.0).abs() < 2.0 * GAP, "{value} instead of {expected}");
}

#[test]
fn a_grid_takes_every_other_patch() {
    let (x, reference) = (draw("x", &[1, 1, 9, 8]), draw("reference", &[1, 1, 8, 6]));
    let settings = tight(3).with_stride(2);
    let value = prior(&[1, 1, 9, 8], &[&reference], &settings).value(&x).unwrap();
    let expected = exact::uniform(&patches(&x, 3, 2, false), &patches(&reference, 3, 1, false));
    assert!((value / expected - 1.0).abs() < 2.0 * GAP, "{value} instead of {expected}");
}

/// Four grids of patches take turns: each of them once in every four steps, in an order of its own.
#[test]
fn shuffled_grids_take_turns() {
    let size = [1, 1, 9, 8];
    let (x, reference) = (draw("x", &size), draw("reference", &[1, 1, 8, 6]));
    let from_reference = patches(&reference, 3, 1, false);
    let of_grid = |(row, column): (i64, i64)| {
        let shifted = x.narrow(2, row, 9 - row).narrow(3, column, 8 - column);
        exact::uniform(&patches(&shifted, 3, 2, false), &from_reference)
    };
    let expected = [(0, 0), (0, 1), (1, 0), (1, 1)].map(of_grid);
    let mut prior = prior(&size, &[&reference], &tight(3).with_stride(2).with_shuffled(true));
    let mut orders = Vec::new();
    for turn in 0..5 {
        let order: Vec<usize> = (0..4)
            .map(|step| {
                prior.refresh(4 * turn + step).unwrap();
                let value = prior.value(&x).unwrap();
                let of = expected.iter().position(|exact| (value / exact - 1.0).abs() < 2.0 * GAP);
                of.unwrap_or_else(|| panic!("{value} is none of {expected:?}"))
            })
            .collect();
        assert!((0..4).all(|grid| order.contains(&grid)), "{order:?}");
        orders.push(order);
    }
    assert!(orders.iter().any(|order| *order != orders[0]), "{orders:?}");
}

#[test]
fn a_gap_is_relative_to_the_bound() {
    let gap = |value: f64, upper: Option<f64>| {
        let full = smalti_priors::wpp::SquaredDistance::from_full;
        let (value, upper) = (full(value), upper.map(full));
        ScaleReport { weight: 1.0, value, upper, evaluations: 1, converged: true, references: 9 }.gap()
    };
    assert_eq!((gap(3.0, Some(4.0)), gap(0.0, Some(2.0)), gap(1.0, None)), (Some(0.25), Some(1.0), None));
    // Rounding may lead past the bound, and two equal images have no distance.
    assert_eq!([gap(4.0, Some(4.0)), gap(4.5, Some(4.0)), gap(0.0, Some(0.0))], [Some(0.0); 3]);
}

#[test]
fn equal_images_have_distance_zero() {
    for (size, scales) in [(vec![1, 1, 30, 24], 3), (vec![2, 3, 16, 13], 2), (vec![1, 1, 10, 12, 11], 2)] {
        for centred in [false, true] {
            for kind in [Kind::Float, Kind::Double] {
                let reference = draw("reference", &size).to_kind(kind);
                let settings =
                    tight(3).with_scales(scales).with_centred(centred).with_references(ReferencePatches::All);
                let (value, gradient) =
                    prior(&size, &[&reference], &settings).value_and_grad(&reference).unwrap();
                assert_eq!(value, 0.0, "{size:?}");
                assert_eq!(gradient.abs().max().double_value(&[]), 0.0, "{size:?}");
            }
        }
    }
}

#[test]
fn distances_scale_with_the_square_of_the_grey_values() {
    let size = [1, 1, 14, 12];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let at = |c: f64| {
        let settings = tight(3).with_scales(2);
        prior(&size, &[&(&reference * c)], &settings).value(&(&x * c)).unwrap()
    };
    for c in [0.25, 0.3, 7.0] {
        assert!((at(c) / (c * c * at(1.0)) - 1.0).abs() < 3.0 * GAP, "{c}");
    }
}

#[test]
fn brightness_counts_only_with_means() {
    let size = [1, 1, 10, 9];
    let reference = draw("reference", &size);
    let brighter = &reference + 0.25;
    let at = |centred| prior(&size, &[&reference], &tight(2).with_centred(centred)).value(&brighter).unwrap();
    assert!(at(true) < 1e-12);
    // A translation costs |t|^2 = d 0.25^2.
    assert!((at(false) / (4.0 * 0.0625) - 1.0).abs() < 2.0 * GAP, "{}", at(false));
}

#[test]
fn pixels_of_weight_zero_do_not_count() {
    // Patches of one pixel: those of the left part alone.
    let (x, reference) = (draw("x", &[1, 1, 5, 8]), draw("reference", &[1, 1, 5, 4]));
    let mask = Tensor::ones([5, 8], tch::kind::DOUBLE_CPU);
    let _ = mask.narrow(1, 4, 4).fill_(0.0);
    let masked = prior(&[1, 1, 5, 8], &[&reference], &tight(1)).with_pixel_weights(&mask).unwrap();
    let left = prior(&[1, 1, 5, 4], &[&reference], &tight(1));
    let inner = x.narrow(3, 0, 4);
    let (value, expected) = (masked.value(&x).unwrap(), left.value(&inner).unwrap());
    assert!((value / expected - 1.0).abs() < 3.0 * GAP, "{value} instead of {expected}");
    // Gradients at equal potentials: two that are sought differ where a pixel is nearly tied between references.
    let psi = vec![Vec::<f64>::try_from(draw("psi", &[20]) * 0.1).unwrap()];
    let held = |mut prior: WassersteinPatchPrior, x: &Tensor| {
        prior.set_potentials(&psi).unwrap();
        prior.at_fixed_potentials().value_and_grad(x).unwrap()
    };
    let ((value, gradient), (expected, of_left)) = (held(masked, &x), held(left, &inner));
    assert!((value / expected - 1.0).abs() < 1e-6, "{value} instead of {expected}");
    assert_eq!(gradient.narrow(3, 4, 4).abs().max().double_value(&[]), 0.0);
    let error = ((gradient.narrow(3, 0, 4) - &of_left).norm() / of_left.norm()).double_value(&[]);
    assert!(error < 1e-5, "{error}");
}

#[test]
fn a_patch_weighs_what_its_pixels_do_on_average() {
    let (size, p) = ([2, 1, 4, 3], 2);
    let (x, reference) = (draw("x", &size), draw("reference", &[1, 1, 3, 4]));
    let mask = Tensor::from_slice(&[1.0, 0.0, 2.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let mask = mask.reshape([4, 3]);
    let sums = patches(&mask.reshape([1, 1, 4, 3]), p, 1, false).sum_dim_intlist(1i64, false, Kind::Double);
    let of_one: Vec<usize> = (0..6).map(|i| sums.double_value(&[i]) as usize).collect();
    assert_eq!(of_one, [2, 2, 2, 0, 1, 0]);
    let copies = of_one.repeat(2);
    for centred in [false, true] {
        let weighted = prior(&size, &[&reference], &tight(p).with_centred(centred));
        let weighted = weighted.with_pixel_weights(&(&mask * 0.3)).unwrap();
        let value = weighted.value(&x).unwrap();
        let rows = |x| patches(x, p, 1, centred);
        let expected = exact::weighted(&rows(&x), &rows(&reference), &copies);
        assert!((value / expected - 1.0).abs() < 2.0 * GAP, "{value} instead of {expected}");
        assert!((value / exact::uniform(&rows(&x), &rows(&reference)) - 1.0).abs() > 1e-3);
    }
}

#[test]
fn random_references_are_distinct_patches_of_all_images() {
    let size = [1, 1, 6, 6];
    let references: Vec<Tensor> = ["a", "b", "c"].map(|name| draw(name, &[1, 1, 5, 6])).into();
    let references: Vec<&Tensor> = references.iter().collect();
    let x = draw("x", &size);
    let with = |choice, seed| {
        let settings = tight(3).with_references(choice);
        let prior = WassersteinPatchPrior::new(&size, &references, &settings, Seed::new(seed)).unwrap();
        let value = prior.value(&x).unwrap();
        (value, prior.reports()[0].references)
    };
    // As many as there are, 3 times 3 x 4: all of them, once each.
    let (all, some) = (with(ReferencePatches::All, 1), with(ReferencePatches::Random(36), 2));
    assert_eq!((all.1, some.1), (36, 36));
    assert_eq!(all.0, some.0);
    let (first, again, other) = (
        with(ReferencePatches::Random(10), 1),
        with(ReferencePatches::Random(10), 1),
        with(ReferencePatches::Random(10), 2),
    );
    assert_eq!((first, first.1), (again, 10));
    assert!(first.0 != other.0);
}

#[test]
fn both_cost_conventions_have_names() {
    let (x, reference) = (draw("x", &[1, 1, 6, 5]), draw("reference", &[1, 1, 6, 5]));
    let prior = prior(&[1, 1, 6, 5], &[&reference], &tight(2));
    let value = prior.value(&x).unwrap();
    let report = prior.reports().swap_remove(0);
    assert!((report.value.full() / value - 1.0).abs() < 1e-6);
    assert_eq!(report.value.half() * 2.0, report.value.full());
    let half = smalti_priors::wpp::SquaredDistance::from_half(report.value.half());
    assert_eq!(half, report.value);
}

#[test]
fn the_published_method_stays_below_the_distance() {
    let size = [1, 1, 20, 18];
    let (x, reference) = (draw("x", &size) * 0.5, draw("reference", &size));
    let with = |dual| {
        let settings = tight(3).with_dual(dual);
        let mut prior = prior(&size, &[&reference], &settings);
        let first = prior.value(&x).unwrap();
        for step in 0..20 {
            prior.value(&x).unwrap();
            prior.refresh(step).unwrap();
        }
        (first, prior.value(&x).unwrap(), prior.reports().swap_remove(0))
    };
    let (first, last, report) = with(DualMethod::AveragedSgd { steps: 10, step: 1.0 });
    let (exact, again, _) = with(DualMethod::Converge { gap: GAP, evaluations: 20_000 });
    assert!(!report.converged && report.upper.is_none());
    assert!(first < last && last < exact, "{first} {last} {exact}");
    assert!((again / exact - 1.0).abs() < 2.0 * GAP);
}
