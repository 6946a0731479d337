//! The flow layers and flows there are, in float64, with the batches they are tried on.

use super::Named;
use smalti_base::{Result, Seed};
use smalti_flows::{
    ActNorm, Bijection, Chain, ClampForm, Coupling, Layer, Mapped, PatchNr, PatchNrShape, Permutation,
    SoftClamp,
};
use tch::{Kind, Tensor};

/// A layer and a batch of inputs for it.
#[derive(Debug)]
pub struct LayerCase {
    /// The layer.
    pub layer: Named<dyn Layer>,
    /// Inputs, `[B, d, ...]`.
    pub batch: Tensor,
}

/// The bijection in a boxed layer.
pub struct Plain(pub Box<dyn Layer>);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plain").finish_non_exhaustive()
    }
}

impl Bijection for Plain {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_latent(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_data(z, cond)
    }
}

fn double(mut layer: Box<dyn Layer>) -> Box<dyn Layer> {
    for parameter in layer.parameters_mut() {
        // Away from the start, where weights are small and log-scales nearly zero.
        *parameter = (parameter.to_kind(Kind::Double) * 1.5).detach();
    }
    layer
}

fn clamp(form: ClampForm) -> Result<SoftClamp> {
    SoftClamp::new(form, 1.6)
}

fn chain(dim: i64, seed: Seed) -> Result<Chain> {
    let coupling = |k: u64| -> Result<Box<dyn Layer>> {
        let form = clamp(ClampForm::AlphaAtan)?;
        Ok(Box::new(Coupling::new(dim, &[9, 7], form, &mut seed.at("weights", k))?))
    };
    let normalised = seed.at("normalised", 0).normal(&[20, dim]) * 2.0 + 0.5;
    Ok(Chain::new(vec![
        coupling(0)?,
        Box::new(Permutation::random(dim, &mut seed.at("permutation", 0))?),
        Box::new(ActNorm::from_batch(&normalised)?),
        coupling(1)?,
    ]))
}

/// Every layer, and compositions of them.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn layers() -> Result<Vec<LayerCase>> {
    let seed = Seed::new(21);
    let mut all: Vec<LayerCase> = Vec::new();
    let mut add = |name: &str, layer: Box<dyn Layer>, shape: &[i64]| {
        let batch = seed.at(name, 0).normal(shape).to_kind(Kind::Double);
        all.push(LayerCase { layer: Named::new(name, double(layer)), batch });
    };
    for (form, dim) in [(ClampForm::AlphaAtan, 7), (ClampForm::AtanOverAlpha, 6)] {
        let coupling = Coupling::new(dim, &[16, 11], clamp(form)?, &mut seed.at("coupling", 0))?;
        add(&format!("coupling, {form}"), Box::new(coupling), &[5, dim]);
    }
    add("permutation", Box::new(Permutation::random(9, &mut seed.at("permutation", 0))?), &[4, 9]);
    let data = seed.at("actnorm", 0).normal(&[30, 5]) * 3.0 - 1.0;
    add("actnorm of vectors", Box::new(ActNorm::from_batch(&data)?), &[4, 5]);
    let data = seed.at("actnorm", 1).normal(&[6, 2, 3, 4]) * 0.4 + 0.2;
    add("actnorm of images", Box::new(ActNorm::from_batch(&data)?), &[3, 2, 3, 4]);
    add("actnorm, identity", Box::new(ActNorm::identity(3)), &[4, 3]);
    add("chain", Box::new(chain(6, seed)?), &[5, 6]);
    Ok(all)
}

/// A small patchNR flow in float64, of patches with so many axes.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn patchnr(patch_size: i64, axes: usize) -> Result<PatchNr> {
    let clamp = clamp(ClampForm::AlphaAtan)?;
    let mut flow = PatchNr::new(
        PatchNrShape::default()
            .with_patch_size(patch_size)
            .with_axes(axes as i64)
            .with_blocks(3)
            .with_hidden(20)
            .with_clamp(clamp),
        Seed::new(22),
    )?;
    flow.to(tch::Device::Cpu, Kind::Double)?;
    Ok(flow)
}

/// Flows on the plane, whose densities can be integrated.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn planar_flows() -> Result<Vec<Named<dyn Bijection>>> {
    let seed = Seed::new(23);
    let mut all: Vec<Named<dyn Bijection>> = Vec::new();
    for form in [ClampForm::AlphaAtan, ClampForm::AtanOverAlpha] {
        let coupling = Coupling::new(2, &[12, 12], clamp(form)?, &mut seed.at("planar", 0))?;
        let mut layer: Box<dyn Layer> = Box::new(coupling);
        for parameter in layer.parameters_mut() {
            *parameter = parameter.to_kind(Kind::Double);
        }
        all.push(Named::new(format!("planar coupling, {form}"), Box::new(Chain::new(vec![layer]))));
    }
    let mut chain = chain(2, seed)?;
    for parameter in chain.parameters_mut() {
        *parameter = parameter.to_kind(Kind::Double);
    }
    all.push(Named::new("planar chain", Box::new(chain)));
    Ok(all)
}
