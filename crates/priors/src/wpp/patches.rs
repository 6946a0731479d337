//! Patches of batches of images and volumes as rows for the transport kernels.

use super::settings::ReferencePatches;
use smalti_base::{Error, Result, Space, seed::Stream};
use smalti_kernels::{error::KernelError, rows::Rows};
use tch::{Device, Kind, Tensor};

/// The kernels' refusals as errors of the library, about an image by this name.
pub(crate) fn refused(image: &str) -> impl Fn(KernelError) -> Error + '_ {
    move |e| Error::Value { what: format!("{image}: {}", e.what), expected: e.expected, got: e.got }
}

/// How patches are read from the images of one scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patches {
    pub(crate) size: i64,
    pub(crate) stride: i64,
    pub(crate) centred: bool,
}

impl Patches {
    /// The patches of a batch `[B, C, H, W]` or `[B, C, D, H, W]`, those of its first image first: rows of
    /// `d = C p^2` or `C p^3` values, channel by channel, each in row-major order.
    pub(crate) fn rows(self, what: &str, x: &Tensor) -> Result<Rows> {
        let shape: Vec<usize> = x.size().iter().map(|&n| n as usize).collect();
        let axes = |first: usize, second: usize, others: i64| {
            let others = std::iter::repeat_n(others as usize, shape.len() - 2);
            [first, second].into_iter().chain(others).collect::<Vec<usize>>()
        };
        let (window, step) = (axes(1, shape[1], self.size), axes(1, 1, self.stride));
        let flat = Vec::<f32>::try_from(&x.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?;
        let rows = Rows::windows(flat, &shape, &window, &step).map_err(refused(what))?;
        Ok(if self.centred { rows.centred() } else { rows })
    }

    /// The same, but only `count` at distinct random positions (in order), drawn from `stream` among those of positive
    /// weight, and their positions; all of these where there are no more. Without `weights` all have the same.
    pub(crate) fn sample(
        self,
        what: &str,
        x: &Tensor,
        weights: Option<&[f64]>,
        (count, stream): (usize, &mut Stream),
    ) -> Result<(Rows, Vec<usize>)> {
        let all = self.rows(what, x)?;
        let candidates: Vec<usize> =
            (0..all.len()).filter(|&i| weights.is_none_or(|weights| weights[i] > 0.0)).collect();
        let mut drawn = stream.distinct_indices(candidates.len() as i64, count.min(candidates.len()));
        drawn.sort_unstable();
        let positions: Vec<usize> = drawn.iter().map(|&i| candidates[i as usize]).collect();
        Ok((all.at(&positions).map_err(refused(what))?, positions))
    }

    /// The offsets of the grids that together have every patch of images of `space` once: `stride` along every axis, fewer where
    /// there are fewer patches.
    pub(crate) fn offsets(self, space: Space) -> Vec<Vec<i64>> {
        space.axes().iter().fold(vec![Vec::new()], |offsets, &n| {
            let along = 0..self.stride.min(n - self.size + 1).max(1);
            let longer = |offset: &Vec<i64>| {
                along.clone().map(|first| [&offset[..], &[first]].concat()).collect::<Vec<_>>()
            };
            offsets.iter().flat_map(longer).collect()
        })
    }

    /// Checks that images of `space` have a patch.
    pub(crate) fn check_fit(self, what: &str, space: Space) -> Result<()> {
        let extents = space.axes();
        if extents.iter().all(|&n| n >= self.size) {
            return Ok(());
        }
        let expected =
            format!("at least {} pixels along every axis for a patch; take fewer scales", self.size);
        Err(Error::value(what, expected, format!("{extents:?}")))
    }

    /// The chosen patches of several batches of images, as a matrix.
    pub(crate) fn chosen(
        self,
        what: &str,
        images: &[Tensor],
        choice: ReferencePatches,
        stream: &mut Stream,
    ) -> Result<Rows> {
        let all = images.iter().map(|x| self.rows(what, x)).collect::<Result<Vec<_>>>()?;
        let total: usize = all.iter().map(Rows::len).sum();
        let positions = match choice {
            ReferencePatches::All => (0..total as i64).collect(),
            ReferencePatches::Random(count) if count > total => {
                let expected = format!("at most the {total} there are; take all, or a larger image");
                return Err(Error::value(format!("{what}: number of reference patches"), expected, count));
            }
            ReferencePatches::Random(count) => {
                let mut drawn = stream.distinct_indices(total as i64, count);
                drawn.sort_unstable();
                drawn
            }
        };
        let dim = all.first().map_or(0, Rows::dim);
        let mut matrix = vec![0.0; positions.len() * dim];
        let mut places = matrix.chunks_exact_mut(dim.max(1));
        let (mut positions, mut before) = (positions.into_iter().peekable(), 0);
        for rows in &all {
            while let Some(position) = positions.next_if(|&p| (p as usize) < before + rows.len())
                && let Some(row) = places.next()
            {
                rows.read(position as usize - before, row);
            }
            before += rows.len();
        }
        Rows::dense(matrix, dim).map_err(refused(what))
    }
}

/// The image from the pixel `offset` on.
pub(crate) fn behind(image: &Tensor, offset: &[i64]) -> Result<Tensor> {
    let mut seen = image.shallow_clone();
    for (axis, (&first, &n)) in offset.iter().zip(&image.size()[2..]).enumerate() {
        seen = seen.f_narrow(axis as i64 + 2, first, n - first)?;
    }
    Ok(seen)
}

/// Images ready for the kernels: [`detached`], in main memory.
pub(crate) fn ready(x: &Tensor) -> Result<Tensor> {
    detached(&x.detach().f_to_device(Device::Cpu)?)
}

/// Images on the device that they are on, without a graph, float64 where they were, else float32.
pub(crate) fn detached(x: &Tensor) -> Result<Tensor> {
    let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    Ok(x.detach().f_to_kind(kind)?.f_contiguous()?)
}
