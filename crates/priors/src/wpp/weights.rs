//! Weights of patches from weights of pixels.

use smalti_base::{Error, Result};
use smalti_kernels::rows::Rows;

/// The mean weight of the pixels of every patch, for `batch` images with the same weights, normalised to sum 1.
pub(super) fn of_patches(rows: &Rows, batch: usize, scale: usize) -> Result<Vec<f64>> {
    let mut row = vec![0.0; rows.dim()];
    let mut weights: Vec<f64> = (0..rows.len())
        .map(|i| {
            rows.read(i, &mut row);
            row.iter().map(|&w| f64::from(w)).sum::<f64>().max(0.0)
        })
        .collect();
    let total = weights.iter().sum::<f64>() * batch as f64;
    if total <= 0.0 {
        return Err(Error::value(
            format!("weights of the pixels on scale {scale}"),
            "some patch with weight",
            "none",
        ));
    }
    weights.iter_mut().for_each(|w| *w /= total);
    Ok(weights.repeat(batch))
}
