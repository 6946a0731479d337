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
            Patches::grid(domain, size, stride, &[0, 0])
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
            let grid = Patches::grid(domain, size, stride, &[offset.0, offset.1]).unwrap();
            let list = Patches::from_indices(domain, size, &numbers).unwrap();
            assert_eq!((grid.count(), list.count()), (numbers.len() as i64, numbers.len() as i64));
            assert!(grid.apply(&x).unwrap().equal(&selected) && list.apply(&x).unwrap().equal(&selected));
            let v = Seed::new(5).at("patches", 0).normal(&selected.size()).to_kind(Kind::Double);
            let gap = grid.adjoint(&v).unwrap() - list.adjoint(&v).unwrap();
            assert!(gap.abs().max().double_value(&[]) < 1e-13);
        }
    }
}

/// Cubes of side `size` at these first corners, voxel by voxel: `[n, d]`.
fn cubes(x: &Tensor, size: i64, corners: &[[i64; 3]]) -> Tensor {
    let mut values = Vec::new();
    for &[s, r, k] in corners {
        for c in 0..x.size()[1] {
            for (i, j, l) in box_of([size; 3]) {
                values.push(x.double_value(&[0, c, s + i, r + j, k + l]));
            }
        }
    }
    Tensor::from_slice(&values).reshape([corners.len() as i64, -1])
}

/// All places of a box, the last axis fastest.
fn box_of([d, h, w]: [i64; 3]) -> impl Iterator<Item = (i64, i64, i64)> {
    (0..d).flat_map(move |i| (0..h).flat_map(move |j| (0..w).map(move |l| (i, j, l))))
}

#[test]
fn cubes_of_volumes_are_those_of_a_loop() {
    for (domain, size) in [(Space::volume(1, 5, 7, 6), 3), (Space::volume(2, 4, 6, 5), 2)] {
        let x = batch(domain, 1);
        let sides = [0, 1, 2].map(|axis| domain.axes()[axis] - size + 1);
        let corners: Vec<[i64; 3]> = box_of(sides).map(|(s, r, c)| [s, r, c]).collect();
        let all = Patches::all(domain, size).unwrap();
        assert_eq!((all.count(), all.dim()), (corners.len() as i64, domain.channels * size.pow(3)));
        assert!(all.rows(&x).unwrap().equal(&cubes(&x, size, &corners)));
        // In a batch, too.
        let pair = Tensor::cat(&[&x * 2.0, x.shallow_clone()], 0);
        assert!(all.apply(&pair).unwrap().get(1).get(0).equal(&cubes(&x, size, &corners)));

        let numbers = [7, 0, corners.len() as i64 - 1, 7];
        let of_numbers: Vec<[i64; 3]> = numbers.iter().map(|&i| corners[i as usize]).collect();
        let listed = Patches::from_indices(domain, size, &numbers).unwrap();
        assert!(listed.rows(&x).unwrap().equal(&cubes(&x, size, &of_numbers)));

        let (stride, offset) = (2, [1, 0, 1]);
        let on = |at: &&[i64; 3]| at.iter().zip(offset).all(|(i, o)| i % stride == o);
        let on_grid: Vec<[i64; 3]> = corners.iter().filter(on).copied().collect();
        let grid = Patches::grid(domain, size, stride, &offset).unwrap();
        assert!(grid.rows(&x).unwrap().equal(&cubes(&x, size, &on_grid)));

        // Adjoints add each value where it came from.
        for (patches, corners) in [(&all, &corners), (&listed, &of_numbers), (&grid, &on_grid)] {
            let v = Seed::new(5).at("cubes", 0).normal(&[patches.count(), patches.dim()]);
            let v = v.to_kind(Kind::Double);
            let mut expected = vec![0.0; domain.len() as usize];
            let pixels = Tensor::arange(domain.len(), tch::kind::DOUBLE_CPU).reshape(domain.batch(1));
            let at = Vec::<f64>::try_from(cubes(&pixels, size, corners).reshape([-1])).unwrap();
            for (at, v) in at.iter().zip(Vec::<f64>::try_from(v.reshape([-1])).unwrap()) {
                expected[*at as usize] += v;
            }
            let expected = Tensor::from_slice(&expected).reshape(domain.batch(1));
            let error = (patches.rows_adjoint(&v).unwrap() - expected).abs().max().double_value(&[]);
            assert!(error < 1e-12, "{domain:?}: {error}");
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
        line(Patches::all(domain, size), "1 to the smallest of the sides 6x9");
        line(Patches::random(domain, size, 3, &mut stream), "patch size");
        line(Patches::random_with_replacement(domain, size, 3, &mut stream), "patch size");
        line(Patches::from_indices(domain, size, &[0]), "patch size");
    }
    for (stride, offset) in [(0, [0, 0]), (-2, [0, 0]), (2, [2, 0]), (2, [0, -1])] {
        line(Patches::grid(domain, 3, stride, &offset), "stride");
    }
    line(Patches::grid(domain, 3, 2, &[0, 0, 0]), "for each axis");
    // An offset within the stride, but beyond the last position.
    line(Patches::grid(domain, 3, 9, &[4, 0]), "at least one patch");
    line(Patches::from_indices(domain, 3, &[]), "got none");
    line(Patches::from_indices(domain, 3, &[3, 28]), "0..28, got 28");
    line(Patches::from_indices(domain, 3, &[-1]), "got -1");
    line(Patches::random(domain, 3, 0, &mut stream), "got none");

    let patches = Patches::all(domain, 3).unwrap();
    assert!(patches.apply(&batch(Space::image(1, 9, 6), 1)).is_err());
    assert!(patches.apply(&batch(Space::volume(1, 1, 6, 9), 1)).is_err());
    line(Patches::all(Space::volume(1, 2, 6, 9), 3), "2x6x9");
    assert!(patches.rows(&batch(domain, 2)).is_err());
    assert!(patches.rows_adjoint(&Tensor::zeros([28, 8], tch::kind::DOUBLE_CPU)).is_err());
    assert!(patches.adjoint(&batch(Space::image(1, 27, 9), 1)).is_err());
}
