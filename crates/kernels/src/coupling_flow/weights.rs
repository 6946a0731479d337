//! The weights of a flow, as its owner holds them.

use crate::affine::Clamp;

/// A layer `W x + b` of a subnet.
#[derive(Debug, Clone, Copy)]
pub struct LinearWeights<'a> {
    /// `W: [out, in]`, row by row.
    pub weight: &'a [f32],
    /// `b: [out]`.
    pub bias: &'a [f32],
}

/// A coupling and the permutation that follows it on the way from latents to data.
///
/// With `(x1, x2)` of lengths `floor(d/2)` and `d - floor(d/2)`: `y1 = x1 e^s2 + t2`, `(r2, t2) = net2(x2)`, then
/// `y2 = x2 e^s1 + t1`, `(r1, t1) = net1(y1)`, each `s` being the clamp of its `r`; then `v_i = y_perm[i]`.
#[derive(Debug, Clone)]
pub struct CouplingWeights<'a> {
    /// The layers of `net1` and of `net2`, with ReLU between them.
    pub subnets: [Vec<LinearWeights<'a>>; 2],
    /// The soft clamp.
    pub clamp: Clamp,
    /// `perm`.
    pub permutation: &'a [i64],
}
