//! The conditional layers, Markov kernels and stochastic flows there are.

use super::Named;
use smalti_base::{Result, Seed, parallel::Shared};
use smalti_flows::stochastic::{
    ConditionalCoupling, ConditionalEnergy, ConditionalLayer, ConditionalSnf, DiagonalMixture, FlowShape,
    Mala, MarkovKernel, Metropolis, MixtureProblem, Scatterometry, Ula,
};
use smalti_flows::{Bijection, ClampForm, Gradients, Layer, Mapped, SoftClamp, Tape};
use tch::{Kind, Tensor};

/// A conditional layer at fixed conditions, one row for each of its batch: a layer as any other.
pub struct AtCondition {
    /// The layer.
    pub layer: Box<dyn ConditionalLayer>,
    /// The conditions, `[B, m]`; a batch of `n` rows has the first `n`.
    pub condition: Shared<Tensor>,
}

impl std::fmt::Debug for AtCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtCondition").field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl AtCondition {
    fn of(&self, x: &Tensor) -> Tensor {
        self.condition.narrow(0, 0, x.size()[0])
    }
}

impl Bijection for AtCondition {
    fn to_latent(&self, x: &Tensor, _: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_latent(x, Some(&self.of(x)))
    }

    fn to_data(&self, z: &Tensor, _: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_data(z, Some(&self.of(z)))
    }
}

impl Layer for AtCondition {
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        self.layer.to_latent_taped(x, &self.of(x), tape)
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        self.layer.pull_back(grad, grad_log_det, tape, weights)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.layer.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layer.parameters_mut()
    }
}

/// A conditional layer with a batch and its conditions.
#[derive(Debug)]
pub struct ConditionalCase {
    /// The layer.
    pub layer: Named<dyn ConditionalLayer>,
    /// `[B, d]`.
    pub batch: Tensor,
    /// `[B, m]`.
    pub condition: Tensor,
}

/// Every conditional layer, in float64.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn conditional_layers() -> Result<Vec<ConditionalCase>> {
    let seed = Seed::new(24);
    let mut all = Vec::new();
    for (form, dim, condition) in [(ClampForm::AlphaAtan, 5, 3), (ClampForm::AtanOverAlpha, 2, 1)] {
        let clamp = SoftClamp::new(form, 1.4)?;
        let mut layer =
            ConditionalCoupling::new(dim, condition, &[12, 9], clamp, &mut seed.at("weights", dim as u64))?;
        for parameter in layer.parameters_mut() {
            *parameter = parameter.to_kind(Kind::Double) * 1.5;
        }
        let draw = |what, width| seed.at(what, dim as u64).normal(&[6, width]).to_kind(Kind::Double);
        all.push(ConditionalCase {
            layer: Named::new(format!("conditional coupling, {form}"), Box::new(layer)),
            batch: draw("batch", dim),
            condition: draw("condition", condition),
        });
    }
    Ok(all)
}

/// The kernels in detailed balance with their energy, with step sizes that reject some proposals of the laws' density.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn reversible_kernels() -> Result<Vec<Named<dyn MarkovKernel>>> {
    Ok(vec![
        Named::new("Metropolis", Box::new(Metropolis::new(0.5)?)),
        Named::new("MALA", Box::new(Mala::new(0.15)?)),
    ])
}

/// All kernels.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn kernels() -> Result<Vec<Named<dyn MarkovKernel>>> {
    let mut all = reversible_kernels()?;
    all.push(Named::new("unadjusted Langevin", Box::new(Ula::new(0.02)?)));
    Ok(all)
}

/// A mixture problem in the plane whose posteriors are about as wide as the latents, so that the weights of paths vary little
/// in both directions; float64.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn mixture() -> Result<MixtureProblem> {
    let of = Tensor::from_slice::<f64>;
    let means = of(&[-0.7, 0.4, 0.5, -0.5]).reshape([2, 2]);
    let prior = DiagonalMixture::new(&of(&[1.0, 2.0]), &means, &of(&[0.8, 0.7]))?;
    MixtureProblem::new(prior, &of(&[1.0, 0.5]), 2.0)
}

/// Every conditional energy of the crate of flows, in float64.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn energies() -> Result<Vec<Named<dyn ConditionalEnergy>>> {
    let draw = |what, size: &[i64]| Seed::new(26).at(what, 0).normal(size).to_kind(Kind::Double);
    let layers = vec![
        (draw("first weight", &[12, 3]), draw("first bias", &[12])),
        (draw("second weight", &[23, 12]) * 0.2, draw("second bias", &[23])),
    ];
    Ok(vec![
        Named::new("mixture", Box::new(mixture()?)),
        Named::new("scatterometry", Box::new(Scatterometry::new(layers, 0.2, 0.1)?)),
    ])
}

/// One stochastic flow for [`mixture`] for each kernel, not trained, in float64.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn stochastic_flows() -> Result<Vec<(String, ConditionalSnf)>> {
    let mut all = Vec::new();
    for k in 0..kernels()?.len() {
        let kernel = || kernels().map(|mut all| all.swap_remove(k));
        all.push((format!("flow with {}", kernel()?.name), stochastic_flow(|| Ok(kernel()?.subject))?));
    }
    Ok(all)
}

/// A stochastic flow for [`mixture`], not trained, with this kernel; float64.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn stochastic_flow(kernel: impl Fn() -> Result<Box<dyn MarkovKernel>>) -> Result<ConditionalSnf> {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4)?;
    let shape = FlowShape::new(2, 2).with_couplings(1).with_hidden([8]).with_clamp(clamp);
    let mut flow = ConditionalSnf::alternating(&shape, 2, kernel, 3, Box::new(mixture()?), Seed::new(25))?;
    flow.to_kind(Kind::Double);
    // Near the identity, so that the weights of paths vary little.
    for (_, parameter) in flow.parameters() {
        let _ = parameter.shallow_clone().f_mul_scalar_(0.5)?;
    }
    Ok(flow)
}
