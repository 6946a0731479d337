//! How an image is continued beyond its edges before a valid correlation.
//!
//! Every extension is a map from extended rows (columns) to source rows (columns): applying it selects rows,
//! and its exact adjoint adds each extended row back to its source.

use smalti_base::{Error, Result};
use tch::Tensor;

/// How the image is continued; the same on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Not at all: only positions where the kernel lies inside the image.
    Valid,
    /// Periodically, on the right and bottom only, by one pixel less than the kernel: with stride `s` there
    /// are exactly `H / s` x `W / s` positions. Needs sizes divisible by the stride.
    WrapAfter,
    /// Mirrored about the edge pixels, which are not repeated (`c b | a b c d | c b`), by `before` pixels on
    /// the top and left and `after` on the bottom and right; both smaller than the image.
    Reflect {
        /// Pixels added on the top and on the left.
        before: i64,
        /// Pixels added on the bottom and on the right.
        after: i64,
    },
    /// The edge pixels repeated (`a a | a b c d | d d`).
    Replicate {
        /// Pixels added on the top and on the left.
        before: i64,
        /// Pixels added on the bottom and on the right.
        after: i64,
    },
}

impl Extension {
    /// Pixels added before and after an axis for a kernel of `kernel` pixels.
    pub fn amounts(self, kernel: i64) -> (i64, i64) {
        match self {
            Self::Valid => (0, 0),
            Self::WrapAfter => (0, kernel - 1),
            Self::Reflect { before, after } | Self::Replicate { before, after } => (before, after),
        }
    }

    /// The extension of an axis of `n` pixels for a kernel of `kernel` pixels moved by `stride`.
    ///
    /// # Errors
    /// [`Error::Value`] where the image is too small for the kernel or the extension, or (for
    /// [`Extension::WrapAfter`]) not divisible by the stride.
    pub(crate) fn axis(self, what: &str, n: i64, kernel: i64, stride: i64) -> Result<Axis> {
        let (before, after) = self.amounts(kernel);
        let source: fn(i64, i64) -> i64 = match self {
            Self::Valid => |i, _| i,
            Self::WrapAfter => |i, n| i.rem_euclid(n),
            Self::Reflect { .. } => |i, n| (n - 1) - ((n - 1) - i.abs()).abs(),
            Self::Replicate { .. } => |i, n| i.clamp(0, n - 1),
        };
        let pixels = |n: i64| format!("{n} pixels");
        if before < 0 || after < 0 {
            return Err(Error::value(
                format!("extension of the {what}"),
                "no negative amount",
                before.min(after),
            ));
        }
        if matches!(self, Self::Reflect { .. }) && before.max(after) >= n {
            let needed = format!("more than the {} of its reflection", before.max(after));
            return Err(Error::value(format!("image {what}"), needed, pixels(n)));
        }
        let smallest = if self == Self::WrapAfter { n } else { n + before + after };
        if smallest < kernel {
            let needed =
                format!("at least the {kernel} of the kernel (use a larger image or a smaller kernel)");
            return Err(Error::value(format!("image {what}"), needed, pixels(smallest)));
        }
        if self == Self::WrapAfter && n % stride != 0 {
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

    fn extended(extension: Extension, n: i64, kernel: i64) -> Vec<i64> {
        let axis = extension.axis("width", n, kernel, 1).unwrap();
        let x = Tensor::arange(n, (Kind::Int64, Device::Cpu));
        Vec::<i64>::try_from(axis.apply(&x, 0).unwrap()).unwrap()
    }

    #[test]
    fn each_form_continues_the_image_as_documented() {
        assert_eq!(extended(Extension::Valid, 4, 3), [0, 1, 2, 3]);
        assert_eq!(extended(Extension::WrapAfter, 4, 3), [0, 1, 2, 3, 0, 1]);
        let (before, after) = (2, 3);
        assert_eq!(extended(Extension::Reflect { before, after }, 4, 3), [2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(extended(Extension::Replicate { before, after }, 4, 3), [0, 0, 0, 1, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn reflect_is_that_of_torch() {
        let x = Tensor::arange(30, (Kind::Double, Device::Cpu)).reshape([1, 1, 5, 6]);
        let form = Extension::Reflect { before: 4, after: 2 };
        let (rows, columns) = (form.axis("height", 5, 3, 1).unwrap(), form.axis("width", 6, 3, 1).unwrap());
        let ours = columns.apply(&rows.apply(&x, 2).unwrap(), 3).unwrap();
        assert_eq!(ours, x.reflection_pad2d([4, 2, 4, 2]));
    }

    #[test]
    fn sizes_that_cannot_be_extended_are_errors_with_the_remedy() {
        let message = |e: Extension, n, kernel, stride| match e.axis("height", n, kernel, stride) {
            Ok(_) => panic!("{e:?} of {n} pixels should fail"),
            Err(error) => error.to_string(),
        };
        assert!(message(Extension::WrapAfter, 602, 16, 4).contains("crop it to 600"));
        assert!(message(Extension::WrapAfter, 12, 16, 4).contains("at least the 16"));
        assert!(message(Extension::Valid, 15, 16, 4).contains("at least the 16"));
        assert!(message(Extension::Reflect { before: 7, after: 7 }, 7, 16, 2).contains("more than the 7"));
        assert!(message(Extension::Replicate { before: -1, after: 0 }, 7, 3, 1).contains("negative"));
    }
}
