//! Operators beside each other.

use crate::{LinearOperator, Operator};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// The axis of the range that a [`Stack`] puts its parts along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Channels.
    Channels,
    /// Slices of volumes.
    Depth,
    /// Rows; of sinograms the angles.
    Height,
    /// Columns; of sinograms the detector pixels.
    Width,
}

impl Along {
    /// The axis of a batch in `space`.
    fn axis(self, space: Space) -> usize {
        let last = space.axes().len() + 1;
        match self {
            Self::Channels => 1,
            Self::Depth => 2,
            Self::Height => last - 1,
            Self::Width => last,
        }
    }

    /// The side of `space` along it.
    fn side(self, space: &mut Space) -> Option<&mut i64> {
        match self {
            Self::Channels => Some(&mut space.channels),
            Self::Depth => space.depth.as_mut(),
            Self::Height => Some(&mut space.height),
            Self::Width => Some(&mut space.width),
        }
    }
}

/// `F(x) = (F_1(x), ..., F_n(x))`, several views of the same `x`, one after another along an axis of the range; linear where all
/// are.
///
/// `J^T v = sum_i J_i(x)^T v_i` with the parts `v_i` of `v`; for linear operators `A^T v = sum_i A_i^T v_i` and
/// `A^T A = sum_i A_i^T A_i`.
///
/// # Shapes
/// `[B, C, H, W]` (or `[B, C, D, H, W]`) to the ranges of the parts, which differ along the axis at most.
///
/// ```
/// use smalti_base::Space;
/// use smalti_operators::{Along, Gradient, Identity, LinearOperator, Operator, Stack};
/// let image = Space::image(1, 20, 24);
/// let (identity, gradient) = (Identity::new(image), Gradient::new(image));
/// // Parts of several types go behind pointers.
/// let a = Stack::new([&identity as &dyn LinearOperator, &gradient], Along::Channels)?;
/// assert_eq!(a.range(), Space::image(3, 20, 24));
/// # Ok::<(), smalti_base::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stack<F> {
    parts: Vec<F>,
    along: Along,
    domain: Space,
    range: Space,
}

impl<F: Operator> Stack<F> {
    /// The `parts` in their order, at least one.
    ///
    /// # Errors
    /// [`Error::Shape`] where the parts have different domains, or ranges that differ along another axis;
    /// [`Error::Value`] where there are none, or no slices to put beside each other.
    pub fn new(parts: impl IntoIterator<Item = F>, along: Along) -> Result<Self> {
        let parts: Vec<F> = parts.into_iter().collect();
        let Some(first) = parts.first() else {
            return Err(Error::value("parts of a stack of operators", "at least one", "none"));
        };
        let (domain, mut range) = (first.domain(), first.range());
        if along.side(&mut range).is_none() {
            let expected = "volumes in the ranges of its parts";
            return Err(Error::value("stack of operators along the depth", expected, "images"));
        }
        for part in &parts[1..] {
            if part.domain() != domain {
                return Err(Error::shape("domain of a part of a stack", domain, part.domain()));
            }
            let (mut alike, mut other) = (range, part.range());
            if let (Some(side), Some(more)) = (along.side(&mut alike), along.side(&mut other)) {
                *side = *more;
            }
            if alike != other {
                return Err(Error::shape("range of a part of a stack", alike, other));
            }
            if let (Some(side), Some(more)) = (along.side(&mut range), along.side(&mut other)) {
                *side += *more;
            }
        }
        Ok(Self { parts, along, domain, range })
    }

    /// The parts.
    pub fn parts(&self) -> &[F] {
        &self.parts
    }

    /// `sum_i map(A_i, v_i)` over the parts of `v` in the range.
    fn sum(&self, v: &Tensor, map: impl Fn(&F, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        crate::check::element("stacked observations", v, self.range)?;
        let axis = self.along.axis(self.range);
        let (mut start, mut sum) = (0, None::<Tensor>);
        for part in &self.parts {
            let length = part.range().batch(1)[axis];
            let of_part = map(part, &v.f_narrow(axis as i64, start, length)?)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&of_part)?,
                None => of_part,
            });
            start += length;
        }
        Ok(sum.unwrap_or_else(|| v.shallow_clone()))
    }
}

impl<F: Operator> Operator for Stack<F> {
    fn domain(&self) -> Space {
        self.domain
    }

    fn range(&self) -> Space {
        self.range
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let parts = self.parts.iter().map(|part| part.apply(x)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&parts, self.along.axis(self.range) as i64)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.sum(v, |part, v| part.vjp(x, v))
    }
}

impl<F: LinearOperator> LinearOperator for Stack<F> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.sum(v, |part, v| part.adjoint(v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gradient, Identity, ParallelBeam, Radon, VolumeConvolution};
    use smalti_base::Seed;
    use tch::Kind;

    fn draw(space: Space) -> Tensor {
        Seed::new(1).at("drawn", 0).normal(&space.batch(2)).to_kind(Kind::Double)
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn channels_are_those_of_the_parts_and_the_adjoint_is_a_sum() {
        let image = Space::image(2, 9, 14);
        let (identity, gradient) = (Identity::new(image), Gradient::new(image));
        let a = Stack::new([&identity as &dyn LinearOperator, &gradient], Along::Channels).unwrap();
        assert_eq!(a.range(), Space::image(6, 9, 14));
        let (x, v) = (draw(image), draw(a.range()));
        let y = a.apply(&x).unwrap();
        assert_eq!(y.narrow(1, 0, 2), x);
        assert_eq!(y.narrow(1, 2, 4), gradient.apply(&x).unwrap());
        let expected = v.narrow(1, 0, 2) + gradient.adjoint(&v.narrow(1, 2, 4)).unwrap();
        assert_eq!(a.adjoint(&v).unwrap(), expected);
        assert!(largest(&(a.normal(&x).unwrap() - &x - gradient.normal(&x).unwrap())) < 1e-14);
    }

    /// Scans of two parts of the angles are the scan of all of them.
    #[test]
    fn angles_are_put_together() {
        let beam = ParallelBeam::lodopab_sized(20);
        let n = beam.angle_list().len();
        let part = |range| Radon::new(beam.angles(range).unwrap());
        let parts = Stack::new([part(0..n / 3), part(n / 3..n)], Along::Height).unwrap();
        let whole = Radon::new(beam.clone());
        assert_eq!(parts.range(), whole.range());
        let (x, v) = (draw(whole.domain()), draw(whole.range()));
        assert_eq!(parts.apply(&x).unwrap(), whole.apply(&x).unwrap());
        let back = whole.adjoint(&v).unwrap();
        assert!(largest(&(parts.adjoint(&v).unwrap() - &back)) < 1e-12 * largest(&back));
    }

    #[test]
    fn slices_are_put_together() {
        let volume = Space::volume(1, 6, 7, 8);
        let identity = Identity::new(volume);
        let a = Stack::new([identity, identity, identity], Along::Depth).unwrap();
        assert_eq!(a.range(), Space::volume(1, 18, 7, 8));
        let x = draw(volume);
        assert_eq!(a.adjoint(&a.apply(&x).unwrap()).unwrap(), &x * 3.0);
        assert!(Stack::new([identity, identity], Along::Width).unwrap().range().width == 16);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let image = Space::image(1, 9, 14);
        let line = |parts: &[&dyn Operator], along| {
            Stack::new(parts.iter().copied(), along).err().unwrap().to_string()
        };
        assert!(line(&[], Along::Channels).contains("at least one"));
        let (one, other) = (Identity::new(image), Identity::new(Space::image(1, 14, 9)));
        assert!(line(&[&one, &other], Along::Height).starts_with("domain of a part"));
        assert!(line(&[&one, &Gradient::new(image)], Along::Height).starts_with("range of a part"));
        assert!(line(&[&one], Along::Depth).contains("along the depth"));
        let volume = Space::volume(1, 6, 7, 8);
        let half = VolumeConvolution::superresolution(volume, 2, 1.0, 2).unwrap();
        assert!(line(&[&Identity::new(volume), &half], Along::Depth).starts_with("range of a part"));
    }
}
