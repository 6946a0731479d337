//! The layers on images and the conditional flows there are, in float64, away from their start.

use super::Named;
use smalti_base::{Result, Seed, Space};
use smalti_flows::{
    Bijection, ClampForm, ConditionalAffine, ConvCoupling, DataConsistency, ImageLayer, ImageNorm,
    Permutation, SoftClamp, Squeeze, Unsqueeze, WppFlow, WppFlowShape,
};
use smalti_operators::{Boundary, Convolution, Operator, PseudoInverse};
use tch::{Device, Kind, Tensor};

/// A layer, a batch of images for it, and the condition where it takes one.
#[derive(Debug)]
pub struct ImageCase {
    /// The layer.
    pub layer: Named<dyn ImageLayer>,
    /// Images, `[B, C, H, W]`.
    pub batch: Tensor,
    /// `[B, c, H, W]`.
    pub cond: Option<Tensor>,
}

impl ImageCase {
    /// Whether it has a log-determinant to get wrong.
    pub fn changes_volume(&self) -> bool {
        !self.layer.subject.parameters().is_empty()
    }
}

/// Every layer on images.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn image_layers() -> Result<Vec<ImageCase>> {
    let seed = Seed::new(31);
    let clamp = |form| SoftClamp::new(form, 1.3);
    let coupling = |name: &str, channels, condition, side, form| {
        ConvCoupling::new(channels, condition, (side, 6), clamp(form)?, &mut seed.at(name, 0))
    };
    let mut all: Vec<ImageCase> = Vec::new();
    let mut add = |name: &str, mut layer: Box<dyn ImageLayer>, size: [i64; 4], condition: i64| {
        let mut weights = seed.at(name, 1);
        for parameter in layer.parameters_mut() {
            let value = weights.normal(&parameter.size()).to_kind(Kind::Double) * 0.4;
            *parameter = value.set_requires_grad(true);
        }
        let [b, _, h, w] = size;
        let batch = seed.at(name, 2).normal(&size).to_kind(Kind::Double);
        let cond =
            (condition > 0).then(|| seed.at(name, 3).uniform(&[b, condition, h, w]).to_kind(Kind::Double));
        all.push(ImageCase { layer: Named::new(name, layer), batch, cond });
    };
    let (alpha, over) = (ClampForm::AlphaAtan, ClampForm::AtanOverAlpha);
    add("3x3 coupling", Box::new(coupling("a", 4, 0, 3, alpha)?), [3, 4, 2, 3], 0);
    add("1x1 coupling", Box::new(coupling("b", 6, 0, 1, over)?), [3, 6, 3, 2], 0);
    add("conditional coupling", Box::new(coupling("c", 4, 2, 3, alpha)?), [4, 4, 3, 2], 2);
    let affine = ConditionalAffine::new(3, 1, (3, 6), clamp(alpha)?, &mut seed.at("d", 0))?;
    add("conditional affine map", Box::new(affine), [3, 3, 2, 4], 1);
    add("actnorm, latent to data", Box::new(ImageNorm::identity(3)), [3, 3, 4, 2], 0);
    add("permutation of images", Box::new(Permutation::random(5, &mut seed.at("e", 0))?), [3, 5, 2, 3], 0);
    add("squeeze", Box::new(Squeeze), [3, 8, 1, 2], 0);
    add("unsqueeze", Box::new(Unsqueeze), [3, 2, 4, 2], 0);
    Ok(all)
}

/// A bijection on images under a condition.
#[derive(Debug)]
pub struct ConsistencyCase {
    /// The layer.
    pub layer: Named<dyn Bijection>,
    /// Images, `[B, 1, H, W]`.
    pub batch: Tensor,
    /// Observations, `[B, 1, H', W']` in the range of the layer's operator.
    pub cond: Tensor,
}

/// Data consistency for operators of superresolution by 2, one that continues images periodically and one that does not look
/// beyond them.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn consistency() -> Result<Vec<ConsistencyCase>> {
    let seed = Seed::new(33);
    let solver = PseudoInverse { tolerance: 1e-14, max_iterations: 500 };
    [("wrapped", Boundary::Periodic, 0.6), ("valid", Boundary::Valid, 1.7)]
        .into_iter()
        .map(|(name, form, scale)| {
            let operator = Convolution::superresolution(Space::image(1, 6, 8), 3, 0.8, 2, form)?;
            let draw = |what, size: Vec<i64>| seed.at(what, 0).normal(&size).to_kind(Kind::Double);
            let (batch, cond) =
                (draw("images", operator.domain().batch(3)), draw("y", operator.range().batch(3)));
            let layer = DataConsistency::new(operator, scale, solver)?;
            let layer =
                Named::new(format!("data consistency, {name}"), Box::new(layer) as Box<dyn Bijection>);
            Ok(ConsistencyCase { layer, batch, cond })
        })
        .collect()
}

/// A small WPPFlow of that factor with random weights in float64; latents (or images) and observations for it.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn wppflow(factor: i64) -> Result<(WppFlow, Tensor, Tensor)> {
    let shape = WppFlowShape::altekrueger_2023_x4()
        .with_factor(factor)
        .with_blocks(2)
        .with_hidden(6)
        .with_origin(1.25);
    let seed = Seed::new(32);
    let mut flow = WppFlow::new(shape, seed)?;
    flow.to(Device::Cpu, Kind::Double)?;
    {
        let _no_grad = tch::no_grad_guard();
        let flat = flow.flat_parameters();
        let random = seed.at("weights", 0).normal(&flat.size()).to_kind(Kind::Double);
        flat.shallow_clone().f_copy_(&(random * (0.4 / factor as f64)))?;
    }
    let z = seed.at("latents", 0).normal(&[3, 1, factor, 2 * factor]).to_kind(Kind::Double);
    let y = seed.at("observations", 0).uniform(&[3, 1, 1, 2]).to_kind(Kind::Double);
    Ok((flow, z, y))
}
