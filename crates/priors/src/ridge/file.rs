//! The published files of convex and weakly convex ridge regularizers.

use crate::denoiser::convolutions::StateDict;
use smalti_base::Result;
use std::path::Path;
use tch::{Kind, Tensor};

/// What the files hold, for readers.
const OF: &str = "a ridge regularizer (CRR.pth or WCRR.pth of its authors: a checkpoint with state_dict.mu_)";

/// What a checkpoint holds.
pub(super) struct Weights {
    /// `[outputs, inputs, k, k]` each.
    pub(super) kernels: Vec<Tensor>,
    /// The coefficients of the increasing part, `[1, knots]`.
    pub(super) convex: Tensor,
    /// What it is multiplied by.
    pub(super) factor: f64,
    /// Those of the part that is taken away, `[1, knots]`.
    pub(super) concave: Tensor,
    /// `[channels, levels]`.
    pub(super) scalings: Tensor,
}

/// The weights of a checkpoint, weakly convex or convex: the entries of `state_dict`; what else there is (the optimizer's state, the last
/// norm) is left aside. Knots lie between `-last_knot` and `last_knot`.
pub(super) fn load(path: &Path, weakly: bool, last_knot: f64) -> Result<Weights> {
    let mut dict = StateDict::load(path, OF)?;
    let mut kernels: Vec<Tensor> = Vec::new();
    loop {
        let name = match kernels.len() {
            // The mean is removed from what is stored.
            0 => "state_dict.conv_layer.conv_layers.0.parametrizations.weight.original".to_owned(),
            k => format!("state_dict.conv_layer.conv_layers.{k}.weight"),
        };
        if !kernels.is_empty() && !dict.has(&name) {
            break;
        }
        let inputs = kernels.last().map_or(1, |kernel| kernel.size()[0]);
        let kernel = dict.take(&name, &[None, Some(inputs), None, None])?;
        if kernel.size()[2] != kernel.size()[3] {
            return Err(
                dict.wrong(format!("has {name} of {:?}, whose kernels are no squares", kernel.size()))
            );
        }
        kernels.push(kernel);
    }
    let channels = kernels.last().map(|kernel| kernel.size()[0]);
    let convex = dict.take("state_dict.activation_cvx.coefficients", &[Some(1), None])?;
    let knots = convex.size()[1];
    if knots < 5 || knots % 2 == 0 {
        let problem = format!("has activations of {knots} knots, not of an odd number from 5 on");
        return Err(dict.wrong(problem));
    }
    let concave = dict.take("state_dict.activation_ccv.coefficients", &[Some(1), Some(knots)])?;
    let mu = dict.take("state_dict.mu_", &[])?;
    let scalings = dict.take("state_dict.spline_scaling.coefficients", &[channels, None])?;
    if scalings.size()[1] < 2 {
        return Err(dict.wrong("has scalings for less than two noise levels".into()));
    }
    // A convex regularizer has no concave part: its coefficients are those that the training began with, the identity.
    let line = Tensor::f_linspace(-last_knot, last_knot, knots, tch::kind::DOUBLE_CPU)?;
    let moved = concave.f_to_kind(Kind::Double)?.f_sub(&line)?.f_abs()?.f_max()?.f_double_value(&[])?;
    let problem = match (weakly, moved > UNTRAINED) {
        (false, true) => "holds a weakly convex regularizer, whose concave part is trained, not a convex one",
        (true, false) => {
            "holds a convex regularizer, whose concave part is not trained, not a weakly convex one"
        }
        _ => "",
    };
    if !problem.is_empty() {
        return Err(dict.wrong(problem.into()));
    }
    let factor = mu.f_double_value(&[])?.exp();
    Ok(Weights { kernels, convex, factor, concave, scalings })
}

/// How far coefficients may lie from the identity that a training leaves alone.
const UNTRAINED: f64 = 1e-6;
