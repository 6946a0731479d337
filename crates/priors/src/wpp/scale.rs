//! One scale: the patches of the reference, those of the image, and the dual problem between them.

use super::{
    multiscale::Place,
    patches::{Patches, behind, refused},
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
    /// The grids of patches that take turns, at least one.
    grids: Vec<Grid>,
    /// The one whose turn it is.
    turn: usize,
    /// At the last image.
    pub(super) solution: Option<Found>,
}

/// The patches at one offset, and what is known of them.
struct Grid {
    /// The first pixel of the first patch along every axis.
    offset: Vec<i64>,
    /// None before the first image that the kernels look at.
    queries: Option<Queries>,
    /// None before the first image that libtorch looks at.
    on_device: Option<OnDevice>,
    /// Of the patches, with sum 1; none: all the same.
    weights: Option<Vec<f64>>,
    /// What every solution until the next refresh starts from.
    start: DualSolver,
    /// With the potential of the last solution.
    dual: DualSolver,
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
    /// The patches of the image at these `offsets`, which are those of [`Patches::offsets`] or the first of them.
    pub(super) fn new(
        name: &str,
        (patches, offsets): (Patches, &[Vec<i64>]),
        references: &Rows,
        dual: DualMethod,
    ) -> Result<Self> {
        let references = install(|| References::new(references))?.map_err(refused(name))?;
        Self::sharing(name, (patches, offsets), Arc::new(references), dual)
    }

    /// The same with reference patches that others have, too.
    fn sharing(
        name: &str,
        (patches, offsets): (Patches, &[Vec<i64>]),
        references: Arc<References>,
        dual: DualMethod,
    ) -> Result<Self> {
        let dual = DualSolver::new(&references, dual).map_err(refused(name))?;
        let grid = |offset: &Vec<i64>| Grid {
            offset: offset.clone(),
            queries: None,
            on_device: None,
            weights: None,
            start: dual.clone(),
            dual: dual.clone(),
        };
        let grids = offsets.iter().map(grid).collect();
        Ok(Self { name: name.to_owned(), patches, references, grids, turn: 0, solution: None })
    }

    /// The scale of images of another size, whose patches lie as `patches` and `offsets` say: with the same reference patches and a
    /// new dual problem.
    pub(super) fn of_other_images(
        &self,
        (patches, offsets): (Patches, &[Vec<i64>]),
        dual: DualMethod,
    ) -> Result<Self> {
        Self::sharing(&self.name, (patches, offsets), Arc::clone(&self.references), dual)
    }

    pub(super) fn references(&self) -> &References {
        &self.references
    }

    fn grid(&self) -> &Grid {
        &self.grids[self.turn]
    }

    /// The number of grids that take turns.
    pub(super) fn grids(&self) -> usize {
        self.grids.len()
    }

    /// The potential of the last solution.
    pub(super) fn potential(&self) -> &[f64] {
        self.grid().dual.potential()
    }

    /// The next solutions are those of the grid of this number, and start from the potential of the last one.
    pub(super) fn advance(&mut self, turn: usize) -> Result<()> {
        let psi = self.potential().to_vec();
        self.turn = turn;
        self.start_from(&psi)
    }

    /// The next solutions start from this potential, which then also is that of the last one.
    pub(super) fn start_from(&mut self, psi: &[f64]) -> Result<()> {
        let grid = &mut self.grids[self.turn];
        grid.dual.set_potential(psi).map_err(refused(&self.name))?;
        grid.start = grid.dual.clone();
        self.solution = None;
        Ok(())
    }

    /// Whether the next solutions can start from this potential.
    pub(super) fn check_potential(&self, psi: &[f64]) -> Result<()> {
        self.grid().dual.clone().set_potential(psi).map_err(refused(&self.name))
    }

    /// Takes other weights of the patches, for each grid with sum 1.
    pub(super) fn set_weights(&mut self, weights: Vec<Vec<f64>>) {
        for (grid, weights) in self.grids.iter_mut().zip(weights) {
            grid.weights = Some(weights);
            grid.on_device = None;
        }
        self.solution = None;
    }

    /// Value and winners at an image, in main memory where the kernels search.
    pub(super) fn find(&mut self, image: &Tensor, how: Potentials, search: Search) -> Result<&Found> {
        // What was known holds no longer, also where the image is refused.
        self.solution = None;
        let image = &behind(image, &self.grid().offset)?;
        let found = match search {
            Search::Kernels => self.by_kernels(image, how)?,
            Search::Tensors { steps, step } => self.by_tensors(image, how, (steps, step))?,
        };
        Ok(self.solution.insert(found))
    }

    #[allow(unsafe_code)]
    fn by_kernels(&mut self, image: &Tensor, how: Potentials) -> Result<Found> {
        let refused = refused(&self.name);
        let Grid { queries, weights, start, dual, .. } = &mut self.grids[self.turn];
        let queries = match queries {
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
                dual.clone_from(start);
                let found = install(|| dual.solve(queries, weights.as_deref()))?.map_err(&refused)?;
                Ok(Found {
                    value: found.value,
                    upper: found.upper,
                    evaluations: found.evaluations,
                    converged: found.converged,
                    winners: Winners::Kernels(found.transform),
                })
            }
            Potentials::Held => {
                let psi = dual.potential();
                let transform = install(|| queries.c_transform(psi))?.map_err(&refused)?;
                let first = match weights {
                    None => transform.mean(),
                    Some(weights) => transform.values.iter().zip(&*weights).map(|(v, w)| v * w).sum(),
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
        let known = self.grids[self.turn].on_device.take();
        let known = match known.filter(|known| known.references.are_beside(image)) {
            Some(known) => known,
            None => OnDevice {
                references: TensorReferences::new(&self.reference_rows(image)?)?,
                masses: Masses::new(rows.size()[0], self.grid().weights.as_deref(), image.device())?,
            },
        };
        let Grid { on_device, start, dual, .. } = &mut self.grids[self.turn];
        let OnDevice { references, masses } = on_device.insert(known);
        if how == Potentials::Sought {
            dual.clone_from(start);
        }
        let psi = Tensor::f_from_slice(dual.potential())?.f_to_device(image.device())?;
        let found = tensors::solve(references, masses, &rows, &psi, steps)?;
        if how == Potentials::Sought {
            let psi = Vec::<f64>::try_from(&found.psi.f_to_device(Device::Cpu)?)?;
            dual.set_potential(&psi).map_err(refused(&self.name))?;
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
        let Grid { offset, queries, on_device, weights, .. } = self.grid();
        let seen = behind(image, offset)?;
        let winners = self.solution.as_ref().map(|found| &found.winners);
        let of_seen = match (winners, queries, on_device) {
            (Some(Winners::Kernels(transform)), Some(queries), _) => {
                let gradient = install(|| queries.gradient(transform, weights.as_deref()))?;
                let gradient = gradient.map_err(refused(&self.name))?;
                Tensor::f_from_slice(&gradient)?.f_reshape(seen.size())?
            }
            (Some(Winners::Tensors(winners)), _, Some(OnDevice { references, masses })) => {
                let rows = self.patches.tensor_rows(&seen)?;
                let gradient = tensors::gradient(references, masses, &rows, winners)?;
                self.patches.tensor_rows_adjoint(&seen, &gradient)?
            }
            _ => return Ok(image.f_zeros_like()?.f_to_kind(Kind::Double)?),
        };
        // Nothing before the first pixel of the first patch.
        let before: Vec<i64> = offset.iter().rev().flat_map(|&n| [n, 0]).collect();
        Ok(if before.iter().all(|&n| n == 0) { of_seen } else { of_seen.f_constant_pad_nd(&before)? })
    }
}
