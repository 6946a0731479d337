//! Every conditional layer, Markov kernel and stochastic flow obeys its laws, and broken twins are rejected.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Result, Seed, parallel::Shared, seed::Stream};
use smalti_flows::stochastic::{ConditionalEnergy, Energy, Interpolated, MarkovKernel, Ula};
use smalti_flows::{Bijection, Mapped};
use smalti_testkit::broken::{
    BrokenKernel, BrokenLayer, FlippedLogDet, InexactInverse, KernelMistake, Mistake, MixedRows, ScaledForce,
    SummedLogDet,
};
use smalti_testkit::registry::stochastic::{
    AtCondition, conditional_layers, energies, kernels, mixture, reversible_kernels, stochastic_flow,
    stochastic_flows,
};
use smalti_testkit::{laws, rejected};
use tch::{Kind, Tensor};

fn seed() -> Seed {
    Seed::new(43)
}

fn at_condition(k: usize) -> Box<AtCondition> {
    let case = conditional_layers().unwrap().swap_remove(k);
    Box::new(AtCondition { layer: case.layer.subject, condition: Shared::new(case.condition) })
}

#[test]
fn conditional_layers_are_bijections_with_analytic_gradients() {
    for (k, case) in conditional_layers().unwrap().into_iter().enumerate() {
        let (name, x) = (&case.layer.name, &case.batch);
        let flow = at_condition(k);
        laws::inverse(name, flow.as_ref(), x, None, 1e-9, seed()).unwrap();
        laws::log_det(name, flow.as_ref(), x, None, 1e-9, seed()).unwrap();
        laws::pull_back(name, at_condition(k).as_mut(), x, 1e-10, seed()).unwrap();
        let cond = Some(&case.condition);
        let plain = || -> Box<dyn Bijection> { conditional_layers().unwrap().swap_remove(k).layer.subject };
        laws::bijection_rows(name, plain().as_ref(), x, cond, seed()).unwrap();
        let law = laws::bijection_rows(name, &SummedLogDet(plain()), x, cond, seed());
        rejected(law, "separate elements", "data to latent, log_det depends on the batch", 1e-2..10.0);

        let law = laws::inverse(name, &InexactInverse(at_condition(k)), x, None, 1e-9, seed());
        rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
        let law = laws::log_det(name, &FlippedLogDet(at_condition(k)), x, None, 1e-9, seed());
        rejected(law, "the log-determinant", "data to latent, log_det", 0.1..2.01);
        for mistake in [Mistake::ScaledInput, Mistake::ScaledParameter, Mistake::NoLogDet] {
            let mut twin = BrokenLayer { layer: at_condition(k), mistake };
            let law = laws::pull_back(name, &mut twin, x, 1e-10, seed());
            let (said, sizes) = match mistake {
                Mistake::ScaledInput => ("in the input", 0.0099..0.0101),
                Mistake::ScaledParameter => ("in", 0.0099..0.0101),
                Mistake::NoLogDet => ("in", 1e-4..2.0),
            };
            rejected(law, "the analytic gradients", &format!("relative error of the gradient {said}"), sizes);
        }
    }
}

#[test]
fn conditions_matter_and_are_checked() {
    for case in conditional_layers().unwrap() {
        let (layer, x, y) = (&case.layer.subject, &case.batch, &case.condition);
        let z = layer.to_latent(x, Some(y)).unwrap();
        let other = layer.to_latent(x, Some(&(y + 0.1))).unwrap();
        assert!((&z.value - other.value).abs().max().double_value(&[]) > 1e-4);
        for bad in [&y.narrow(0, 0, 5), &y.repeat([1, 2])] {
            assert!(
                matches!(layer.to_latent(x, Some(bad)), Err(Error::Shape { what, .. }) if what == "condition")
            );
            assert!(layer.to_data(x, Some(bad)).is_err());
        }
        let line = layer.to_latent(x, None).err().unwrap().to_string();
        assert!(line.starts_with("condition: expected a tensor [6, "), "{line}");
    }
}

#[test]
fn energies_have_these_gradients() {
    for case in energies().unwrap() {
        let (name, posterior) = (&case.name, case.subject.as_ref());
        let draw = |what, n, width| seed().at(what, 0).uniform(&[n, width]).to_kind(Kind::Double) * 1.6 - 0.8;
        let x = draw("x", 5, posterior.dim());
        // One observation for all rows, so that a row may be taken alone.
        let y = draw("y", 1, posterior.condition());
        for lambda in [0.0, 0.4, 1.0] {
            let energy = OneObservation { posterior, y: &y, lambda };
            laws::energy_gradient(name, &energy, &x, 1e-6, seed()).unwrap();
            let law = laws::energy_gradient(name, &ScaledForce(&energy), &x, 1e-6, seed());
            rejected(law, "the energy's gradient", "(fitted scale 0.99009", 0.0..f64::INFINITY);
            let law = laws::energy_gradient(name, &MixedRows(&energy), &x, 1e-6, seed());
            rejected(law, "the energy's gradient", "row 0: ", 1e-3..1e3);
        }
        for (x, y) in
            [(draw("x", 5, 1), draw("y", 5, posterior.condition())), (x.copy(), draw("y", 5, 1)), (x, y)]
        {
            assert!(matches!(posterior.energy(&x, &y), Err(Error::Shape { .. })), "{name}");
            assert!(matches!(posterior.energy_and_grad(&x, &y), Err(Error::Shape { .. })), "{name}");
        }
    }
}

/// Between the latents and the posterior of one observation, for any number of rows.
struct OneObservation<'a> {
    posterior: &'a dyn ConditionalEnergy,
    y: &'a Tensor,
    lambda: f64,
}

impl Energy for OneObservation<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let condition = &self.y.repeat([x.size()[0], 1]);
        Interpolated { posterior: Some(self.posterior), condition, lambda: self.lambda }.energy(x)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let condition = &self.y.repeat([x.size()[0], 1]);
        Interpolated { posterior: Some(self.posterior), condition, lambda: self.lambda }.energy_and_grad(x)
    }
}

#[test]
fn kernels_keep_their_promises() {
    for kernel in reversible_kernels().unwrap() {
        laws::invariance(&kernel.name, kernel.subject.as_ref(), 5, seed()).unwrap();
        laws::detailed_balance(&kernel.name, kernel.subject.as_ref(), seed()).unwrap();
    }
    for kernel in kernels().unwrap() {
        laws::importance_term(&kernel.name, kernel.subject.as_ref(), 4, seed()).unwrap();
    }
}

/// A kernel with the importance term of kernels in detailed balance.
struct WithEnergies(Ula);

impl MarkovKernel for WithEnergies {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped> {
        let value = self.0.walk(energy, x, steps, stream)?.value;
        let log_det = energy.energy(&value)? - energy.energy(x)?;
        Ok(Mapped { value, log_det })
    }
}

#[test]
fn broken_kernels_are_rejected() {
    for (k, right) in reversible_kernels().unwrap().into_iter().enumerate() {
        let twin =
            |mistake| BrokenKernel { kernel: reversible_kernels().unwrap().swap_remove(k).subject, mistake };
        let name = &right.name;
        let law = laws::invariance(name, &twin(KernelMistake::TooFar), 5, seed());
        rejected(law, "invariance", "change of the mean of", 5.0..1e3);
        let law = laws::invariance(name, &twin(KernelMistake::Drift), 5, seed());
        rejected(law, "invariance", "change of the mean of x1,", 5.0..1e3);
        let law = laws::detailed_balance(name, &twin(KernelMistake::Drift), seed());
        rejected(law, "detailed balance", "flow between", 5.0..1e3);
        let law = laws::detailed_balance(name, &twin(KernelMistake::Flipped), seed());
        rejected(law, "detailed balance", "importance term from u(b) - u(a)", 0.1..1e3);
    }
    // All proposals taken, with steps as large as MALA's.
    let unadjusted = Ula::new(0.15).unwrap();
    let law = laws::invariance("MALA without rejections", &unadjusted, 5, seed());
    rejected(law, "invariance", "change of the mean of", 5.0..1e3);
    let law = laws::detailed_balance("MALA without rejections", &WithEnergies(unadjusted), seed());
    rejected(law, "detailed balance", "flow between", 5.0..1e3);
    for k in 0..kernels().unwrap().len() {
        for mistake in [KernelMistake::Flipped, KernelMistake::Forgotten] {
            let right = kernels().unwrap().swap_remove(k);
            let twin = BrokenKernel { kernel: right.subject, mistake };
            let law = laws::importance_term(&right.name, &twin, 4, seed());
            rejected(law, "the importance term", "mean weight", 0.1..f64::INFINITY);
        }
    }
}

#[test]
fn weights_of_paths_have_the_evidence_for_their_mean() {
    let problem = mixture().unwrap();
    for (name, flow) in stochastic_flows().unwrap() {
        laws::path_weights(&name, &flow, &problem, seed()).unwrap();
    }
    for k in 0..kernels().unwrap().len() {
        for mistake in [KernelMistake::Flipped, KernelMistake::Forgotten] {
            let twin =
                || kernels().map(|mut all| BrokenKernel { kernel: all.swap_remove(k).subject, mistake });
            let flow = stochastic_flow(|| Ok(Box::new(twin()?))).unwrap();
            let law = laws::path_weights(&format!("{mistake:?}"), &flow, &problem, seed());
            rejected(law, "path weights", "mean weight", 0.2..f64::INFINITY);
        }
    }
}
