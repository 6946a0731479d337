//! The loss of a conditional flow and its gradient in the weights.

use super::conditional::ConditionalLayer;
use super::energy::Energy;
use super::snf::{ConditionalSnf, Stage};
use crate::gradients::Gradients;
use crate::tape::Tape;
use smalti_base::{Result, parallel, seed::Stream};
use tch::{Kind, Tensor};

/// Rows that one thread takes at once; the same everywhere, so that results do not depend on the number of threads.
const ROWS: i64 = 256;

/// Some rows of a batch on their way through a run of deterministic layers.
struct Part {
    x: Tensor,
    cond: Tensor,
    log_det: Tensor,
    tape: Tape,
    grad: Tensor,
    /// Layer by layer, in the order that the way back takes: latent to data.
    gradients: Vec<Gradients>,
}

impl ConditionalSnf {
    /// The mean of [`ConditionalSnf::path_nll`] over a batch `x: [B, d]` with conditions `[B, m]`, and gradients in all
    /// parameters, as parts whose sum they are ([`Gradients::sum`]).
    ///
    /// # Convention
    /// Every run of deterministic layers is trained towards the energy `u` on its latent side: that of the stochastic stage
    /// there, or the latent's. Its gradient is that of `mean(u(x_out) - log |det J|)`, the forward KL divergence
    /// of what comes out from `exp(-u)`; the gradient does not go on through stochastic layers. Where the layers on the latent side of `x_out`
    /// are right, the term left out is zero, and without stochastic layers nothing is left out. (Matthews, Arbel, Rezende, Doucet 2022,
    /// "Continual repeated annealed flow transport Monte Carlo", train flows between kernels in this way; see
    /// `docs/decisions/011-gradients-stop-at-markov-stages.md`.)
    ///
    /// # Errors
    /// Those of [`ConditionalSnf::to_latent`].
    pub fn loss_and_weight_grads(
        &self,
        x: &Tensor,
        cond: &Tensor,
        stream: &mut Stream,
    ) -> Result<(f64, Vec<Gradients>)> {
        let _no_grad = tch::no_grad_guard();
        self.check("data", x, cond)?;
        let rows = x.size()[0];
        let mut at = x.shallow_clone();
        let mut log_det = Tensor::f_zeros([rows], (x.kind(), x.device()))?;
        // From data to latents; the gradients of every run in the order latent to data.
        let mut runs: Vec<Vec<Vec<Gradients>>> = Vec::new();
        let mut end = self.stages.len();
        while end > 0 {
            if let Stage::Markov { kernel, steps, lambda } = &self.stages[end - 1] {
                let next = kernel.walk(&self.energy(cond, *lambda), &at, *steps, stream)?;
                (at, log_det) = (next.value, log_det + next.log_det);
                end -= 1;
                continue;
            }
            let is_markov = |stage: &Stage| matches!(stage, Stage::Markov { .. });
            let begin = self.stages[..end].iter().rposition(is_markov).map_or(0, |k| k + 1);
            let lambda = match begin.checked_sub(1).map(|k| &self.stages[k]) {
                Some(Stage::Markov { lambda, .. }) => *lambda,
                _ => 0.0,
            };
            let layers: Vec<&dyn ConditionalLayer> =
                self.stages[begin..end].iter().filter_map(flow_of).collect();
            let mut parts = cut(&at, cond)?;
            let layers_of = Layers(&layers);
            parallel::for_each_mut(&mut parts, |part| layers_of.there(part))?;
            at = Tensor::f_cat(&parts.iter().map(|p| &p.x).collect::<Vec<_>>(), 0)?;
            let of_run = Tensor::f_cat(&parts.iter().map(|p| &p.log_det).collect::<Vec<_>>(), 0)?;
            log_det += of_run;
            let (_, slope) = self.energy(cond, lambda).energy_and_grad(&at)?;
            for (p, part) in parts.iter_mut().enumerate() {
                let from = p as i64 * ROWS;
                part.grad = slope.f_narrow(0, from, part.x.size()[0])? / rows as f64;
            }
            parallel::for_each_mut(&mut parts, |part| layers_of.back(part, -1.0 / rows as f64))?;
            runs.push(parts.into_iter().map(|p| p.gradients).collect());
            end = begin;
        }
        let nll = super::energy::latent(&at)? - log_det;
        let loss = nll.f_mean(Kind::Double)?.double_value(&[]);
        let parts = runs.first().map_or(0, Vec::len);
        let mut all: Vec<Gradients> = (0..parts).map(|_| Gradients::default()).collect();
        for run in runs.into_iter().rev() {
            for (sum, layers) in all.iter_mut().zip(run) {
                layers.into_iter().for_each(|g| sum.append(g));
            }
        }
        Ok((loss, all))
    }
}

fn flow_of(stage: &Stage) -> Option<&dyn ConditionalLayer> {
    match stage {
        Stage::Flow(layer) => Some(layer.as_ref()),
        Stage::Markov { .. } => None,
    }
}

fn cut(x: &Tensor, cond: &Tensor) -> Result<Vec<Part>> {
    let rows = x.size()[0];
    let part = |from: i64| -> Result<Part> {
        let n = ROWS.min(rows - from);
        let (x, cond) = (x.f_narrow(0, from, n)?, cond.f_narrow(0, from, n)?);
        let log_det = Tensor::f_zeros([n], (x.kind(), x.device()))?;
        let grad = Tensor::new();
        Ok(Part { x, cond, log_det, tape: Tape::default(), grad, gradients: Vec::new() })
    };
    (0..rows).step_by(ROWS as usize).map(part).collect()
}

/// A run of deterministic layers, latent to data.
struct Layers<'a>(&'a [&'a dyn ConditionalLayer]);

impl Layers<'_> {
    fn there(&self, part: &mut Part) -> Result<()> {
        for layer in self.0.iter().rev() {
            let next = layer.to_latent_taped(&part.x, &part.cond, &mut part.tape)?;
            part.x = next.value;
            part.log_det += next.log_det;
        }
        Ok(())
    }

    fn back(&self, part: &mut Part, grad_log_det: f64) -> Result<()> {
        for layer in self.0 {
            let mut gradients = Gradients::default();
            part.grad = layer.pull_back(&part.grad, grad_log_det, &mut part.tape, Some(&mut gradients))?;
            part.gradients.push(gradients);
        }
        Ok(())
    }
}
