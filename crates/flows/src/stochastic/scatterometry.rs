//! Scatterometry: three parameters of a photomask from 23 measured diffraction efficiencies, with the networks of the authors.

use super::conditional::{ConditionalCoupling, ConditionalLayer};
use super::energy::ConditionalEnergy;
use super::kernel::Metropolis;
use super::snf::{ConditionalSnf, Stage};
use crate::clamp::{ClampForm, SoftClamp};
use crate::layer::check_vectors;
use smalti_base::pytorch_file::load_state_dict;
use smalti_base::{Error, Result, seed::Stream};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

const DIM: i64 = 3;
const CONDITION: i64 = 23;

/// `y = f(x) + b xi_1 + a f(x) xi_2` with `x` uniform on `[-1, 1]^3`, a network `f` from `R^3` to `R^23`, and standard normal `xi`.
///
/// The energy is, up to a constant, with `v_i = (a f_i(x))^2 + b^2`,
///
/// `E(x | y) = sum_i [(y_i - f_i(x))^2 / (2 v_i) + log(v_i) / 2] + 1000 sum_j max(|x_j| - 1, 0)`,
///
/// whose last term stands for the walls of the prior.
///
/// # Reference
/// Hagemann, Hertrich, Steidl 2022, section 6.2, with `a = 0.2`, `b = 0.01`; S. Heidenreich, H. Gross, M. Bär, "Bayesian approach to
/// determine critical dimensions from scatterometric measurements", Metrologia 55 (2018).
#[derive(Debug)]
pub struct Scatterometry {
    /// Weight and bias of each layer.
    layers: Vec<(Tensor, Tensor)>,
    a: f64,
    b: f64,
}

impl Scatterometry {
    /// The steepness of the walls around `[-1, 1]^3`.
    pub const WALL_STEEPNESS: f64 = 1000.0;

    /// Linear layers, weight and bias each, with ReLU between, from `R^3` to `R^23`, and noise levels `a >= 0`, `b > 0`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the layers do not fit each other, [`Error::Value`] where a noise level is out of range.
    pub fn new(layers: Vec<(Tensor, Tensor)>, a: f64, b: f64) -> Result<Self> {
        if !(a >= 0.0 && a.is_finite()) {
            return Err(Error::value("relative noise level a", "a number >= 0", a));
        }
        if !(b > 0.0 && b.is_finite()) {
            return Err(Error::value("absolute noise level b", "a positive number", b));
        }
        let mut width = DIM;
        for (k, (weight, bias)) in layers.iter().enumerate() {
            let outputs = bias.numel() as i64;
            let outputs = if k + 1 == layers.len() { CONDITION } else { outputs };
            if weight.size() != [outputs, width] || bias.size() != [outputs] {
                let got = format!("{:?} and {:?}", weight.size(), bias.size());
                let expected = format!("[{outputs}, {width}] and [{outputs}]");
                return Err(Error::shape(format!("weight and bias of layer {k}"), expected, got));
            }
            width = outputs;
        }
        if layers.is_empty() {
            return Err(Error::value("layers of the forward model", "at least 1", 0));
        }
        Ok(Self { layers, a, b })
    }

    /// The authors' forward model, a state dict of linear layers `0`, `2`, `4`, ...
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file cannot be read; those of [`Scatterometry::new`].
    pub fn import(path: &Path, a: f64, b: f64) -> Result<Self> {
        let mut dict = load_state_dict(path)?;
        let mut layers = Vec::new();
        while let (Some(weight), Some(bias)) = (
            dict.remove(&format!("{}.weight", 2 * layers.len())),
            dict.remove(&format!("{}.bias", 2 * layers.len())),
        ) {
            layers.push((weight, bias));
        }
        Self::new(layers, a, b)
    }

    /// `f(x)`: `[B, 3] -> [B, 23]`.
    ///
    /// # Errors
    /// [`Error::Torch`] where `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.shallow_clone();
        for (k, (weight, bias)) in self.layers.iter().enumerate() {
            h = h.f_linear(weight, Some(bias))?;
            if k + 1 < self.layers.len() {
                h = h.f_relu()?;
            }
        }
        Ok(h)
    }

    /// `n` pairs, `x: [n, 3]` from the prior and `y: [n, 23]`.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn pairs(&self, n: i64, stream: &mut Stream) -> Result<(Tensor, Tensor)> {
        let _no_grad = tch::no_grad_guard();
        let x = stream.uniform(&[n, DIM]) * 2.0 - 1.0;
        let f = self.forward(&x)?;
        let y = &f + stream.normal(&f.size()) * self.b + stream.normal(&f.size()) * &f * self.a;
        Ok((x, y))
    }

    fn of_forward(&self, x: &Tensor, f: &Tensor, y: &Tensor) -> Result<Tensor> {
        let variance = f.f_square()? * self.a.powi(2) + self.b.powi(2);
        let terms = y.f_sub(f)?.f_square()?.f_div(&variance)? + variance.f_log()?;
        let wall = (x.f_abs()? - 1.0).f_relu()? * Self::WALL_STEEPNESS;
        let sum = |t: Tensor| t.f_sum_dim_intlist(1i64, false, None::<Kind>);
        Ok(sum(terms)? / 2.0 + sum(wall)?)
    }
}

/// As many rows on both sides, of the right lengths.
fn check_pairs(x: &Tensor, y: &Tensor) -> Result<()> {
    check_vectors("parameters", x, DIM)?;
    check_vectors("observations", y, CONDITION)?;
    if x.size()[0] == y.size()[0] {
        Ok(())
    } else {
        Err(Error::shape("observations", [x.size()[0], CONDITION], y.size()))
    }
}

impl ConditionalEnergy for Scatterometry {
    fn dim(&self) -> i64 {
        DIM
    }

    fn condition(&self) -> i64 {
        CONDITION
    }

    fn energy(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        check_pairs(x, y)?;
        self.of_forward(x, &self.forward(x)?, y)
    }

    fn energy_and_grad(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        check_pairs(x, y)?;
        let (value, grad) = tch::with_grad(|| {
            let leaf = x.detach().copy().set_requires_grad(true);
            let value = self.of_forward(&leaf, &self.forward(&leaf)?, y)?;
            let sum = value.f_sum(value.kind())?;
            let grad = Tensor::f_run_backward(&[sum], &[leaf], false, false)?;
            Ok::<_, Error>((value.detach(), grad))
        })?;
        let grad = grad.into_iter().next();
        Ok((value, grad.ok_or_else(|| Error::value("gradient of the forward model", "one", "none"))?))
    }
}

/// The flow of the experiment: 4 couplings of width 64 (two hidden layers) with clamp 1.4; with `posterior` each is followed by
/// 10 Metropolis steps of standard deviation 0.4 at `lambda = k / 4`.
///
/// # Errors
/// None with the sizes used here.
pub fn scatterometry_flow(
    posterior: Option<Box<dyn ConditionalEnergy>>,
    stream: &mut Stream,
) -> Result<ConditionalSnf> {
    assemble(posterior, couplings(ClampForm::AlphaAtan, stream)?)
}

fn couplings(form: ClampForm, stream: &mut Stream) -> Result<Vec<ConditionalCoupling>> {
    let clamp = SoftClamp::new(form, 1.4)?;
    (0..4).map(|_| ConditionalCoupling::split([2, 1], CONDITION, &[64, 64], clamp, stream)).collect()
}

fn assemble(
    posterior: Option<Box<dyn ConditionalEnergy>>,
    couplings: Vec<ConditionalCoupling>,
) -> Result<ConditionalSnf> {
    let count = couplings.len() as f64;
    let mut stages = Vec::new();
    for (k, coupling) in couplings.into_iter().enumerate() {
        stages.push(Stage::Flow(Box::new(coupling)));
        if posterior.is_some() {
            let lambda = (k + 1) as f64 / count;
            stages.push(Stage::Markov { kernel: Box::new(Metropolis::new(0.4)?), steps: 10, lambda });
        }
    }
    ConditionalSnf::new(stages, posterior)
}

/// The authors' trained INN, `inn.pt`. Such a file does not say which form its clamp has.
///
/// # Errors
/// [`Error::File`], [`Error::Content`] where the file does not hold it.
pub fn import_inn(path: &Path, form: ClampForm) -> Result<ConditionalSnf> {
    let mut dict = load_state_dict(path)?;
    let mut all = couplings(form, &mut smalti_base::Seed::new(0).at("replaced", 0))?;
    for (k, coupling) in all.iter_mut().enumerate() {
        fill(coupling, path, &mut dict, |name| format!("module_list.{k}.{name}"))?;
    }
    assemble(None, all)
}

/// The authors' trained SNF, `snf.pt`, with the energy that it was trained for.
///
/// The file numbers the twelve parameters of each of its four couplings through, the last one of a coupling first.
///
/// # Errors
/// Those of [`import_inn`].
pub fn import_snf(
    path: &Path,
    form: ClampForm,
    posterior: Box<dyn ConditionalEnergy>,
) -> Result<ConditionalSnf> {
    let mut dict = load_state_dict(path)?;
    let mut all = couplings(form, &mut smalti_base::Seed::new(0).at("replaced", 0))?;
    for (k, coupling) in all.iter_mut().enumerate() {
        let mut place = 0;
        fill(coupling, path, &mut dict, |_| {
            place += 1;
            format!("parameter{}", 12 * k + place % 12)
        })?;
    }
    assemble(Some(posterior), all)
}

fn fill(
    coupling: &mut ConditionalCoupling,
    path: &Path,
    dict: &mut BTreeMap<String, Tensor>,
    mut key_of: impl FnMut(&str) -> String,
) -> Result<()> {
    let names: Vec<String> = coupling.parameters().into_iter().map(|(name, _)| name).collect();
    for (name, parameter) in names.iter().zip(coupling.parameters_mut()) {
        let key = key_of(name);
        let value = dict.remove(&key);
        let Some(value) = value.filter(|v| v.size() == parameter.size()) else {
            let problem = format!("no tensor {key} of shape {:?}", parameter.size());
            return Err(Error::content(path, problem, "give the authors' file of this network"));
        };
        *parameter = value.f_to_kind(Kind::Float)?;
    }
    Ok(())
}
