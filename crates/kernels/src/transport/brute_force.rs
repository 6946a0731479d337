//! The search over all pairs for one potential, by products in float32 or of bytes.

use super::{
    potential::Potential,
    references::References,
    search::{Query, Search, Sink},
    tiled_search::search_tiles,
};
use crate::simd::{Group, LANES, Lanes};

/// How bounds on all pairs are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// In float32.
    Floats,
    /// Of bytes.
    Bytes,
}

/// What a search that looks at all pairs needs of one potential.
pub(crate) struct BruteForce<'a> {
    references: &'a References,
    pub(crate) products: Products,
    /// For each panel `|y|^2 + top - psi`, the potential's part less its rounding errors.
    offsets: Vec<Group>,
}

impl<'a> BruteForce<'a> {
    pub(crate) fn new(references: &'a References, potential: &Potential, products: Products) -> Self {
        let index = &references.index;
        let share = index.dense_margins.kept_share();
        let mut offsets = vec![[f32::INFINITY; LANES]; index.distinct().div_ceil(LANES)];
        for (place, (psi, square)) in potential.psi.iter().zip(index.squares()).enumerate() {
            offsets[place / LANES][place % LANES] = (square + (potential.top - psi) * share) as f32;
        }
        Self { references, products, offsets }
    }

    /// The same search by other products.
    pub(crate) fn by(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// What [`search_tiles`] says.
    #[inline(always)]
    pub(crate) fn nearest<L: Lanes, S: Sink>(
        &self,
        search: &Search<'_, L>,
        queries: &[Query<'_>],
        sinks: &mut [S],
        enough: f64,
    ) -> usize {
        let (references, offsets) = (self.references, &self.offsets);
        match self.products {
            Products::Bytes => {
                search_tiles(search, references.int8_panels(), offsets, queries, sinks, enough)
            }
            // As many accumulators as fit into the registers.
            Products::Floats if L::WIDE => search_tiles::<_, _, _, 12, 2>(
                search,
                references.float_panels(),
                offsets,
                queries,
                sinks,
                enough,
            ),
            Products::Floats => search_tiles::<_, _, _, 5, 1>(
                search,
                references.float_panels(),
                offsets,
                queries,
                sinks,
                enough,
            ),
        }
    }
}
