//! What lies beyond the edges of an image.
//!
//! Every extension is a map from extended rows (columns) to source rows (columns): applying it selects rows,
//! and its exact adjoint adds each extended row back to its source.

use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result};
use tch::Tensor;

/// How an image is continued beyond its edges; the same on both axes.
///
/// In files the names are `valid`, `wrap-after`, `reflect` and `reflect-by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// Not at all: only positions where the kernel lies inside the image.
    Valid,
    /// Periodically, on the right and bottom only, by one pixel less than the kernel: with stride `s` there
    /// are exactly `H / s` x `W / s` positions. Needs sizes divisible by the stride.
    #[serde(rename = "wrap-after")]
    Periodic,
    /// Mirrored about the edge pixels, which are not repeated (`c b | a b c d | c b`), by `(k - 1) / 2` pixels, rounded
    /// down, on the top and left and `k / 2`, rounded down, on the bottom and right, of a kernel of `k` pixels: with stride 1
    /// there are as many positions as pixels. Less than the image.
    Reflect,
    /// Mirrored in the same way by so many pixels on all sides, less than the image.
    ReflectBy(i64),
}

impl Boundary {
    /// Pixels added before and after an axis for a kernel of `kernel` pixels.
    pub(crate) fn amounts(self, kernel: i64) -> (i64, i64) {
        match self {
            Self::Valid => (0, 0),
            Self::Periodic => (0, kernel - 1),
            Self::Reflect => ((kernel - 1) / 2, kernel / 2),
            Self::ReflectBy(pixels) => (pixels, pixels),
        }
    }

    /// The extension of an axis of `n` pixels for a kernel of `kernel` pixels moved by `stride`.
    ///
    /// # Errors
    /// [`Error::Value`] where the image is too small for the kernel or the extension, or (for
    /// [`Boundary::Periodic`]) not divisible by the stride.
    pub(crate) fn axis(self, what: &str, n: i64, kernel: i64, stride: i64) -> Result<Axis> {
        let (before, after) = self.amounts(kernel);
        let source: fn(i64, i64) -> i64 = match self {
            Self::Valid => |i, _| i,
            Self::Periodic => |i, n| i.rem_euclid(n),
            Self::Reflect | Self::ReflectBy(_) => |i, n| (n - 1) - ((n - 1) - i.abs()).abs(),
        };
        let pixels = |n: i64| format!("{n} pixels");
        if before < 0 || after < 0 {
            return Err(Error::value(
                format!("extension of the {what}"),
                "no negative amount",
                before.min(after),
            ));
        }
        if matches!(self, Self::Reflect | Self::ReflectBy(_)) && before.max(after) >= n {
            let needed = format!("more than the {} of its reflection", before.max(after));
            return Err(Error::value(format!("image {what}"), needed, pixels(n)));
        }
        let smallest = if self == Self::Periodic { n } else { n + before + after };
        if smallest < kernel {
            let needed =
                format!("at least the {kernel} of the kernel (use a larger image or a smaller kernel)");
            return Err(Error::value(format!("image {what}"), needed, pixels(smallest)));
        }
        if self == Self::Periodic && n % stride != 0 {
            let needed = format!("a multiple of {stride}; crop it to {}", n - n % stride);
            return Err(Error::value(format!("image {what}"), needed, pixels(n)));
        }
        let sources = |range: std::ops::Range<i64>| {
            let indices: Vec<i64> = range.map(|i| source(i, n)).collect();
            Tensor::from_slice(&indices)
        };
        Ok(Axis { n, before: sources(-before..0), after: sources(n..n + after) })
    }
}

/// One axis of `n` pixels with the source pixels of what is added before and after it.
#[derive(Debug)]
pub(crate) struct Axis {
    n: i64,
    before: Tensor,
    after: Tensor,
}

impl Axis {
    /// Pixels after the extension.
    pub(crate) fn extended(&self) -> i64 {
        self.n + self.before.size()[0] + self.after.size()[0]
    }

    /// Continues dimension `dim` of `x`.
    pub(crate) fn apply(&self, x: &Tensor, dim: i64) -> Result<Tensor> {
        if self.extended() == self.n {
            return Ok(x.shallow_clone());
        }
        let added = |sources: &Tensor| x.f_index_select(dim, &sources.to_device(x.device()));
        Ok(Tensor::f_cat(&[added(&self.before)?, x.shallow_clone(), added(&self.after)?], dim)?)
    }

    /// The adjoint of [`Axis::apply`].
    pub(crate) fn adjoint(&self, v: &Tensor, dim: i64) -> Result<Tensor> {
        let before = self.before.size()[0];
        let mut sum = v.f_narrow(dim, before, self.n)?;
        for (sources, start) in [(&self.before, 0), (&self.after, before + self.n)] {
            let count = sources.size()[0];
            if count > 0 {
                let source = v.f_narrow(dim, start, count)?;
                sum = sum.f_index_add(dim, &sources.to_device(v.device()), &source)?;
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn extended(boundary: Boundary, n: i64, kernel: i64) -> Vec<i64> {
        let axis = boundary.axis("width", n, kernel, 1).unwrap();
        let x = Tensor::arange(n, (Kind::Int64, Device::Cpu));
        Vec::<i64>::try_from(axis.apply(&x, 0).unwrap()).unwrap()
    }

    #[test]
    fn each_boundary_continues_the_image_as_documented() {
        assert_eq!(extended(Boundary::Valid, 4, 3), [0, 1, 2, 3]);
        assert_eq!(extended(Boundary::Periodic, 4, 3), [0, 1, 2, 3, 0, 1]);
        assert_eq!(extended(Boundary::Reflect, 4, 6), [2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(extended(Boundary::ReflectBy(2), 4, 3), [2, 1, 0, 1, 2, 3, 2, 1]);
    }

    #[test]
    fn reflect_is_that_of_torch() {
        let x = Tensor::arange(30, (Kind::Double, Device::Cpu)).reshape([1, 1, 5, 6]);
        let boundary = Boundary::Reflect;
        let (rows, columns) =
            (boundary.axis("height", 5, 8, 1).unwrap(), boundary.axis("width", 6, 5, 1).unwrap());
        let ours = columns.apply(&rows.apply(&x, 2).unwrap(), 3).unwrap();
        assert_eq!(ours, x.reflection_pad2d([2, 2, 3, 4]));
    }

    #[test]
    fn sizes_that_cannot_be_extended_are_errors_with_the_remedy() {
        let message = |b: Boundary, n, kernel, stride| match b.axis("height", n, kernel, stride) {
            Ok(_) => panic!("{b:?} of {n} pixels should fail"),
            Err(error) => error.to_string(),
        };
        assert!(message(Boundary::Periodic, 602, 16, 4).contains("crop it to 600"));
        assert!(message(Boundary::Periodic, 12, 16, 4).contains("at least the 16"));
        assert!(message(Boundary::Valid, 15, 16, 4).contains("at least the 16"));
        assert!(message(Boundary::ReflectBy(7), 7, 16, 2).contains("more than the 7"));
        assert!(message(Boundary::Reflect, 7, 16, 2).contains("more than the 8"));
        assert!(message(Boundary::ReflectBy(-1), 7, 3, 1).contains("negative"));
    }
}
