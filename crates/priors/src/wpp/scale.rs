//! One scale: the patches of the reference, those of the image, and the dual problem between them.

use super::patches::{Patches, refused};
use smalti_base::{Result, parallel::install, slices};
use smalti_kernels::{
    rows::Rows,
    transport::{CTransform, Dual, DualMethod, Queries, References},
};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Whether the potentials are sought anew for an image, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Potentials {
    Sought,
    Held,
}

/// The dual problem of one scale and its solution at the last image.
pub(super) struct Scale {
    /// What errors call it.
    name: String,
    patches: Patches,
    references: Arc<References>,
    /// None before the first image.
    queries: Option<Queries>,
    /// Of the queries, with sum 1; none: all the same.
    pub(super) weights: Option<Vec<f64>>,
    /// What every solution until the next refresh starts from.
    start: Dual,
    /// With the potential of the last solution.
    pub(super) dual: Dual,
    /// At the last image.
    pub(super) solution: Option<Found>,
}

/// What is known at an image.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) upper: Option<f64>,
    pub(super) evaluations: usize,
    pub(super) converged: bool,
    transform: CTransform,
}

impl Scale {
    pub(super) fn new(name: &str, patches: Patches, references: &Rows, dual: DualMethod) -> Result<Self> {
        let references = install(|| References::new(references))?.map_err(refused(name))?;
        let references = Arc::new(references);
        let dual = Dual::new(&references, dual).map_err(refused(name))?;
        Ok(Self {
            name: name.to_owned(),
            patches,
            references,
            queries: None,
            weights: None,
            start: dual.clone(),
            dual,
            solution: None,
        })
    }

    pub(super) fn references(&self) -> &References {
        &self.references
    }

    /// The next solutions start from the last one.
    pub(super) fn advance(&mut self) {
        self.start = self.dual.clone();
    }

    /// The next solutions start from `psi`.
    pub(super) fn set_potential(&mut self, psi: &[f64]) -> Result<()> {
        self.dual.set_potential(psi).map_err(refused(&self.name))?;
        self.advance();
        self.solution = None;
        Ok(())
    }

    /// Value and winners at an image.
    pub(super) fn find(&mut self, image: &Tensor, how: Potentials) -> Result<&Found> {
        let refused = refused(&self.name);
        // What was known holds no longer, also where the image is refused.
        self.solution = None;
        let queries = match &mut self.queries {
            Some(queries) => {
                let pixels = image.f_to_kind(Kind::Float)?.f_contiguous()?;
                let values = slices::values(&pixels)?;
                install(|| queries.update(values))?.map_err(&refused)?;
                queries
            }
            none => {
                let rows = self.patches.rows(&self.name, image)?;
                none.insert(install(|| Queries::new(&self.references, rows))?.map_err(&refused)?)
            }
        };
        let found = match how {
            Potentials::Sought => {
                self.dual = self.start.clone();
                let (dual, weights) = (&mut self.dual, self.weights.as_deref());
                let found = install(|| dual.solve(queries, weights))?.map_err(&refused)?;
                Found {
                    value: found.value,
                    upper: found.upper,
                    evaluations: found.evaluations,
                    converged: found.converged,
                    transform: found.transform,
                }
            }
            Potentials::Held => {
                let psi = self.dual.potential();
                let transform = install(|| queries.c_transform(psi))?.map_err(&refused)?;
                let first = match &self.weights {
                    None => transform.mean(),
                    Some(weights) => transform.values.iter().zip(weights).map(|(v, w)| v * w).sum(),
                };
                let value = first + psi.iter().sum::<f64>() / psi.len() as f64;
                Found { value, upper: None, evaluations: 1, converged: false, transform }
            }
        };
        Ok(self.solution.insert(found))
    }

    /// The gradient of the value in the pixels of the last image, by Danskin's theorem: float64, of the
    /// image's size.
    pub(super) fn gradient(&self, image: &Tensor) -> Result<Tensor> {
        let (Some(queries), Some(found)) = (&self.queries, &self.solution) else {
            return Ok(image.f_zeros_like()?.f_to_kind(Kind::Double)?);
        };
        let gradient = install(|| queries.gradient(&found.transform, self.weights.as_deref()))?;
        Ok(Tensor::f_from_slice(&gradient.map_err(refused(&self.name))?)?.f_reshape(image.size())?)
    }
}
