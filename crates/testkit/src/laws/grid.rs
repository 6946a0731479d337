//! Output pixels lie where the grid says.

use crate::violation::{Trial, Violation};
use smalti_operators::Operator;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-3;

/// The response to a Gaussian blob has its centre of mass at the centre of the blob, in input pixels by
/// `origin + spacing (i, j)`, to a thousandth of a pixel, in every channel.
///
/// For operators with a symmetric, non-negative response to every pixel (blur, downsampling, compositions of
/// these); the domain must be about 12 spacings plus the kernel wide, so that the blob stays clear of the
/// edges.
///
/// # Errors
/// The [`Violation`].
pub fn grid(subject: &str, f: &dyn Operator) -> Result<(), Violation> {
    let trial = Trial { law: "the grid", subject };
    let (domain, grid) = (f.domain(), f.grid());
    // Not in the middle, and between pixels.
    let centre = (domain.height as f64 / 2.0 + 0.3, domain.width as f64 / 2.0 - 1.4);
    let axis =
        |n: i64, origin: f64, spacing: f64| Tensor::arange(n, (Kind::Double, Device::Cpu)) * spacing + origin;
    let bell = |n: i64, c: f64, width: f64| ((axis(n, -c, 1.0) / width).square() * -0.5).exp();
    let rows = bell(domain.height, centre.0, grid.spacing.0.max(1.0));
    let columns = bell(domain.width, centre.1, grid.spacing.1.max(1.0));
    let blob = rows.outer(&columns).expand(domain.batch(1), false);
    let response = trial.ok(f.apply(&blob))?;
    for channel in 0..response.size()[1] {
        let plane = response.get(0).get(channel);
        let mean = |dim: i64, positions: Tensor| {
            let mass = plane.sum_dim_intlist(dim, false, Kind::Double);
            ((&mass * positions).sum(Kind::Double) / mass.sum(Kind::Double)).double_value(&[])
        };
        let row = mean(1, axis(plane.size()[0], grid.origin.0, grid.spacing.0));
        let column = mean(0, axis(plane.size()[1], grid.origin.1, grid.spacing.1));
        let detail = format!("the blob at {centre:?} is seen at ({row:.4}, {column:.4}), distance in pixels");
        trial.at_most(TOLERANCE, (row - centre.0).hypot(column - centre.1), detail)?;
    }
    Ok(())
}
