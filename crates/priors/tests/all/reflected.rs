//! Regularizers of images that are continued by reflection.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Result, Seed, Space};
use smalti_priors::{Reflected, Regularizer};
use tch::{Kind, Tensor};

/// `sum_i i (x_i)^2 / 2`, pixels counted from 1: every pixel of the continued image has a weight of its own.
struct Counted(Space);

impl Counted {
    fn weights(&self) -> Tensor {
        (Tensor::arange(self.0.len(), tch::kind::DOUBLE_CPU) + 1.0).reshape(self.0.batch(1))
    }
}

impl Regularizer for Counted {
    fn value(&self, x: &Tensor) -> Result<f64> {
        assert_eq!(x.size(), self.0.batch(1));
        Ok((x.square() * self.weights() / 2.0).sum(Kind::Double).double_value(&[]))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, x * self.weights()))
    }
}

/// The pixel that pixel `i` of the continued axis of `n` pixels shows.
fn source(i: i64, n: i64, padding: i64) -> i64 {
    let i = (i - padding).abs();
    if i < n { i } else { 2 * (n - 1) - i }
}

#[test]
fn value_and_gradient_are_those_of_the_continued_image_pixel_by_pixel() {
    for (domain, padding) in [
        (Space::image(2, 4, 6), 0),
        (Space::image(2, 4, 6), 3),
        (Space::image(1, 5, 3), 2),
        (Space::volume(1, 3, 4, 5), 2),
        (Space::volume(2, 4, 3, 3), 1),
    ] {
        let x = Seed::new(3).at("image", 0).normal(&domain.batch(1)).to_kind(Kind::Double);
        let values = Vec::<f64>::try_from(x.reshape([-1])).unwrap();
        let axes = domain.axes();
        let (mut value, mut gradient, mut count) = (0.0, vec![0.0; values.len()], 0.0);
        let extended: Vec<i64> = axes.iter().map(|n| n + 2 * padding).collect();
        for channel in 0..domain.channels {
            for number in 0..extended.iter().product() {
                let (mut rest, mut place, mut step) = (number, 0, 1);
                for (n, wide) in axes.iter().zip(&extended).rev() {
                    place += step * source(rest % wide, *n, padding);
                    (rest, step) = (rest / wide, step * n);
                }
                let here = (channel * step + place) as usize;
                count += 1.0;
                value += count * values[here] * values[here] / 2.0;
                gradient[here] += count * values[here];
            }
        }
        let prior = Reflected::new(domain, padding, |space| Ok(Counted(space))).unwrap();
        let (found, grad) = prior.value_and_grad(&x).unwrap();
        assert!((found / value - 1.0).abs() < 1e-12, "{domain:?}: {found} instead of {value}");
        assert_eq!(prior.value(&x).unwrap(), found);
        let gap = grad - Tensor::from_slice(&gradient).reshape(x.size());
        assert!(gap.abs().max().double_value(&[]) < 1e-12 * count, "{domain:?}");
    }
}

#[test]
fn what_cannot_be_reflected_is_refused_in_one_line() {
    for (domain, shortest) in [(Space::image(1, 5, 7), 5), (Space::volume(1, 9, 8, 4), 4)] {
        let of = |padding| Reflected::new(domain, padding, |space| Ok(Counted(space)));
        assert!(of(0).is_ok() && of(shortest - 1).is_ok());
        for padding in [-1, shortest, 100] {
            let line = of(padding).err().unwrap().to_string();
            assert!(
                line.starts_with(&format!("padding by reflection: expected 0 to {} pixels", shortest - 1))
            );
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }
}
