//! One scale: the patches of the reference, those of the image, and the dual problem between them.

use super::{
    multiscale::Place,
    patches::{Patches, refused},
    tensors::{self, Masses, TensorReferences},
};
use smalti_base::{Result, parallel::install, slices};
use smalti_kernels::{
    rows::Rows,
    transport::{CTransform, DualMethod, DualSolver, Queries, References},
};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Whether the potentials are sought anew for an image, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Potentials {
    Sought,
    Held,
}

/// What looks at an image, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Search {
    /// The kernels, in main memory.
    Kernels,
    /// libtorch, on the device of the image, with so many averaged steps of that size: none for potentials that are held.
    Tensors { steps: usize, step: f64 },
}

impl Search {
    /// For images on `device`, which `always_tensors` takes for one without kernels.
    pub(super) fn of(method: DualMethod, how: Potentials, device: Device, always_tensors: bool) -> Self {
        match (how, method) {
            _ if !always_tensors && !matches!(device, Device::Cuda(_)) => Self::Kernels,
            (Potentials::Held, _) => Self::Tensors { steps: 0, step: 0.0 },
            (Potentials::Sought, DualMethod::AveragedSgd { steps, step }) => Self::Tensors { steps, step },
            (Potentials::Sought, DualMethod::Converge { .. }) => Self::Kernels,
        }
    }

    /// Where images are looked at.
    pub(super) fn place(self) -> Place {
        match self {
            Self::Kernels => Place::Kernels,
            Self::Tensors { .. } => Place::Tensors,
        }
    }
}

/// The dual problem of one scale and its solution at the last image.
pub(super) struct Scale {
    /// What errors call it.
    name: String,
    patches: Patches,
    references: Arc<References>,
    /// None before the first image that the kernels look at.
    queries: Option<Queries>,
    /// None before the first image that libtorch looks at.
    on_device: Option<OnDevice>,
    /// Of the queries, with sum 1; none: all the same.
    weights: Option<Vec<f64>>,
    /// What every solution until the next refresh starts from.
    start: DualSolver,
    /// With the potential of the last solution.
    pub(super) dual: DualSolver,
    /// At the last image.
    pub(super) solution: Option<Found>,
}

/// References and weights on the device of the images, in their dtype.
struct OnDevice {
    references: TensorReferences,
    masses: Masses,
}

/// What is known at an image.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) upper: Option<f64>,
    pub(super) evaluations: usize,
    pub(super) converged: bool,
    winners: Winners,
}

/// The reference patch that each patch was sent to, in the form of the search.
#[derive(Debug)]
enum Winners {
    Kernels(CTransform),
    Tensors(Tensor),
}

impl Scale {
    pub(super) fn new(name: &str, patches: Patches, references: &Rows, dual: DualMethod) -> Result<Self> {
        let references = install(|| References::new(references))?.map_err(refused(name))?;
        Self::sharing(name, patches, Arc::new(references), dual)
    }

    /// The same with reference patches that others have, too.
    fn sharing(name: &str, patches: Patches, references: Arc<References>, dual: DualMethod) -> Result<Self> {
        let dual = DualSolver::new(&references, dual).map_err(refused(name))?;
        Ok(Self {
            name: name.to_owned(),
            patches,
            references,
            queries: None,
            on_device: None,
            weights: None,
            start: dual.clone(),
            dual,
            solution: None,
        })
    }

    /// The scale of images of another size, whose patches lie as `patches` says: with the same reference patches and a new dual problem.
    pub(super) fn of_other_images(&self, patches: Patches, dual: DualMethod) -> Result<Self> {
        Self::sharing(&self.name, patches, Arc::clone(&self.references), dual)
    }

    pub(super) fn references(&self) -> &References {
        &self.references
    }

    /// The next solutions start from the last one.
    pub(super) fn advance(&mut self) {
        self.start = self.dual.clone();
    }

    /// The solver with another potential.
    pub(super) fn with_potential(&self, psi: &[f64]) -> Result<DualSolver> {
        let mut dual = self.dual.clone();
        dual.set_potential(psi).map_err(refused(&self.name))?;
        Ok(dual)
    }

    /// The next solutions start from the potential of this solver.
    pub(super) fn start_from(&mut self, dual: DualSolver) {
        self.dual = dual;
        self.advance();
        self.solution = None;
    }

    /// Takes other weights of the patches, with sum 1.
    pub(super) fn set_weights(&mut self, weights: Vec<f64>) {
        self.weights = Some(weights);
        self.on_device = None;
        self.solution = None;
    }

    /// Value and winners at an image, in main memory where the kernels search.
    pub(super) fn find(&mut self, image: &Tensor, how: Potentials, search: Search) -> Result<&Found> {
        // What was known holds no longer, also where the image is refused.
        self.solution = None;
        let found = match search {
            Search::Kernels => self.by_kernels(image, how)?,
            Search::Tensors { steps, step } => self.by_tensors(image, how, (steps, step))?,
        };
        Ok(self.solution.insert(found))
    }

    #[allow(unsafe_code)]
    fn by_kernels(&mut self, image: &Tensor, how: Potentials) -> Result<Found> {
        let refused = refused(&self.name);
        let queries = match &mut self.queries {
            Some(queries) => {
                let pixels = image.f_to_kind(Kind::Float)?.f_contiguous()?;
                // SAFETY: until `update` is done, which is the last use of the slice, this thread writes into the queries only;
                // and no other thread writes into tensors that it has lent (decision 013).
                let values = unsafe { slices::values(&pixels) }?;
                install(|| queries.update(values))?.map_err(&refused)?;
                queries
            }
            none => {
                let rows = self.patches.rows(&self.name, image)?;
                none.insert(install(|| Queries::new(&self.references, rows))?.map_err(&refused)?)
            }
        };
        match how {
            Potentials::Sought => {
                self.dual = self.start.clone();
                let (dual, weights) = (&mut self.dual, self.weights.as_deref());
                let found = install(|| dual.solve(queries, weights))?.map_err(&refused)?;
                Ok(Found {
                    value: found.value,
                    upper: found.upper,
                    evaluations: found.evaluations,
                    converged: found.converged,
                    winners: Winners::Kernels(found.transform),
                })
            }
            Potentials::Held => {
                let psi = self.dual.potential();
                let transform = install(|| queries.c_transform(psi))?.map_err(&refused)?;
                let first = match &self.weights {
                    None => transform.mean(),
                    Some(weights) => transform.values.iter().zip(weights).map(|(v, w)| v * w).sum(),
                };
                let value = first + psi.iter().sum::<f64>() / psi.len() as f64;
                let winners = Winners::Kernels(transform);
                Ok(Found { value, upper: None, evaluations: 1, converged: false, winners })
            }
        }
    }

    fn by_tensors(&mut self, image: &Tensor, how: Potentials, steps: (usize, f64)) -> Result<Found> {
        tensors::check_values(&format!("{}: pixels", self.name), image)?;
        let rows = self.patches.tensor_rows(image)?;
        let known = self.on_device.take().filter(|known| known.references.are_beside(image));
        let OnDevice { references, masses } = self.on_device.insert(match known {
            Some(known) => known,
            None => OnDevice {
                references: TensorReferences::new(&self.reference_rows(image)?)?,
                masses: Masses::new(rows.size()[0], self.weights.as_deref(), image.device())?,
            },
        });
        if how == Potentials::Sought {
            self.dual = self.start.clone();
        }
        let psi = Tensor::f_from_slice(self.dual.potential())?.f_to_device(image.device())?;
        let found = tensors::solve(references, masses, &rows, &psi, steps)?;
        if how == Potentials::Sought {
            let psi = Vec::<f64>::try_from(&found.psi.f_to_device(Device::Cpu)?)?;
            self.dual.set_potential(&psi).map_err(refused(&self.name))?;
        }
        let winners = Winners::Tensors(found.winners);
        Ok(Found { value: found.value, upper: None, evaluations: steps.0 + 1, converged: false, winners })
    }

    /// The reference patches `[M, d]` in the dtype and on the device of an image.
    fn reference_rows(&self, image: &Tensor) -> Result<Tensor> {
        let rows = (0..self.references.len()).map(|j| self.references.row(j)).collect::<Vec<_>>().concat();
        let rows = Tensor::f_from_slice(&rows)?.f_reshape([-1, self.references.dim() as i64])?;
        Ok(rows.f_to_device(image.device())?.f_to_kind(image.kind())?)
    }

    /// The gradient of the value in the pixels of the last image, by Danskin's theorem: float64, of the
    /// image's size and on its device.
    pub(super) fn gradient(&self, image: &Tensor) -> Result<Tensor> {
        match (self.solution.as_ref().map(|found| &found.winners), &self.queries, &self.on_device) {
            (Some(Winners::Kernels(transform)), Some(queries), _) => {
                let weights = self.weights.as_deref();
                let gradient = install(|| queries.gradient(transform, weights))?;
                let gradient = gradient.map_err(refused(&self.name))?;
                Ok(Tensor::f_from_slice(&gradient)?.f_reshape(image.size())?)
            }
            (Some(Winners::Tensors(winners)), _, Some(OnDevice { references, masses })) => {
                let rows = self.patches.tensor_rows(image)?;
                let gradient = tensors::gradient(references, masses, &rows, winners)?;
                self.patches.tensor_rows_adjoint(image, &gradient)
            }
            _ => Ok(image.f_zeros_like()?.f_to_kind(Kind::Double)?),
        }
    }
}
