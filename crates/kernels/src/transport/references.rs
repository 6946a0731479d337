//! The reference side: an index over rows `y_j`, and what searches of all pairs need of them.

use std::sync::OnceLock;

use super::{float_bounds::FloatPanels, int8_bounds::Int8Panels, reference_index::ReferenceIndex};
use crate::{error::KernelError, rows::Rows};

/// An index over reference rows: built once, searched for every query row and every potential.
///
/// Rows that are equal are kept once. The distinct ones lie in the order of a k-d tree over their principal
/// coordinates, sixteen to a leaf, with boxes around leaves and around sixteen leaves.
#[derive(Debug)]
pub struct References {
    pub(crate) index: ReferenceIndex,
    float_panels: OnceLock<FloatPanels>,
    int8_panels: OnceLock<Int8Panels>,
}

impl References {
    /// Indexes the rows `y_j` (a few milliseconds for 10,000 of 36).
    ///
    /// # Errors
    /// None today beyond what [`Rows`] already refuses; a `Result` so that callers are ready for limits on size.
    pub fn new(rows: &Rows) -> Result<Self, KernelError> {
        let index = ReferenceIndex::new(rows);
        Ok(Self { index, float_panels: OnceLock::new(), int8_panels: OnceLock::new() })
    }

    /// Number of reference rows, equal ones counted each.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Values of a row.
    pub fn dim(&self) -> usize {
        self.index.dim()
    }

    /// Reference row `j`, as it was given.
    ///
    /// # Panics
    /// If `j` is not below `len`.
    pub fn row(&self, j: usize) -> &[f32] {
        self.index.row(j)
    }

    /// The rows for products in float32 with all of them, laid out when first asked for, as are the next ones.
    pub(crate) fn float_panels(&self) -> &FloatPanels {
        self.float_panels.get_or_init(|| FloatPanels::of(&self.index))
    }

    /// The same for products of bytes.
    pub(crate) fn int8_panels(&self) -> &Int8Panels {
        self.int8_panels.get_or_init(|| Int8Panels::of(&self.index))
    }

    /// Takes others, to show that they decide.
    #[cfg(test)]
    pub(crate) fn set_int8_panels(&mut self, panels: Int8Panels) {
        self.int8_panels = OnceLock::from(panels);
    }
}
