//! Broken bounds of transport.

use crate::laws::TransportBounds;
use smalti_base::Result;
use tch::{Kind, Tensor};

/// A lower bound that is scaled by 1.02: above the distance where it was close to it.
pub struct ScaledBound(pub Box<dyn TransportBounds>);

impl TransportBounds for ScaledBound {
    fn bounds(&self, x: &Tensor, y: &Tensor) -> Result<(f64, Option<f64>)> {
        let (lower, upper) = self.0.bounds(x, y)?;
        Ok((1.02 * lower, upper))
    }
}

/// The cost of sending every row to the nearest one, whatever that has received already, taken for an upper bound: it is
/// that of no transport plan.
pub struct NearestRows(pub Box<dyn TransportBounds>);

impl TransportBounds for NearestRows {
    fn bounds(&self, x: &Tensor, y: &Tensor) -> Result<(f64, Option<f64>)> {
        let cost = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum_dim_intlist(2i64, false, Kind::Double);
        let nearest = cost.amin([1i64], false).mean(Kind::Double).double_value(&[]);
        Ok((self.0.bounds(x, y)?.0, Some(nearest)))
    }
}
