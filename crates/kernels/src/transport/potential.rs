//! The dual potential in the order of the index over the references, and what bounds need of it.

use super::{
    bvh::{Leaves, Regrouped},
    reference_index::ReferenceIndex,
};
use crate::{
    error::KernelError,
    simd::{Aligned, LANES},
};

/// A potential `psi` in the order of the index, and the parts of bounds that depend on it alone.
#[derive(Debug)]
pub(crate) struct Potential {
    /// The largest psi among the (equal) rows at each place.
    pub(crate) psi: Vec<f64>,
    /// The lowest original index with that psi.
    pub(crate) row: Vec<u32>,
    /// The largest psi of all.
    pub(crate) top: f64,
    /// Leaves to search instead of those of the references, where that is better.
    regrouped: Option<Regrouped>,
    /// For each leaf `|z|^2 + top - psi`, rounded down.
    pub(crate) offsets: Vec<Aligned>,
    /// For each leaf `top - psi`, rounded down.
    pub(crate) drops: Vec<Aligned>,
    /// For each box the least `top - psi` inside, rounded down.
    pub(crate) box_least: Vec<Aligned>,
    /// The same for boxes of the upper level.
    pub(crate) upper_least: Vec<Aligned>,
}

impl Potential {
    pub(crate) fn of(references: &ReferenceIndex, psi: &[f64]) -> Result<Self, KernelError> {
        references.check_potential(psi)?;
        let (best, row): (Vec<f64>, Vec<u32>) = (0..references.distinct())
            .map(|place| {
                let members = references.members(place).iter();
                members.fold((f64::NEG_INFINITY, 0), |best, &j| {
                    let value = psi[j as usize];
                    if value > best.0 { (value, j) } else { best }
                })
            })
            .unzip();
        Ok(Self::with(references, best, row))
    }

    /// The potential with these values at the places.
    pub(crate) fn at_places(references: &ReferenceIndex, psi: Vec<f64>) -> Self {
        let row = (0..references.distinct()).map(|place| references.members(place)[0]).collect();
        Self::with(references, psi, row)
    }

    /// The leaves to search, and the places of their points where these are not in the order of the index.
    pub(crate) fn leaves<'a>(&'a self, references: &'a ReferenceIndex) -> (&'a Leaves, Option<&'a [u32]>) {
        self.regrouped.as_ref().map_or((&references.leaves, None), |d| (&d.leaves, Some(&d.places)))
    }

    /// Takes values that are nowhere higher. Bounds stay as they are, which is right and the slower the more has fallen.
    pub(crate) fn lower_to(&mut self, psi: impl Iterator<Item = f64>) {
        self.psi.iter_mut().zip(psi).for_each(|(old, new)| *old = new);
    }

    fn with(references: &ReferenceIndex, psi: Vec<f64>, row: Vec<u32>) -> Self {
        let top = psi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let regrouped = Regrouped::of(&references.leaves, references.variance(), &psi, top);
        let leaves = regrouped.as_ref().map_or(&references.leaves, |regrouped| &regrouped.leaves);
        let place =
            |slot: usize| regrouped.as_ref().map_or(slot, |regrouped| regrouped.places[slot] as usize);
        let share = references.margins.kept_share();
        let mut box_least = vec![Aligned([f32::INFINITY; LANES]); leaves.boxes.len()];
        let mut upper_least = vec![Aligned([f32::INFINITY; LANES]); references.upper.len()];
        let mut offsets = Vec::with_capacity(leaves.all.len());
        let mut drops = Vec::with_capacity(leaves.all.len());
        for (i, leaf) in leaves.all.iter().enumerate() {
            let (mut offset, mut drops_here) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
            let mut least = f32::INFINITY;
            for (l, slot) in (i * LANES..psi.len().min((i + 1) * LANES)).enumerate() {
                let drop = (top - psi[place(slot)]) * share;
                (offset[l], drops_here[l]) = ((leaf.square[l] + drop) as f32, drop as f32);
                least = least.min(drop as f32);
            }
            offsets.push(Aligned(offset));
            drops.push(Aligned(drops_here));
            box_least[i / LANES].0[i % LANES] = least;
            let above = i / LANES;
            let entry = &mut upper_least[above / LANES].0[above % LANES];
            *entry = entry.min(least);
        }
        Self { psi, row, top, regrouped, offsets, drops, box_least, upper_least }
    }
}
