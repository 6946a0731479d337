//! Bounds of the squared Wasserstein distance hold against the exact one.

use crate::violation::{Trial, Violation};
use smalti_base::{Result, Seed};
use tch::{Kind, Tensor};

/// What bounds `W_2^2` between the distributions that the rows of `x` and `y`, `[n, d]` each, stand for, with the cost
/// `|x_i - y_j|^2`.
pub trait TransportBounds {
    /// A lower bound, and an upper one where there is one.
    ///
    /// # Errors
    /// Those of what it is made of.
    fn bounds(&self, x: &Tensor, y: &Tensor) -> Result<(f64, Option<f64>)>;
}

/// Rows of each side: few enough for all assignments to be tried.
const ROWS: usize = 6;

/// Values that kernels round to float32 move a squared distance by this, relative to the largest.
const ROUNDING: f64 = 1e-6;

/// `lower <= W_2^2 <= upper`, where `W_2^2` is the least mean cost of all assignments of six rows of three values to six
/// others, and `lower >= (1 - gap) W_2^2`: for rows that are far apart, nearly equal, equal in parts, and all equal.
///
/// # Errors
/// The [`Violation`].
pub fn transport_bounds(
    subject: &str,
    bounds: &dyn TransportBounds,
    gap: f64,
    seed: Seed,
) -> std::result::Result<(), Violation> {
    let trial = Trial { law: "bounds of transport", subject };
    let draw = |name| seed.at(name, 0).uniform(&[ROWS as i64, 3]).to_kind(Kind::Double);
    let (x, y) = (draw("x"), draw("y"));
    for (what, x) in [
        ("rows far apart", x.shallow_clone()),
        ("rows nearly equal", &y.flip([0]) + 0.03 * &x),
        ("rows equal in parts", (&x * 2.0).floor()),
        ("equal rows", x.zeros_like() + 0.4),
    ] {
        let y = if what == "rows equal in parts" { (&y * 2.0).floor() } else { y.shallow_clone() };
        let cost = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum_dim_intlist(2i64, false, Kind::Double);
        let exact = least(&cost, 0, &mut [false; ROWS]) / ROWS as f64;
        let rounding = ROUNDING * cost.max().double_value(&[]);
        let (lower, upper) = trial.ok(bounds.bounds(&x, &y))?;
        let told = |bound: &str, value: f64| format!("{what}, {bound} {value:.6e} of {exact:.6e}, off by");
        trial.at_most(rounding, lower - exact, told("lower bound", lower))?;
        trial.at_most(rounding + gap * exact, exact - lower, told("lower bound", lower))?;
        if let Some(upper) = upper {
            trial.at_most(rounding, exact - upper, told("upper bound", upper))?;
        }
    }
    Ok(())
}

/// The least cost of giving the rows from `row` on to columns that are not taken.
fn least(cost: &Tensor, row: usize, taken: &mut [bool; ROWS]) -> f64 {
    if row == ROWS {
        return 0.0;
    }
    let mut least_of_all = f64::INFINITY;
    for column in 0..ROWS {
        if !taken[column] {
            taken[column] = true;
            let of_this = cost.double_value(&[row as i64, column as i64]) + least(cost, row + 1, taken);
            taken[column] = false;
            least_of_all = least_of_all.min(of_this);
        }
    }
    least_of_all
}
