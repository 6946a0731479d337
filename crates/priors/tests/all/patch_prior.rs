//! The patch prior: every sampling estimates the mean over all patches.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Result, Seed, Space};
use smalti_priors::{PatchDensity, PatchPrior, Patches, Regularizer, Sampling};
use tch::{Kind, Tensor};

/// `nll = |x - 0.3|^4 / 4 + x_1`, without a constant.
#[derive(Debug)]
struct Quartic(i64);

/// The same, of cubes.
#[derive(Debug)]
struct OfCubes(Quartic);

impl PatchDensity for OfCubes {
    fn dim(&self) -> i64 {
        self.0.dim()
    }

    fn axes(&self) -> Option<usize> {
        Some(3)
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        self.0.nll(patches)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        self.0.nll_and_grad(patches)
    }
}

impl PatchDensity for Quartic {
    fn dim(&self) -> i64 {
        self.0
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        Ok(self.nll_and_grad(patches)?.0)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let r: Tensor = patches - 0.3;
        let squared = r.square().sum_dim_intlist(1i64, true, None::<Kind>);
        let nll = squared.square().squeeze_dim(1) * 0.25 + patches.select(1, 0);
        let grad = r * squared;
        let _ = grad.select(1, 0).g_add_scalar_(1.0);
        Ok((nll, grad))
    }
}

fn prior(domain: Space, size: i64, sampling: Sampling) -> PatchPrior<Quartic> {
    let dim = domain.map_axes(|_| size).len();
    PatchPrior::new(Quartic(dim), domain, sampling, Seed::new(7)).unwrap()
}

fn image(domain: Space) -> Tensor {
    Seed::new(4).at("image", 0).uniform(&domain.batch(1)).to_kind(Kind::Double)
}

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// The mean over all patches by unfold and autograd.
fn expected(x: &Tensor, size: i64) -> (f64, Tensor) {
    let x = x.detach().copy().set_requires_grad(true);
    let rows = x.im2col([size, size], [1, 1], [0, 0], [1, 1]).squeeze_dim(0).tr();
    let squared: Tensor = (&rows - 0.3).square().sum_dim_intlist(1i64, false, None::<Kind>);
    let mean = (squared.square() * 0.25 + rows.select(1, 0)).mean(Kind::Double);
    let grad = Tensor::run_backward(&[&mean], &[&x], false, false).remove(0);
    (mean.double_value(&[]), grad)
}

/// Mean value and gradient over steps.
fn average(prior: &mut dyn Regularizer, x: &Tensor, steps: std::ops::Range<u64>) -> (Vec<f64>, Tensor) {
    let mut values = Vec::new();
    let mut sum = x.zeros_like();
    let n = (steps.end - steps.start) as f64;
    for step in steps {
        prior.refresh(step).unwrap();
        let (value, grad) = prior.value_and_grad(x).unwrap();
        assert_eq!(value, prior.value(x).unwrap());
        values.push(value);
        sum += grad;
    }
    (values, sum / n)
}

#[test]
fn all_patches_give_their_mean() {
    for (domain, size) in
        [(Space::image(1, 11, 14), 3), (Space::image(3, 6, 5), 2), (Space::image(1, 6, 6), 6)]
    {
        let x = image(domain);
        let (value, grad) = prior(domain, size, Sampling::All).value_and_grad(&x).unwrap();
        let (mean, gradient) = expected(&x, size);
        assert!((value / mean - 1.0).abs() < 1e-13);
        assert!(largest(&(grad - &gradient)) < 1e-14 && largest(&gradient) > 1e-4);
    }
}

#[test]
fn the_offsets_of_a_grid_average_to_all_patches() {
    // The last two are larger than the image, and than its shorter side.
    for (height, width, size, stride) in
        [(11, 14, 3, 3), (11, 14, 3, 4), (12, 9, 4, 2), (7, 8, 3, 50), (5, 30, 3, 4)]
    {
        let domain = Space::image(1, height, width);
        let x = image(domain);
        let (mean, gradient) = expected(&x, size);
        let mut grid = prior(domain, size, Sampling::Grid(stride));
        let used = stride.min(height - size + 1).min(width - size + 1);
        let offsets = (used * used) as u64;
        for round in 0..3 {
            let (values, grad) = average(&mut grid, &x, round * offsets..(round + 1) * offsets);
            let average = values.iter().sum::<f64>() / offsets as f64;
            assert!((average / mean - 1.0).abs() < 1e-12, "{height}x{width}, stride {stride}");
            assert!(largest(&(grad - &gradient)) < 1e-13);
            // No offset twice.
            assert!(values.iter().enumerate().all(|(i, v)| !values[..i].contains(v)));
        }
        // Another order in the next round, the same one for the same step.
        let order = |grid: &mut PatchPrior<Quartic>, round| {
            average(grid, &x, round * offsets..(round + 1) * offsets).0
        };
        assert_ne!(order(&mut grid, 0), order(&mut grid, 1));
        assert_eq!(order(&mut grid, 1), order(&mut grid, 1));
    }
}

/// Cubes of volumes: the mean over all of them by torch's own unfolding of each axis, and autograd.
#[test]
fn all_cubes_and_the_offsets_of_their_grid_give_the_mean() {
    let (domain, size) = (Space::volume(2, 5, 7, 6), 3);
    let x = image(domain);
    let leaf = x.copy().set_requires_grad(true);
    let windows = leaf.unfold(2, size, 1).unfold(3, size, 1).unfold(4, size, 1);
    let rows = windows.permute([0, 2, 3, 4, 1, 5, 6, 7]).reshape([3 * 5 * 4, 2 * 27]);
    let (nll, _) = Quartic(54).nll_and_grad(&rows).unwrap();
    let mean = nll.mean(Kind::Double);
    let gradient = Tensor::run_backward(&[&mean], &[&leaf], false, false).remove(0);
    let mean = mean.double_value(&[]);
    let (value, grad) = prior(domain, size, Sampling::All).value_and_grad(&x).unwrap();
    assert!((value / mean - 1.0).abs() < 1e-13 && largest(&(grad - &gradient)) < 1e-14);
    // A stride of 4 is lowered to the 3 positions from slice to slice.
    for (stride, offsets) in [(2, 8), (4, 27)] {
        let mut grid = prior(domain, size, Sampling::Grid(stride));
        let (values, grad) = average(&mut grid, &x, offsets..2 * offsets);
        assert!((values.iter().sum::<f64>() / offsets as f64 / mean - 1.0).abs() < 1e-12, "{stride}");
        assert!(largest(&(grad - &gradient)) < 1e-13);
        assert!(values.iter().enumerate().all(|(i, v)| !values[..i].contains(v)), "an offset twice");
    }
}

#[test]
fn random_patches_are_unbiased() {
    let domain = Space::image(1, 12, 15);
    let (size, count, steps) = (3, 20, 800);
    let x = image(domain);
    let (mean, gradient) = expected(&x, size);
    let mut random = prior(domain, size, Sampling::Random(count));
    assert_eq!(random.sampled(), 20);
    let (values, grad) = average(&mut random, &x, 0..steps);
    let n = steps as f64;
    let average = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - average).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    assert!((average - mean).abs() < 3.0 * error, "{average} instead of {mean} +- {error}");
    // The spread of a mean over 20 distinct ones of the 130 patches.
    let all = Patches::all(domain, size).unwrap().rows(&x).unwrap();
    let spread = Quartic(9).nll(&all).unwrap().std(true).double_value(&[]);
    let known = spread * ((1.0 - 20.0 / 130.0) / 20.0f64).sqrt();
    assert!((variance.sqrt() / known - 1.0).abs() < 0.1, "{} instead of {known}", variance.sqrt());
    let closeness = ((grad - &gradient).norm() / gradient.norm()).double_value(&[]);
    assert!(closeness < 0.1, "{closeness}");
}

#[test]
fn more_random_patches_than_there_are_are_all() {
    let domain = Space::image(1, 8, 9);
    let x = image(domain);
    let many = prior(domain, 3, Sampling::Random(1000));
    assert_eq!(many.sampled(), 42);
    assert!((many.value(&x).unwrap() / expected(&x, 3).0 - 1.0).abs() < 1e-13);
}

#[test]
fn the_value_does_not_grow_with_the_image() {
    // The patches of a constant image are all the same.
    let value = |domain: Space, sampling| {
        let mut prior = prior(domain, 3, sampling);
        prior.refresh(5).unwrap();
        prior.value(&(image(domain) * 0.0 + 0.7)).unwrap()
    };
    let (small, large) = (Space::image(1, 5, 6), Space::image(1, 30, 20));
    let one = value(small, Sampling::All);
    for (domain, sampling) in [
        (large, Sampling::All),
        (small, Sampling::Random(3)),
        (large, Sampling::Random(50)),
        (large, Sampling::Grid(2)),
    ] {
        assert!((value(domain, sampling) / one - 1.0).abs() < 1e-12, "{domain:?} {sampling:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let domain = Space::image(1, 8, 9);
    let line = |dim, domain, sampling| {
        let line = PatchPrior::new(Quartic(dim), domain, sampling, Seed::new(1)).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(
        line(81, domain, Sampling::All)
            .starts_with("patch size: expected 1 to the smallest of the sides 8x9")
    );
    assert!(line(100, domain, Sampling::Random(5)).contains("patch size"));
    assert!(line(100, domain, Sampling::Grid(2)).contains("patch size"));
    assert!(line(10, domain, Sampling::All).contains("square number"));
    assert!(line(9, Space::image(2, 8, 9), Sampling::All).contains("square number"));
    assert!(line(9, domain, Sampling::Random(0)).contains("at least 1"));
    // 64 are the values of a square of side 8, or of a cube of side 4.
    let volume = Space::volume(1, 8, 8, 9);
    assert!(line(9, volume, Sampling::All).contains("cube number"));
    let of_cubes = |domain| PatchPrior::new(OfCubes(Quartic(64)), domain, Sampling::All, Seed::new(1));
    assert!(of_cubes(volume).is_ok());
    let refused = of_cubes(domain).unwrap_err().to_string();
    assert!(refused.contains("axes of the patches") && refused.contains("got 3"), "{refused}");
    for stride in [0, -3] {
        assert!(line(9, domain, Sampling::Grid(stride)).contains("patch stride"));
    }
    let prior = prior(domain, 3, Sampling::All);
    for wrong in [vec![1, 1, 9, 8], vec![2, 1, 8, 9], vec![1, 2, 8, 9], vec![8, 9]] {
        let x = Tensor::zeros(&wrong[..], tch::kind::DOUBLE_CPU);
        assert!(matches!(prior.value(&x), Err(Error::Shape { .. })), "{wrong:?}");
        assert!(matches!(prior.value_and_grad(&x), Err(Error::Shape { .. })), "{wrong:?}");
    }
}
