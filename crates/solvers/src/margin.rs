//! A margin around the image or volume that the forward operator never sees.

use smalti_base::{Result, Seed, Space};
use smalti_operators::{Composition, Crop, LinearOperator, Operator};
use tch::Tensor;

/// MAP estimation of an image with a margin: the regularizer sees all of it, the forward operator the interior
/// alone. Pixels at the edge of the interior then lie in as many patches as those in its middle; the margin
/// itself is cut off at the end.
///
/// Minimise over images of [`Margin::domain`] with [`Margin::operator`], from [`Margin::start`], and
/// [`cut`](Margin::cut) the result. Volumes have it on all six sides:
///
/// ```
/// use smalti_base::{Seed, Space};
/// use smalti_operators::{Boundary, Convolution, Gaussian, Operator, PixelGrid, interpolate};
/// use smalti_priors::TotalVariation;
/// use smalti_solvers::{AdamSettings, Margin, Iteration, Map, Objective, RunControl, run};
/// let image = Space::image(1, 24, 32);
/// let a = Convolution::superresolution(image, 4, 1.0, 2, Boundary::Valid)?;
/// let observation = a.apply(&Seed::new(1).at("image", 0).uniform(&image.batch(1)))?;
/// let margin = Margin::new(&a, 6)?;
/// let initial = interpolate(&observation, a.grid(), image, Boundary::Valid)?;
/// let problem = Objective {
///     operator: margin.operator(),
///     likelihood: &Gaussian::new(0.01)?,
///     observation: &observation,
///     prior: &mut TotalVariation::new(margin.domain(), 1e-3)?,
///     weight: 1.0,
/// };
/// let settings = AdamSettings::constant(5, 0.02);
/// let mut map = Map::new(problem, &margin.start(&initial, Seed::new(2))?, settings)?;
/// run(&mut map, 5, &RunControl::default())?;
/// assert_eq!(margin.cut(&map.finish()?)?.size(), image.batch(1));
/// # Ok::<(), smalti_base::Error>(())
/// ```
///
/// # Reference
/// Hertrich, Houdard, Redenbach, "Wasserstein patch prior for image superresolution", IEEE Transactions on
/// Computational Imaging 8 (2022), whose code has 20 pixels started from uniform noise, in three
/// dimensions as in two.
#[derive(Debug)]
pub struct Margin<F> {
    crop: Crop,
    seen: Composition<Crop, F>,
}

impl<F: Operator> Margin<F> {
    /// A margin of so many pixels on all sides of the domain of `operator`; 0 for none.
    ///
    /// # Errors
    /// [`smalti_base::Error::Value`] where the margin is negative.
    pub fn new(operator: F, margin: i64) -> Result<Self> {
        let crop = Crop::to(operator.domain(), margin)?;
        Ok(Self { crop, seen: Composition::new(crop, operator)? })
    }

    /// The space of images with the margin.
    pub fn domain(&self) -> Space {
        self.crop.domain()
    }

    /// The operator, of images with the margin.
    pub fn operator(&self) -> &Composition<Crop, F> {
        &self.seen
    }

    /// Where to start: the `interior` (`[B, C, H, W]` or `[B, C, D, H, W]`), and around it noise, uniform in `[0, 1)`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `interior` is not in the domain of the operator.
    pub fn start(&self, interior: &Tensor, seed: Seed) -> Result<Tensor> {
        self.crop.range().check("initial image", interior)?;
        let noise = seed.at("border", 0).uniform(&self.domain().batch(interior.size()[0]));
        let noise = noise.f_to_device(interior.device())?.f_to_kind(interior.kind())?;
        let unseen: Tensor = &noise - self.crop.normal(&noise)?;
        Ok(unseen.f_add(&self.crop.adjoint(interior)?)?)
    }

    /// The interior of an image with the margin.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` is not in [`Margin::domain`].
    pub fn cut(&self, x: &Tensor) -> Result<Tensor> {
        self.crop.apply(x)
    }
}
