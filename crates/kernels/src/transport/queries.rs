//! The query side: an index over rows `x_i`, kept while the potential and the values of the rows change.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    candidates::Candidates,
    kd_tree::KdTree,
    pca::{Point, project},
    reference_index::ReferenceIndex,
    references::References,
};
use crate::{error::KernelError, huge_pages, rows::Rows};

/// Queries that one task works on.
pub(crate) const CHUNK: usize = 128;

/// No winner known yet.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// Query rows `x_i` with their index over given references: projections, an order in which neighbours follow each
/// other (that of a k-d tree), and the winners of the last transform, from which the next search starts.
///
/// Memory: the rows, and about 70 bytes for each.
#[derive(Debug, Clone)]
pub struct Queries {
    pub(crate) references: Arc<References>,
    pub(crate) rows: Rows,
    /// The original index of each query in the order of the searches.
    pub(crate) order: Vec<u32>,
    /// In the same order.
    pub(crate) points: Vec<Point>,
    /// Places of the last winners, in the same order.
    pub(crate) winners: Vec<u32>,
    pub(crate) candidates: Option<Candidates>,
}

impl Queries {
    /// Indexes the rows for searches over `references`.
    ///
    /// # Errors
    /// Rows of another length than the references'.
    pub fn new(references: &Arc<References>, rows: Rows) -> Result<Self, KernelError> {
        if rows.dim() != references.dim() {
            let expected = format!("{} as the reference rows have", references.dim());
            return Err(KernelError::new("length of the query rows", expected, rows.dim()));
        }
        let natural: Vec<u32> = (0..rows.len() as u32).collect();
        let points = project(references.index.axes(), &rows, &natural);
        let (_, order) = KdTree::of(&points);
        let mut sorted = huge_pages::with_capacity(points.len());
        order.par_iter().with_min_len(1024).map(|&i| points[i as usize]).collect_into_vec(&mut sorted);
        let winners = vec![UNKNOWN; rows.len()];
        Ok(Self {
            references: Arc::clone(references),
            rows,
            order,
            points: sorted,
            winners,
            candidates: None,
        })
    }

    /// Number of query rows.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The references that are searched.
    pub fn references(&self) -> &Arc<References> {
        &self.references
    }

    /// The query rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Takes new values of the rows (see [`Rows::replace`]): the next iterate. Order and winners are kept, which is right
    /// at any distance and fast for small ones.
    ///
    /// # Errors
    /// Another number of values, values that are not finite; the old values then stay.
    pub fn update(&mut self, data: &[f32]) -> Result<(), KernelError> {
        self.rows.replace(data)?;
        self.points = project(self.references.index.axes(), &self.rows, &self.order);
        self.candidates = None;
        Ok(())
    }

    /// Starts the next search of query `i` from reference row `winners[i]`. A good guess saves time, a bad one
    /// costs some; results do not depend on it.
    ///
    /// # Errors
    /// A number of winners other than [`Queries::len`], or one that is no reference row.
    pub fn start_from(&mut self, winners: &[u32]) -> Result<(), KernelError> {
        if winners.len() != self.len() {
            let expected = format!("{}, one for each query", self.len());
            return Err(KernelError::new("number of winners", expected, winners.len()));
        }
        if let Some(j) = winners.iter().find(|&&j| j as usize >= self.references.len()) {
            let expected = format!("an index below the {} reference rows", self.references.len());
            return Err(KernelError::new("winner", expected, j));
        }
        for (place, &i) in self.winners.iter_mut().zip(&self.order) {
            *place = self.references.index.place(winners[i as usize] as usize);
        }
        Ok(())
    }
}

impl Queries {
    /// The index that is searched.
    pub(crate) fn index(&self) -> &ReferenceIndex {
        &self.references.index
    }

    /// Whether the row at each position of the order is the same as that before it.
    pub(crate) fn repeats(&self) -> Vec<bool> {
        let buffers = || (vec![0.0; self.rows.dim()], vec![0.0; self.rows.dim()]);
        let same = |(a, b): &mut (Vec<f32>, Vec<f32>), position: usize| {
            if position == 0 || self.points[position - 1].z != self.points[position].z {
                return false;
            }
            self.rows.read(self.order[position - 1] as usize, a);
            self.rows.read(self.order[position] as usize, b);
            a == b
        };
        (0..self.len()).into_par_iter().with_min_len(CHUNK).map_init(buffers, same).collect()
    }
}
