//! Output pixels lie where the grid says.

use crate::violation::{Trial, Violation};
use smalti_operators::PixelGrid;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-3;

/// The response to a Gaussian blob has its centre of mass at the centre of the blob, in input pixels by
/// `origin + spacing (i, j)` and the grid's depth, to a thousandth of a pixel, in every channel.
///
/// For operators with a symmetric, non-negative response to every pixel (blur, downsampling, compositions of
/// these); the domain must be about 12 spacings plus the kernel wide, so that the blob stays clear of the
/// edges.
///
/// # Errors
/// The [`Violation`].
pub fn grid(subject: &str, f: &dyn PixelGrid) -> Result<(), Violation> {
    let trial = Trial { law: "the grid", subject };
    let (domain, grid) = (f.domain(), f.grid());
    // Origin and spacing along every axis, and the centre of the blob: not in the middle, and between pixels.
    let depth = domain.depth.map(|_| (grid.depth.unwrap_or((0.0, 1.0)), 0.7));
    let plane = [((grid.origin.0, grid.spacing.0), 0.3), ((grid.origin.1, grid.spacing.1), -1.4)];
    let lines = domain.axes().into_iter().zip(depth.into_iter().chain(plane));
    let lines: Vec<(i64, (f64, f64), f64)> =
        lines.map(|(n, (line, aside))| (n, line, n as f64 / 2.0 + aside)).collect();
    let axis =
        |n: i64, origin: f64, spacing: f64| Tensor::arange(n, (Kind::Double, Device::Cpu)) * spacing + origin;
    let along = |t: Tensor, axis: usize| {
        let mut shape = vec![1; lines.len()];
        shape[axis] = -1;
        t.reshape(shape)
    };
    let mut blob = Tensor::ones(domain.axes(), (Kind::Double, Device::Cpu));
    for (k, &(n, (_, spacing), centre)) in lines.iter().enumerate() {
        let bell = ((axis(n, -centre, 1.0) / spacing.max(1.0)).square() * -0.5).exp();
        blob *= along(bell, k);
    }
    let response = trial.ok(f.apply(&blob.expand(domain.batch(1), false)))?;
    for channel in 0..response.size()[1] {
        let seen = response.get(0).get(channel);
        let mass = seen.sum(Kind::Double).double_value(&[]);
        let mut square = 0.0;
        let mut found = Vec::new();
        for (k, &(_, (origin, spacing), centre)) in lines.iter().enumerate() {
            let positions = along(axis(seen.size()[k], origin, spacing), k);
            let mean = (&seen * positions).sum(Kind::Double).double_value(&[]) / mass;
            square += (mean - centre).powi(2);
            found.push(format!("{mean:.4} for {centre:.4}"));
        }
        let detail = format!("the blob is seen at ({}), distance in pixels", found.join(", "));
        trial.at_most(TOLERANCE, square.sqrt(), detail)?;
    }
    Ok(())
}
