//! Conditional flows, with and without stochastic layers: gradients, paths, files, bad input.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Result, Seed, seed::Stream};
use smalti_flows::stochastic::{
    ConditionalEnergy, ConditionalSnf, Energy, FlowShape, Mala, MarkovKernel, Metropolis, MixtureProblem,
    Stage, Ula,
};
use smalti_flows::{ClampForm, Gradients, Mapped, SoftClamp};
use tch::{Kind, Tensor};

fn shape(dim: i64, condition: i64, couplings: i64) -> FlowShape {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4).unwrap();
    FlowShape::new(dim, condition).with_couplings(couplings).with_hidden([16, 16]).with_clamp(clamp)
}

fn draw(what: &str, size: &[i64]) -> Tensor {
    Seed::new(7).at(what, 0).normal(size).to_kind(Kind::Double)
}

fn stream() -> Stream {
    Seed::new(8).at("path", 0)
}

/// `E(x | y) = |x|^2 / 2`.
struct Standard;

impl ConditionalEnergy for Standard {
    fn dim(&self) -> i64 {
        3
    }
    fn condition(&self) -> i64 {
        2
    }
    fn energy(&self, x: &Tensor, _: &Tensor) -> Result<Tensor> {
        Ok(x.square().sum_dim_intlist(1i64, false, Kind::Double) / 2.0)
    }
    fn energy_and_grad(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.energy(x, y)?, x.shallow_clone()))
    }
}

/// Never moves.
struct Still;

impl MarkovKernel for Still {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, _: u32, _: &mut Stream) -> Result<Mapped> {
        Ok(Mapped { value: x.shallow_clone(), log_det: energy.energy(x)?.zeros_like() })
    }
}

/// Compares the gradients of the parameters that `wanted` names with differences of the mean path NLL.
fn gradients_agree(flow: &ConditionalSnf, x: &Tensor, y: &Tensor, wanted: &str) -> f64 {
    let (loss, parts) = flow.loss_and_weight_grads(x, y, &mut stream()).unwrap();
    let mean = |flow: &ConditionalSnf| {
        flow.path_nll(x, y, &mut stream()).unwrap().mean(Kind::Double).double_value(&[])
    };
    assert!((loss - mean(flow)).abs() < 1e-9, "{loss} instead of {}", mean(flow));
    let gradients = Gradients::sum(&parts).unwrap();
    let mut worst = 0.0f64;
    for ((name, parameter), gradient) in flow.parameters().into_iter().zip(&gradients) {
        assert_eq!(parameter.size(), gradient.size());
        if !name.starts_with(wanted) {
            continue;
        }
        let direction = draw(&name, &parameter.size());
        let before = parameter.copy();
        let at = |h: f64| {
            parameter.shallow_clone().copy_(&(&before + &direction * h));
            mean(flow)
        };
        // Hardly ever over a kink of a ReLU.
        let h = 1e-8;
        let difference = (at(h) - at(-h)) / (2.0 * h);
        parameter.shallow_clone().copy_(&before);
        let slope = (gradient * direction).sum(Kind::Double).double_value(&[]);
        worst = worst.max(
            (difference - slope).abs()
                / (gradient.square().sum(Kind::Double).sqrt().double_value(&[]) + 1e-3),
        );
    }
    worst
}

#[test]
fn gradients_are_those_of_the_loss() {
    // More rows than one thread takes at once.
    let (x, y) = (draw("x", &[600, 3]), draw("y", &[600, 2]));
    let mut inn = ConditionalSnf::inn(&shape(3, 2, 3), Seed::new(1)).unwrap();
    inn.to_kind(Kind::Double);
    assert!(gradients_agree(&inn, &x, &y, "stages.") < 1e-4);

    // Next to the latents nothing is left out, whatever the kernel.
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(0.1)?)) };
    let mut snf =
        ConditionalSnf::alternating(&shape(3, 2, 2), 2, kernel, 3, Box::new(Standard), Seed::new(2)).unwrap();
    snf.to_kind(Kind::Double);
    assert!(
        gradients_agree(&snf, &x, &y, "stages.0.") < 1e-4
            && gradients_agree(&snf, &x, &y, "stages.1.") < 1e-4
    );

    // Where the layers on the latent side are right, nothing is left out on the other side either.
    let still = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Still)) };
    let mut snf =
        ConditionalSnf::alternating(&shape(3, 2, 1), 2, still, 1, Box::new(Standard), Seed::new(3)).unwrap();
    snf.to_kind(Kind::Double);
    assert!(gradients_agree(&snf, &x, &y, "stages.2.") > 1e-2);
    for (name, parameter) in snf.parameters() {
        if name.starts_with("stages.0.") {
            let _ = parameter.shallow_clone().fill_(0.0);
        }
    }
    assert!(gradients_agree(&snf, &x, &y, "stages.2.") < 1e-4);
}

#[test]
fn without_kernels_paths_lead_back() {
    let inn = ConditionalSnf::inn(&shape(4, 2, 3), Seed::new(4)).unwrap();
    let (z, y) = (draw("z", &[30, 4]).to_kind(Kind::Float), draw("y", &[30, 2]).to_kind(Kind::Float));
    let there = inn.to_data(&z, &y, &mut stream()).unwrap();
    let back = inn.to_latent(&there.value, &y, &mut stream()).unwrap();
    assert!((&back.value - &z).abs().max().double_value(&[]) < 1e-4);
    assert!((&back.log_det + &there.log_det).abs().max().double_value(&[]) < 1e-4);
    assert!(inn.weighted(&y, &mut stream()).unwrap_err().to_string().contains("energy of the posterior"));
}

#[test]
fn kernels_bring_untrained_samples_to_the_posterior() {
    // Wide modes: 200 steps at lambda = 1 find them from anywhere.
    let problem = || MixtureProblem::published(2, Seed::new(5)).unwrap();
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Metropolis::new(0.1)?)) };
    let mean_energy = |steps: u32| {
        let flow =
            ConditionalSnf::alternating(&shape(2, 2, 1), 1, kernel, steps, Box::new(problem()), Seed::new(6));
        let (_, y) = problem().pairs(500, &mut stream());
        let x = flow.unwrap().sample(&y, &mut stream()).unwrap();
        ConditionalEnergy::energy(&problem(), &x, &y).unwrap().mean(Kind::Double).double_value(&[])
    };
    let (before, after) = (mean_energy(1), mean_energy(200));
    assert!(after < 20.0 && before > 100.0, "{before} to {after}");
}

#[test]
fn parameters_are_kept() {
    let mut flow = ConditionalSnf::inn(&shape(3, 2, 2), Seed::new(1)).unwrap();
    let other = ConditionalSnf::inn(&shape(3, 2, 2), Seed::new(9)).unwrap();
    let (x, y) = (draw("x", &[5, 3]).to_kind(Kind::Float), draw("y", &[5, 2]).to_kind(Kind::Float));
    let nll = |flow: &ConditionalSnf| flow.path_nll(&x, &y, &mut stream()).unwrap();
    assert_ne!(nll(&flow), nll(&other));
    flow.load(other.to_checkpoint()).unwrap();
    assert_eq!(nll(&flow), nll(&other));
    let larger = ConditionalSnf::inn(&shape(3, 2, 3), Seed::new(9)).unwrap();
    assert!(ConditionalSnf::inn(&shape(4, 2, 2), Seed::new(1)).unwrap().load(other.to_checkpoint()).is_err());
    let mut larger = larger;
    let before = nll(&larger);
    assert!(larger.load(other.to_checkpoint()).is_err());
    assert_eq!(nll(&larger), before);
    // Nor is the beginning of a larger flow taken for the whole.
    assert!(flow.load(larger.to_checkpoint()).is_err());
    assert_eq!(nll(&flow), nll(&other));
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let one_line = |error: smalti_base::Error, expected: &str| {
        let line = error.to_string();
        assert!(line.contains(expected) && line.lines().count() == 1, "{line}");
    };
    for step in [0.0, -1.0, f64::NAN] {
        one_line(Metropolis::new(step).err().unwrap(), "positive");
        one_line(Mala::new(step).err().unwrap(), "positive");
        one_line(Ula::new(step).err().unwrap(), "positive");
    }
    let flow = ConditionalSnf::inn(&shape(3, 2, 1), Seed::new(1)).unwrap();
    let (x, y) = (draw("x", &[5, 3]), draw("y", &[5, 2]));
    one_line(
        flow.to_latent(&x, &y.narrow(1, 0, 1), &mut stream()).err().unwrap(),
        "condition: expected [5, 2]",
    );
    one_line(
        flow.to_data(&x, &y.narrow(0, 0, 4), &mut stream()).err().unwrap(),
        "condition: expected [5, 2]",
    );
    one_line(flow.to_data(&x.narrow(1, 0, 2), &y, &mut stream()).err().unwrap(), "latents: expected [5, 3]");
    one_line(flow.loss_and_weight_grads(&y, &y, &mut stream()).err().unwrap(), "data: expected [5, 3]");
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(0.1)?)) };
    let markov = |lambda, steps| Stage::Markov { kernel: kernel().unwrap(), steps, lambda };
    let layer = || ConditionalSnf::inn(&shape(3, 2, 0), Seed::new(1));
    one_line(layer().err().unwrap(), "deterministic layers");
    let stages = |more: Stage, dim: i64| {
        let clamp = shape(3, 2, 1).clamp;
        let coupling =
            smalti_flows::stochastic::ConditionalCoupling::new(dim, 2, &[8], clamp, &mut stream()).unwrap();
        vec![Stage::Flow(Box::new(coupling)), more]
    };
    one_line(ConditionalSnf::new(stages(markov(0.5, 1), 3), None).err().unwrap(), "energy of the posterior");
    let new = |lambda, steps, dim| {
        ConditionalSnf::new(stages(markov(lambda, steps), dim), Some(Box::new(Standard)))
    };
    assert!(new(0.5, 1, 3).is_ok());
    one_line(new(1.5, 1, 3).err().unwrap(), "stochastic layer");
    one_line(new(0.5, 0, 3).err().unwrap(), "stochastic layer");
    one_line(new(0.5, 1, 4).err().unwrap(), "dimensions (d, m)");
    // Langevin steps that leave all bounds.
    let wild = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Ula::new(1e6)?)) };
    let mut snf =
        ConditionalSnf::alternating(&shape(3, 2, 1), 1, wild, 80, Box::new(Standard), Seed::new(2)).unwrap();
    snf.to_kind(Kind::Double);
    one_line(snf.sample(&y, &mut stream()).err().unwrap(), "importance term of Langevin steps");
}
