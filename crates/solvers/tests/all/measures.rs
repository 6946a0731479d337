//! What tensors are compared by.

use tch::{Kind, Tensor};

pub(crate) fn sum(t: &Tensor) -> f64 {
    t.sum(Kind::Double).double_value(&[])
}

pub(crate) fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// `[1, 2 C, H, W]` to the length of every pixel's gradient, written anew.
pub(crate) fn lengths(q: &Tensor) -> Tensor {
    let halves = q.chunk(2, 1);
    (halves[0].square() + halves[1].square()).sqrt()
}
