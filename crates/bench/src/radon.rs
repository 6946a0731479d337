//! The comparisons of the projector with ASTRA and deepinv: same image, same sinogram, geometry of LoDoPaB-CT, and a
//! fan over the same slice with ASTRA.

use crate::answer::Answer;
use crate::compare::Comparison;
use crate::fixtures;
use crate::peer::PeerSpec;
use crate::transport::{answer, write};
use smalti_base::lodopab::Part;
use smalti_base::{Error, Result};
use smalti_methods::synthetic::chest;
use smalti_operators::radon::refused;
use smalti_operators::{Curve, Detector, FanBeam, LinearOperator, Operator, ParallelBeam, Radon};
use std::f64::consts::TAU;
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The names of the comparisons.
pub const NAMES: [&str; 4] = ["radon_forward_362", "radon_adjoint_362", "fan_forward_362", "fan_adjoint_362"];

/// Source and detector on either side of the slice, in metres from the axis of rotation.
const DISTANCES: [f64; 2] = [0.5, 0.5];

/// 1000 views of the whole turn, on a flat detector that sees the whole slice.
fn fan() -> Result<Radon> {
    let pixels = ParallelBeam::lodopab().pixels();
    let angles = (0..1000).map(|k| f64::from(k) * TAU / 1000.0).collect();
    let detector = Detector::centred(560, 0.791 / 560.0);
    Ok(Radon::new(FanBeam::new(angles, pixels, detector, Curve::Flat, DISTANCES).map_err(refused)?))
}

/// The comparison of this name; its inputs are written into `folder`.
///
/// The values are the norm of what was computed and 1 minus its distance from what we computed, as a share of that
/// norm: peers get ours as `expected`.
///
/// # Errors
/// [`Error::Value`] for a name that is not in [`NAMES`]; where the inputs cannot be written.
pub fn comparison(name: &'static str, folder: &Path) -> Result<Comparison> {
    let parallel = || Ok(Radon::new(ParallelBeam::lodopab()));
    let (how, a) = match name {
        "radon_forward_362" => ("forward", parallel()),
        "radon_adjoint_362" => ("adjoint", parallel()),
        "fan_forward_362" => ("forward", fan()),
        "fan_adjoint_362" => ("adjoint", fan()),
        _ => return Err(Error::value("name of the comparison", NAMES.join(", "), name)),
    };
    let (a, is_fan) = (a?, name.starts_with("fan"));
    let side = a.domain().height;
    let image = chest(side, side, fixtures::seed(), Part::Test, 0)?;
    let sinogram = a.apply(&image)?;
    let (input, expected) = match how {
        "forward" => (image, sinogram),
        _ => (sinogram.shallow_clone(), a.adjoint(&sinogram)?),
    };
    let (pixels, detector) = (a.beam().pixels(), a.beam().detector());
    let mut lengths = vec![pixels.size, detector.spacing];
    if is_fan {
        lengths.extend(DISTANCES);
    }
    let lengths = Tensor::f_from_slice(&lengths)?;
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
    let mut peers = vec![peer("astra-cpu-line", "astra")];
    if !is_fan {
        peers.push(peer("deepinv", "deepinv"));
    }
    Ok(Comparison {
        name,
        size: format!("{side} x {side} pixels 1000 angles {} rays", detector.count),
        // Other models of the same integral.
        tolerance: 1e-2,
        inputs,
        ours: Box::new(ours),
        peers,
    })
}
