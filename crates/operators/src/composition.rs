//! One operator after another.

use crate::{Grid, LinearOperator, Operator, PixelGrid};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// `F(x) = G(H(x))`, linear where both are: what [`OperatorAlgebra::then`](crate::OperatorAlgebra::then) gives.
///
/// By the chain rule `J_F(x)^T v = J_H(x)^T J_G(H(x))^T v`; for linear operators `A^T = H^T G^T`.
#[derive(Debug, Clone)]
pub struct Composition<H, G> {
    first: H,
    second: G,
}

impl<H: Operator, G: Operator> Composition<H, G> {
    /// `second` after `first`. Operators of any type, also `Box<dyn Operator>` and references.
    ///
    /// # Errors
    /// [`Error::Shape`] where the range of the first is not the domain of the second.
    pub fn new(first: H, second: G) -> Result<Self> {
        if first.range() != second.domain() {
            let what = "domain of the second operator of a composition";
            return Err(Error::shape(what, first.range(), second.domain()));
        }
        Ok(Self { first, second })
    }
}

impl<H: Operator, G: Operator> Operator for Composition<H, G> {
    fn domain(&self) -> Space {
        self.first.domain()
    }

    fn range(&self) -> Space {
        self.second.range()
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.second.apply(&self.first.apply(x)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.first.vjp(x, &self.second.vjp(&self.first.apply(x)?, v)?)
    }
}

impl<H: LinearOperator, G: LinearOperator> LinearOperator for Composition<H, G> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.first.adjoint(&self.second.adjoint(v)?)
    }

    fn normal(&self, x: &Tensor) -> Result<Tensor> {
        self.first.adjoint(&self.second.normal(&self.first.apply(x)?)?)
    }
}

impl<H: PixelGrid, G: PixelGrid> PixelGrid for Composition<H, G> {
    fn grid(&self) -> Grid {
        Grid::compose(self.first.grid(), self.second.grid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, Convolution, Crop, Identity, VolumeConvolution};

    #[test]
    fn grids_and_spaces_follow_the_chain() {
        let image = Space::image(1, 32, 48);
        let halve = |s: Space| Convolution::superresolution(s, 4, 1.0, 2, Boundary::Periodic).unwrap();
        let first = halve(image);
        let second = halve(first.range());
        let both = Composition::new(&first, &second).unwrap();
        assert_eq!(both.range(), Space::image(1, 8, 12));
        // Output i of the second lies at 2 i + 1.5 of the first, and that at 2 (2 i + 1.5) + 1.5.
        assert_eq!(both.grid(), Grid { origin: (4.5, 4.5), spacing: (4.0, 4.0), depth: None });
        assert!(Composition::new(first, Identity::new(image)).is_err());
    }

    #[test]
    fn slices_follow_the_chain_too() {
        let volume = Space::volume(1, 8, 10, 12);
        let thin = VolumeConvolution::superresolution(volume, 4, 1.0, 2).unwrap();
        let with_margin = Composition::new(Crop::to(volume, 3).unwrap(), &thin).unwrap();
        assert_eq!(thin.grid().depth, Some((1.5, 2.0)));
        assert_eq!(with_margin.grid().depth, Some((4.5, 2.0)));
        let again = Composition::new(Identity::new(volume), &thin).unwrap();
        assert_eq!(again.grid(), thin.grid(), "the identity of any space moves no slice");
        let image = Identity::new(Space::image(1, 10, 12));
        assert!(Composition::new(image, thin).is_err(), "an image is no volume");
    }
}
