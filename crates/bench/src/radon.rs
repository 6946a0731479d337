//! The comparisons of the projector with ASTRA and deepinv: same image, same sinogram, geometry of LoDoPaB-CT.

use crate::answer::Answer;
use crate::compare::Comparison;
use crate::fixtures;
use crate::peer::PeerSpec;
use crate::transport::{answer, write};
use smalti_base::lodopab::Part;
use smalti_base::{Error, Result};
use smalti_methods::synthetic::chest;
use smalti_operators::{LinearOperator, Operator, ParallelBeam, Radon};
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The names of the comparisons.
pub const NAMES: [&str; 2] = ["radon_forward_362", "radon_adjoint_362"];

/// The comparison of this name; its inputs are written into `folder`.
///
/// The values are the norm of what was computed and 1 minus its distance from what we computed, as a share of that
/// norm: peers get ours as `expected`.
///
/// # Errors
/// [`Error::Value`] for a name that is not in [`NAMES`]; where the inputs cannot be written.
pub fn comparison(name: &'static str, folder: &Path) -> Result<Comparison> {
    let how = match name {
        "radon_forward_362" => "forward",
        "radon_adjoint_362" => "adjoint",
        _ => return Err(Error::value("name of the comparison", NAMES.join(", "), name)),
    };
    let a = Radon::new(ParallelBeam::lodopab());
    let side = a.domain().height;
    let image = chest(side, side, fixtures::seed(), Part::Test, 0)?;
    let sinogram = a.apply(&image)?;
    let (input, expected) = match how {
        "forward" => (image, sinogram),
        _ => (sinogram.shallow_clone(), a.adjoint(&sinogram)?),
    };
    let (pixels, detector) = (a.beam().pixels(), a.beam().detector());
    let lengths = Tensor::f_from_slice(&[pixels.size, detector.spacing])?;
    let angles = Tensor::f_from_slice(a.beam().angle_list())?;
    let file = [("input", &input), ("expected", &expected), ("angles", &angles), ("lengths", &lengths)];
    let inputs = write(&file, name, folder)?;
    let ours = move |_| -> Result<Answer> {
        let start = Instant::now();
        let output = if how == "forward" { a.apply(&input) } else { a.adjoint(&input) }?;
        let seconds = start.elapsed().as_secs_f64();
        let norm = |x: &Tensor| Ok::<f64, Error>(x.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?);
        let size = norm(&output)?;
        let distance = norm(&output.f_sub(&expected)?)? / size;
        Ok(answer(seconds, &[("norm", size), ("1 - distance from ours", 1.0 - distance)]))
    };
    let peer = |name, package: &str| PeerSpec {
        name,
        script: "radon.py",
        arguments: vec![package.into(), how.into()],
    };
    Ok(Comparison {
        name,
        size: format!("{side} x {side} pixels 1000 angles 513 rays"),
        // Other models of the same integral.
        tolerance: 1e-2,
        inputs,
        ours: Box::new(ours),
        peers: vec![peer("astra-cpu-line", "astra"), peer("deepinv", "deepinv")],
    })
}
