//! Subnets and couplings, packed for the passes of [`super::block`].

use super::panels::{Active, GROUPS, Line, PATCHES, Panels};
use super::weights::{CouplingWeights, LinearWeights};
use crate::affine::Clamp;
use crate::elementary::{atan, exp};
use crate::error::KernelError;
use crate::simd::{LANES, Lanes};

/// `W` and `W^T` of a layer `W x + b`.
#[derive(Debug, Clone)]
struct Layer {
    forth: Panels,
    back: Panels,
}

/// `W_K relu(... relu(W_1 x + b_1) ...) + b_K`.
#[derive(Debug, Clone)]
struct Net {
    hidden: Vec<Layer>,
    last: Layer,
}

/// One coupling, and the permutation before it on the way from data to latents.
#[derive(Debug, Clone)]
pub(super) struct Coupling {
    /// Length of `x1`.
    first: usize,
    nets: [Net; 2],
    clamp: Clamp,
    /// Where the values that come in stand before the permutation.
    source: Vec<usize>,
}

/// What a pass through one coupling leaves behind for the way back.
pub(super) struct Left<'a> {
    /// `e^-s`.
    pub(super) scale: &'a mut [Line],
    /// `s'(r)`.
    pub(super) slope: &'a mut [Line],
    /// Of all hidden units of both nets.
    pub(super) active: &'a mut [Active],
}

/// Room for what is needed within one coupling only.
#[derive(Debug)]
pub(super) struct Scratch {
    given: Vec<Line>,
    out: Vec<Line>,
    hidden: [Vec<Line>; 2],
}

impl Scratch {
    pub(super) fn new(dim: usize, couplings: &[Coupling]) -> Self {
        let nets = couplings.iter().flat_map(|c| &c.nets);
        let widest = nets.flat_map(|net| &net.hidden).map(|layer| layer.forth.rows()).max().unwrap_or(0);
        let [given, out, one, other] = [dim, 2 * dim, widest, widest].map(|n| vec![Line::ZERO; n]);
        Self { given, out, hidden: [one, other] }
    }
}

impl Layer {
    fn new(layer: &LinearWeights<'_>, inputs: usize, wide: bool) -> Result<Self, KernelError> {
        let (weight, outputs) = (layer.weight, layer.bias.len());
        if inputs == 0 || outputs == 0 || weight.len() != inputs * outputs {
            let expected = format!("{outputs} x {inputs} values, and not none");
            return Err(KernelError::new("weight of a layer", expected, weight.len()));
        }
        let at = |row: usize, column: usize| weight[row * inputs + column];
        Ok(Self {
            forth: Panels::new([outputs, inputs], wide, at, |row| layer.bias[row]),
            back: Panels::new([inputs, outputs], wide, |row, column| at(column, row), |_| 0.0),
        })
    }
}

impl Net {
    fn new(
        layers: &[LinearWeights<'_>],
        [inputs, outputs]: [usize; 2],
        wide: bool,
    ) -> Result<Self, KernelError> {
        let mut width = inputs;
        let mut hidden = Vec::with_capacity(layers.len());
        for layer in layers {
            hidden.push(Layer::new(layer, width, wide)?);
            width = layer.bias.len();
        }
        let last = hidden.pop().filter(|_| width == outputs);
        let last = last.ok_or_else(|| {
            let expected = format!("{outputs}, twice the length of the half that it transforms");
            KernelError::new("outputs of a subnet", expected, width)
        })?;
        Ok(Self { hidden, last })
    }

    /// Number of hidden units.
    fn units(&self) -> usize {
        self.hidden.iter().map(|layer| layer.forth.rows()).sum()
    }

    fn forward<L: Lanes>(
        &self,
        lanes: L,
        x: &[Line],
        [from, to]: &mut [Vec<Line>; 2],
        active: &mut [Active],
        out: &mut [Line],
    ) {
        let (mut from, mut to, mut rest, mut width) = (from, to, active, None);
        for layer in &self.hidden {
            let rows = layer.forth.rows();
            let (here, after) = rest.split_at_mut(rows);
            layer.forth.relu(lanes, width.map_or(x, |n| &from[..n]), here, &mut to[..rows]);
            std::mem::swap(&mut from, &mut to);
            (rest, width) = (after, Some(rows));
        }
        self.last.forth.write(lanes, width.map_or(x, |n| &from[..n]), out);
    }

    /// Adds the gradient in the inputs to `to`, given that in the outputs.
    fn pull_back<L: Lanes>(
        &self,
        lanes: L,
        grad: &[Line],
        [from, to]: &mut [Vec<Line>; 2],
        active: &[Active],
        grad_x: &mut [Line],
    ) {
        let (mut from, mut to, mut rest, mut width) = (from, to, active, None);
        for (k, layer) in self.hidden.iter().enumerate().rev() {
            let above = self.hidden.get(k + 1).unwrap_or(&self.last);
            let rows = layer.forth.rows();
            let (before, here) = rest.split_at(rest.len() - rows);
            above.back.masked(lanes, width.map_or(grad, |n| &from[..n]), here, &mut to[..rows]);
            std::mem::swap(&mut from, &mut to);
            (rest, width) = (before, Some(rows));
        }
        let lowest = self.hidden.first().unwrap_or(&self.last);
        lowest.back.add(lanes, width.map_or(grad, |n| &from[..n]), grad_x);
    }
}

impl Coupling {
    pub(super) fn new(dim: usize, weights: &CouplingWeights<'_>, wide: bool) -> Result<Self, KernelError> {
        let (n1, n2) = (dim / 2, dim - dim / 2);
        let mut source = vec![dim; dim];
        let wrong = || {
            KernelError::new(
                "permutation",
                format!("each of 0..{dim} once"),
                format!("{:?}", weights.permutation),
            )
        };
        if weights.permutation.len() != dim {
            return Err(wrong());
        }
        for (i, &p) in weights.permutation.iter().enumerate() {
            match usize::try_from(p).ok().and_then(|p| source.get_mut(p)) {
                Some(slot) if *slot == dim => *slot = i,
                _ => return Err(wrong()),
            }
        }
        let [net1, net2] = &weights.subnets;
        let nets = [Net::new(net1, [n1, 2 * n2], wide)?, Net::new(net2, [n2, 2 * n1], wide)?];
        Ok(Self { first: n1, nets, clamp: weights.clamp, source })
    }

    /// Number of hidden units of both nets.
    pub(super) fn units(&self) -> usize {
        self.nets.iter().map(Net::units).sum()
    }

    /// From data towards latents: `x` from what stands before the permutation; `sum s` is added to `sums`.
    pub(super) fn forward<L: Lanes>(
        &self,
        lanes: L,
        before: &[Line],
        x: &mut [Line],
        left: Left<'_>,
        sums: &mut [f64; PATCHES],
        scratch: &mut Scratch,
    ) {
        for (to, &from) in scratch.given.iter_mut().zip(&self.source) {
            *to = before[from];
        }
        let (y1, y2) = scratch.given.split_at(self.first);
        let (x1, x2) = x.split_at_mut(self.first);
        let (scale1, scale2) = left.scale.split_at_mut(self.first);
        let (slope1, slope2) = left.slope.split_at_mut(self.first);
        let (active1, active2) = left.active.split_at_mut(self.nets[0].units());
        let out = &mut scratch.out[..2 * x2.len()];
        self.nets[0].forward(lanes, y1, &mut scratch.hidden, active1, out);
        undo(lanes, self.clamp, out, y2, x2, [scale2, slope2], sums);
        let out = &mut scratch.out[..2 * x1.len()];
        self.nets[1].forward(lanes, x2, &mut scratch.hidden, active2, out);
        undo(lanes, self.clamp, out, y1, x1, [scale1, slope1], sums);
    }

    /// The way back for a loss that contains `sum s`: from the gradient in `x` to that in what stands before the permutation,
    /// both in `grad`.
    pub(super) fn pull_back<L: Lanes>(
        &self,
        lanes: L,
        x: &[Line],
        left: Left<'_>,
        grad: &mut [Line],
        scratch: &mut Scratch,
    ) {
        let (x1, x2) = x.split_at(self.first);
        let (g1, g2) = grad.split_at_mut(self.first);
        let (scale1, scale2) = left.scale.split_at(self.first);
        let (slope1, slope2) = left.slope.split_at(self.first);
        let (active1, active2) = left.active.split_at(self.nets[0].units());
        let out = &mut scratch.out[..2 * x1.len()];
        undo_back(lanes, g1, [x1, scale1, slope1], out);
        self.nets[1].pull_back(lanes, out, &mut scratch.hidden, active2, g2);
        let out = &mut scratch.out[..2 * x2.len()];
        undo_back(lanes, g2, [x2, scale2, slope2], out);
        self.nets[0].pull_back(lanes, out, &mut scratch.hidden, active1, g1);
        scratch.given.copy_from_slice(grad);
        for (from, &to) in scratch.given.iter().zip(&self.source) {
            grad[to] = *from;
        }
    }
}

/// `x = (y - t) e^-s(r)` with `r` and `t` the halves of `out`, its scale and the slope of `s`; `s` is added to `sums`.
fn undo<L: Lanes>(
    lanes: L,
    clamp: Clamp,
    out: &[Line],
    y: &[Line],
    x: &mut [Line],
    [scale, slope]: [&mut [Line]; 2],
    sums: &mut [f64; PATCHES],
) {
    let (raw, shift) = out.split_at(y.len());
    let Clamp { bound, slope: inside } = clamp;
    lanes.run(
        #[inline(always)]
        || {
            let results = x.iter_mut().zip(scale).zip(slope);
            for (((r, t), y), ((x, scale), slope)) in raw.iter().zip(shift).zip(y).zip(results) {
                let mut s = Line::ZERO;
                for g in 0..GROUPS {
                    for l in 0..LANES {
                        let inner = r.0[g][l] * inside;
                        s.0[g][l] = bound * atan(inner);
                        scale.0[g][l] = exp(-s.0[g][l]);
                        slope.0[g][l] = bound * inside / (1.0 + inner * inner);
                        x.0[g][l] = (y.0[g][l] - t.0[g][l]) * scale.0[g][l];
                    }
                }
                for (sum, s) in sums.iter_mut().zip(s.values()) {
                    *sum += f64::from(*s);
                }
            }
        },
    );
}

/// The way back through [`undo`] for a loss that contains `sum s`: the gradient in `x` becomes that in `y`, and that in `out`
/// is computed.
fn undo_back<L: Lanes>(lanes: L, grad: &mut [Line], [x, scale, slope]: [&[Line]; 3], out: &mut [Line]) {
    let (of_raw, of_shift) = out.split_at_mut(x.len());
    lanes.run(
        #[inline(always)]
        || {
            let given = x.iter().zip(scale).zip(slope);
            for (((x, scale), slope), ((g, raw), shift)) in
                given.zip(grad.iter_mut().zip(of_raw).zip(of_shift))
            {
                for k in 0..GROUPS {
                    for l in 0..LANES {
                        raw.0[k][l] = (1.0 - g.0[k][l] * x.0[k][l]) * slope.0[k][l];
                        g.0[k][l] *= scale.0[k][l];
                        shift.0[k][l] = -g.0[k][l];
                    }
                }
            }
        },
    );
}
