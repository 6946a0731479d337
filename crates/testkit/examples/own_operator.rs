//! An operator of one's own, held to the laws of linear operators:
//! `cargo run --release -p smalti-testkit --example own_operator`

use smalti_operators::prelude::*;
use smalti_testkit::{Violation, laws};

/// Differences of neighbouring columns; its adjoint takes the column `shift` to the right.
struct Differences {
    shift: i64,
}

impl Operator for Differences {
    fn domain(&self) -> Space {
        Space::image(1, 6, 8)
    }
    fn range(&self) -> Space {
        self.domain()
    }
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x - x.f_constant_pad_nd([1, -1])?)
    }
    fn vjp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.adjoint(v)
    }
}

impl LinearOperator for Differences {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        Ok(v - v.f_constant_pad_nd([-self.shift, self.shift])?)
    }
}

fn main() -> std::result::Result<(), Violation> {
    laws::linearity("differences", &Differences { shift: 1 }, Seed::new(1))?;
    laws::adjoint("differences", &Differences { shift: 1 }, Seed::new(1))?;
    if let Err(violation) = laws::adjoint("a wrong adjoint", &Differences { shift: -1 }, Seed::new(1)) {
        println!("{violation}");
    }
    Ok(())
}
