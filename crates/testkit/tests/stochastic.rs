//! Every conditional layer, Markov kernel and stochastic flow obeys its laws, and broken twins are rejected.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Seed};
use smalti_testkit::broken::{
    BrokenKernel, BrokenLayer, FlippedLogDet, InexactInverse, KernelMistake, Mistake,
};
use smalti_testkit::laws;
use smalti_testkit::registry::stochastic::{
    AtCondition, conditional_layers, kernels, mixture, reversible_kernels, stochastic_flow, stochastic_flows,
};

fn seed() -> Seed {
    Seed::new(43)
}

fn at_condition(k: usize) -> Box<AtCondition> {
    let case = conditional_layers().unwrap().swap_remove(k);
    Box::new(AtCondition { layer: case.layer.subject, condition: case.condition })
}

#[test]
fn conditional_layers_are_bijections_with_analytic_gradients() {
    for (k, case) in conditional_layers().unwrap().into_iter().enumerate() {
        let (name, x) = (&case.layer.name, &case.batch);
        let flow = at_condition(k);
        laws::inverse(name, flow.as_ref(), x, None, 1e-9, seed()).unwrap();
        laws::log_det(name, flow.as_ref(), x, None, 1e-9, seed()).unwrap();
        laws::pull_back(name, at_condition(k).as_mut(), x, 1e-10, seed()).unwrap();

        laws::inverse(name, &InexactInverse(at_condition(k)), x, None, 1e-9, seed()).unwrap_err();
        laws::log_det(name, &FlippedLogDet(at_condition(k)), x, None, 1e-9, seed()).unwrap_err();
        for mistake in [Mistake::ScaledInput, Mistake::ScaledParameter, Mistake::NoLogDet] {
            let mut twin = BrokenLayer { layer: at_condition(k), mistake };
            laws::pull_back(name, &mut twin, x, 1e-10, seed()).unwrap_err();
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
fn kernels_keep_their_promises() {
    for kernel in reversible_kernels().unwrap() {
        laws::invariance(&kernel.name, kernel.subject.as_ref(), 5, seed()).unwrap();
        laws::detailed_balance(&kernel.name, kernel.subject.as_ref(), seed()).unwrap();
    }
    for kernel in kernels().unwrap() {
        laws::importance_term(&kernel.name, kernel.subject.as_ref(), 4, seed()).unwrap();
    }
}

#[test]
fn broken_kernels_are_rejected() {
    for (k, right) in reversible_kernels().unwrap().into_iter().enumerate() {
        let twin =
            |mistake| BrokenKernel { kernel: reversible_kernels().unwrap().swap_remove(k).subject, mistake };
        let name = &right.name;
        laws::invariance(name, &twin(KernelMistake::TooFar), 5, seed()).unwrap_err();
        laws::invariance(name, &twin(KernelMistake::Drift), 5, seed()).unwrap_err();
        laws::detailed_balance(name, &twin(KernelMistake::Drift), seed()).unwrap_err();
        laws::detailed_balance(name, &twin(KernelMistake::Flipped), seed()).unwrap_err();
    }
    // All proposals taken, with steps as large as MALA's.
    let unadjusted = smalti_flows::stochastic::Ula::new(0.15).unwrap();
    laws::invariance("MALA without rejections", &unadjusted, 5, seed()).unwrap_err();
    laws::detailed_balance("MALA without rejections", &unadjusted, seed()).unwrap_err();
    for k in 0..kernels().unwrap().len() {
        for mistake in [KernelMistake::Flipped, KernelMistake::Forgotten] {
            let right = kernels().unwrap().swap_remove(k);
            let twin = BrokenKernel { kernel: right.subject, mistake };
            laws::importance_term(&right.name, &twin, 4, seed()).unwrap_err();
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
            laws::path_weights(&format!("{mistake:?}"), &flow, &problem, seed()).unwrap_err();
        }
    }
}
