//! A few blocks of patches on their way through all couplings and back.

use super::packed::{Coupling, Left, Scratch};
use super::panels::{Active, Line, PATCHES};
use crate::mlp::Matrix;
use crate::simd::{Kernel, Lanes};

/// Blocks that pass a coupling one after another, so that its weights come from afar once for all of them.
const BLOCKS: usize = 4;

/// Patches of one piece of work.
pub(super) const TOGETHER: usize = BLOCKS * PATCHES;

/// One block: what its patches are and what they leave behind.
#[derive(Debug)]
struct Block {
    /// Latents, what every coupling makes of what it is given, and patches: `[couplings + 1, dim]`.
    states: Vec<Line>,
    /// `[couplings, dim]`.
    scales: Vec<Line>,
    slopes: Vec<Line>,
    /// `[couplings, units]`, where the couplings have that many hidden units each.
    active: Vec<Active>,
    /// `sum s` so far.
    sums: [f64; PATCHES],
    /// The gradient in one of the states.
    grad: Vec<Line>,
}

/// Memory for one piece of work after another.
#[derive(Debug)]
pub(super) struct Room {
    blocks: Vec<Block>,
    scratch: Scratch,
}

impl Room {
    pub(super) fn new(dim: usize, couplings: &[Coupling]) -> Self {
        let count = couplings.len();
        let units: usize = couplings.iter().map(Coupling::units).sum();
        let block = || Block {
            states: vec![Line::ZERO; (count + 1) * dim],
            scales: vec![Line::ZERO; count * dim],
            slopes: vec![Line::ZERO; count * dim],
            active: vec![Active::default(); units],
            sums: [0.0; PATCHES],
            grad: vec![Line::ZERO; dim],
        };
        Self { blocks: (0..BLOCKS).map(|_| block()).collect(), scratch: Scratch::new(dim, couplings) }
    }
}

/// The negative log-likelihood of at most [`TOGETHER`] patches, and its gradient where it is asked for.
pub(super) struct Piece<'a> {
    pub(super) dim: usize,
    pub(super) couplings: &'a [Coupling],
    pub(super) patches: Matrix<'a>,
    pub(super) nll: &'a mut [f32],
    pub(super) grad: Option<&'a mut [f32]>,
    pub(super) room: &'a mut Room,
}

impl Kernel for Piece<'_> {
    type Output = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { dim, couplings, patches, nll, grad, room } = self;
        let Room { blocks, scratch } = room;
        let blocks = &mut blocks[..nll.len().div_ceil(PATCHES)];
        for (block, rows) in blocks.iter_mut().zip(patches.values.chunks(PATCHES * patches.stride)) {
            block.load(couplings.len() * dim, rows, patches.stride);
        }
        let mut units: usize = couplings.iter().map(Coupling::units).sum();
        for (k, coupling) in couplings.iter().enumerate().rev() {
            units -= coupling.units();
            for block in &mut *blocks {
                let (before, given) = block.states.split_at_mut((k + 1) * dim);
                let left = Left {
                    scale: &mut block.scales[k * dim..][..dim],
                    slope: &mut block.slopes[k * dim..][..dim],
                    active: &mut block.active[units..][..coupling.units()],
                };
                coupling.forward(
                    lanes,
                    &given[..dim],
                    &mut before[k * dim..],
                    left,
                    &mut block.sums,
                    scratch,
                );
            }
        }
        for (block, nll) in blocks.iter_mut().zip(nll.chunks_mut(PATCHES)) {
            block.grad.copy_from_slice(&block.states[..dim]);
            for line in &block.grad {
                for (sum, z) in block.sums.iter_mut().zip(line.values()) {
                    *sum += 0.5 * f64::from(*z) * f64::from(*z);
                }
            }
            for (nll, sum) in nll.iter_mut().zip(block.sums) {
                *nll = sum as f32;
            }
        }
        let Some(grad) = grad else { return };
        for (k, coupling) in couplings.iter().enumerate() {
            for block in &mut *blocks {
                let left = Left {
                    scale: &mut block.scales[k * dim..][..dim],
                    slope: &mut block.slopes[k * dim..][..dim],
                    active: &mut block.active[units..][..coupling.units()],
                };
                let x = &block.states[k * dim..][..dim];
                coupling.pull_back(lanes, x, left, &mut block.grad, scratch);
            }
            units += coupling.units();
        }
        for (block, grad) in blocks.iter().zip(grad.chunks_mut(PATCHES * dim)) {
            for (column, line) in block.grad.iter().enumerate() {
                for (row, value) in grad.chunks_exact_mut(dim).zip(line.values()) {
                    row[column] = *value;
                }
            }
        }
    }
}

impl Block {
    /// Takes patches in, from this line of the states on; where there are fewer than [`PATCHES`], the others are zero.
    fn load(&mut self, first: usize, rows: &[f32], stride: usize) {
        self.sums.fill(0.0);
        let patches = &mut self.states[first..];
        patches.fill(Line::ZERO);
        for (l, row) in rows.chunks(stride).enumerate() {
            for (line, value) in patches.iter_mut().zip(row) {
                line.values_mut()[l] = *value;
            }
        }
    }
}
