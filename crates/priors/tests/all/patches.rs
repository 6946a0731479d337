//! Patches: the order of torch's unfold, every selection against it, what does not fit.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_operators::{LinearOperator, Operator};
use smalti_priors::Patches;
use tch::{Kind, Tensor};

fn batch(domain: Space, b: i64) -> Tensor {
    Seed::new(4).at("image", 0).uniform(&domain.batch(b)).to_kind(Kind::Double)
}

/// All patches by `torch.nn.functional.unfold`: `[B, 1, n, d]`.
fn unfolded(x: &Tensor, size: i64, stride: i64) -> Tensor {
    x.im2col([size, size], [1, 1], [0, 0], [stride, stride]).transpose(1, 2).unsqueeze(1)
}

#[test]
fn all_patches_come_in_the_order_of_unfold() {
    for (domain, size) in
        [(Space::image(1, 9, 13), 4), (Space::image(3, 8, 6), 3), (Space::image(2, 5, 5), 5)]
    {
        let patches = Patches::all(domain, size).unwrap();
        let x = batch(domain, 2);
        assert!(patches.apply(&x).unwrap().equal(&unfolded(&x, size, 1)));
        assert_eq!(patches.count(), Patches::positions(domain, size));
        assert_eq!(patches.dim(), domain.channels * size * size);
        let one = x.narrow(0, 1, 1);
        assert!(patches.rows(&one).unwrap().equal(&unfolded(&one, size, 1).reshape([-1, patches.dim()])));
    }
}

#[test]
fn grids_and_lists_select_from_all() {
    let (domain, size) = (Space::image(2, 11, 14), 3);
    let x = batch(domain, 2);
    let all = unfolded(&x, size, 1);
    let across = domain.width - size + 1;
    for stride in [1, 2, 3, 5] {
        assert!(
            Patches::grid(domain, size, stride, (0, 0))
                .unwrap()
                .apply(&x)
                .unwrap()
                .equal(&unfolded(&x, size, stride))
        );
        for offset in [(0, 0), (stride - 1, stride / 2)] {
            let numbers: Vec<i64> = (offset.0..domain.height - size + 1)
                .step_by(stride as usize)
                .flat_map(|r| (offset.1..across).step_by(stride as usize).map(move |c| r * across + c))
                .collect();
            let selected = all.index_select(2, &Tensor::from_slice(&numbers));
            let grid = Patches::grid(domain, size, stride, offset).unwrap();
            let list = Patches::listed(domain, size, &numbers).unwrap();
            assert_eq!((grid.count(), list.count()), (numbers.len() as i64, numbers.len() as i64));
            assert!(grid.apply(&x).unwrap().equal(&selected) && list.apply(&x).unwrap().equal(&selected));
            let v = Seed::new(5).at("patches", 0).normal(&selected.size()).to_kind(Kind::Double);
            let gap = grid.adjoint(&v).unwrap() - list.adjoint(&v).unwrap();
            assert!(gap.abs().max().double_value(&[]) < 1e-13);
        }
    }
}

#[test]
fn the_adjoint_counts_how_many_patches_hold_a_pixel() {
    let domain = Space::image(1, 6, 7);
    let patches = Patches::all(domain, 3).unwrap();
    let ones = Tensor::ones([patches.count(), patches.dim()], tch::kind::DOUBLE_CPU);
    let count = |i: i64, n: i64| (i + 1).min(3).min(n - i) as f64;
    let expected: Vec<f64> = (0..6).flat_map(|i| (0..7).map(move |j| count(i, 6) * count(j, 7))).collect();
    let expected = Tensor::from_slice(&expected).reshape([1, 1, 6, 7]);
    assert_eq!(patches.rows_adjoint(&ones).unwrap(), expected);
}

#[test]
fn random_patches_are_distinct_or_independent() {
    // An image whose pixels are their own numbers: the first value of a patch tells its position.
    let domain = Space::image(1, 9, 10);
    let x = Tensor::arange(90, tch::kind::DOUBLE_CPU).reshape(domain.batch(1));
    let corners = |patches: &Patches| {
        let first = patches.rows(&x).unwrap().select(1, 0).contiguous();
        Vec::<f64>::try_from(first).unwrap().into_iter().map(|v| v as i64).collect::<Vec<_>>()
    };
    let unique = |mut corners: Vec<i64>| {
        corners.sort_unstable();
        corners.dedup();
        corners.len()
    };
    let mut stream = Seed::new(6).at("patches", 0);
    // 42 positions.
    let some = corners(&Patches::random(domain, 4, 30, &mut stream).unwrap());
    assert_eq!((some.len(), unique(some.clone())), (30, 30));
    assert!(some.iter().all(|i| i / 10 <= 5 && i % 10 <= 6) && !some.is_sorted());
    let all = Patches::random(domain, 4, 1000, &mut stream).unwrap();
    assert_eq!((all.count(), unique(corners(&all))), (42, 42));
    let repeated = corners(&Patches::random_with_replacement(domain, 4, 1000, &mut stream).unwrap());
    assert_eq!((repeated.len(), unique(repeated)), (1000, 42));
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let domain = Space::image(1, 6, 9);
    let mut stream = Seed::new(6).at("patches", 0);
    let line = |patches: smalti_base::Result<Patches>, named: &str| {
        let line = patches.unwrap_err().to_string();
        assert!(line.contains(named) && line.lines().count() == 1, "{line}");
    };
    for size in [-1, 0, 7, 9, 100] {
        line(Patches::all(domain, size), "1 to the smaller side of the 6x9 image");
        line(Patches::random(domain, size, 3, &mut stream), "patch size");
        line(Patches::random_with_replacement(domain, size, 3, &mut stream), "patch size");
        line(Patches::listed(domain, size, &[0]), "patch size");
    }
    for (stride, offset) in [(0, (0, 0)), (-2, (0, 0)), (2, (2, 0)), (2, (0, -1))] {
        line(Patches::grid(domain, 3, stride, offset), "stride");
    }
    // An offset within the stride, but beyond the last position.
    line(Patches::grid(domain, 3, 9, (4, 0)), "at least one patch");
    line(Patches::listed(domain, 3, &[]), "got none");
    line(Patches::listed(domain, 3, &[3, 28]), "0..28, got 28");
    line(Patches::listed(domain, 3, &[-1]), "got -1");
    line(Patches::random(domain, 3, 0, &mut stream), "got none");

    let patches = Patches::all(domain, 3).unwrap();
    assert!(patches.apply(&batch(Space::image(1, 9, 6), 1)).is_err());
    assert!(patches.rows(&batch(domain, 2)).is_err());
    assert!(patches.rows_adjoint(&Tensor::zeros([28, 8], tch::kind::DOUBLE_CPU)).is_err());
    assert!(patches.adjoint(&batch(Space::image(1, 27, 9), 1)).is_err());
}
