//! One scale: the patches of the reference, and Sinkhorn's iteration against them.

use crate::wpp::patches::{Patches, refused};
use smalti_base::{Result, parallel::install, seed::Stream};
use smalti_kernels::{
    rows::Rows,
    transport::{SinkhornMethod, SinkhornSolver, SoftSolution},
};
use tch::{Kind, Tensor};

/// The image of a scale, and which of its patches are looked at.
pub(super) struct Fixed<'a> {
    pub(super) patches: Patches,
    pub(super) image: &'a Tensor,
    /// So many, drawn from a stream; none: all.
    pub(super) sample: Option<(usize, Stream)>,
}

/// The transport problem of one scale and its solution at the last image.
pub(super) struct Scale {
    name: String,
    /// Of all patches, with sum 1; none: all the same.
    pub(super) weights: Option<Vec<f64>>,
    /// What every solution until the next refresh starts from.
    start: SinkhornSolver,
    /// With the potential of the last solution.
    sinkhorn: SinkhornSolver,
    pub(super) solution: Option<SoftSolution>,
}

impl Scale {
    pub(super) fn new(name: String, references: Rows, method: SinkhornMethod) -> Result<Self> {
        let sinkhorn = SinkhornSolver::new(references, method).map_err(refused(&name))?;
        Ok(Self { name, weights: None, start: sinkhorn.clone(), sinkhorn, solution: None })
    }

    pub(super) fn references(&self) -> usize {
        self.sinkhorn.references().len()
    }

    pub(super) fn potential(&self) -> Option<&[f64]> {
        self.sinkhorn.potential()
    }

    /// The next solutions start from the last one.
    pub(super) fn advance(&mut self) {
        self.start = self.sinkhorn.clone();
    }

    /// The iteration with another potential.
    pub(super) fn with_potential(&self, psi: &[f64]) -> Result<SinkhornSolver> {
        let mut sinkhorn = self.sinkhorn.clone();
        sinkhorn.set_potential(psi).map_err(refused(&self.name))?;
        Ok(sinkhorn)
    }

    /// The next solutions start from the potential of this iteration.
    pub(super) fn start_from(&mut self, sinkhorn: SinkhornSolver) {
        self.sinkhorn = sinkhorn;
        self.advance();
        self.solution = None;
    }

    /// The solution at an image.
    pub(super) fn find(&mut self, Fixed { patches, image, sample }: Fixed<'_>) -> Result<()> {
        // What was known holds no longer, also where the image is refused.
        self.solution = None;
        let (rows, drawn) = match sample {
            None => (patches.rows(&self.name, image)?, None),
            Some((count, mut stream)) => {
                let draw = (count, &mut stream);
                let (rows, drawn) = patches.sample(&self.name, image, self.weights.as_deref(), draw)?;
                (rows, Some(drawn))
            }
        };
        let weights = match (&self.weights, drawn) {
            (Some(all), Some(drawn)) => Some(drawn.iter().map(|&i| all[i]).collect()),
            (weights, _) => weights.clone(),
        };
        let mut sinkhorn = self.start.clone();
        let found = install(|| sinkhorn.solve(&rows, weights.as_deref()))?.map_err(refused(&self.name))?;
        self.sinkhorn = sinkhorn;
        self.solution = Some(found);
        Ok(())
    }

    /// The gradient of the value in the pixels of the last image, float64, of the image's size.
    pub(super) fn gradient(&self, image: &Tensor) -> Result<Tensor> {
        match &self.solution {
            Some(found) => Ok(Tensor::f_from_slice(&found.gradient)?.f_reshape(image.size())?),
            None => Ok(image.f_zeros_like()?.f_to_kind(Kind::Double)?),
        }
    }
}
