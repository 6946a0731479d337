//! The deep image prior reconstructs, goes on where it stopped, and refuses what does not fit.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::metrics::psnr;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::Precision;
use smalti_operators::{Boundary, Convolution, Gaussian, Operator, kernel};
use smalti_priors::TotalVariation;
use smalti_solvers::{
    Dip, DipSettings, Iteration, Objective, Reconstruction, RunControl, Schedule, UNetSettings, run,
};
use tch::Tensor;

const SIGMA: f64 = 0.1;

fn settings(steps: u64) -> DipSettings {
    DipSettings::baguer_2020()
        .with_net(UNetSettings::dip().with_channels([12, 12, 12]))
        .with_steps(steps)
        .with_rate(5e-3)
        .with_curve_every(10)
}

struct Blurred {
    operator: Convolution,
    truth: Tensor,
    observation: Tensor,
}

impl Blurred {
    /// A disc and a bar on a dark ground, slightly blurred and noisy; rectangular.
    fn new() -> Self {
        let domain = Space::image(1, 40, 48);
        let (i, j) = (Tensor::arange(40, tch::kind::FLOAT_CPU), Tensor::arange(48, tch::kind::FLOAT_CPU));
        let squared: Tensor = (i.unsqueeze(1) - 18.0).square() + (j.unsqueeze(0) - 16.0).square();
        let truth = (squared.lt(121.0).to_kind(tch::Kind::Float) * 0.6 + 0.2).view([1, 1, 40, 48]);
        let _ = truth.narrow(3, 36, 5).fill_(0.9);
        let gaussian = kernel::gaussian(5, 0.8).unwrap();
        let operator = Convolution::blur(domain, &gaussian, Boundary::ReflectBy(2)).unwrap();
        let clean = operator.apply(&truth).unwrap();
        let observation = &clean + Seed::new(2).at("noise", 0).normal(&clean.size()) * SIGMA;
        Self { operator, truth, observation }
    }

    fn prior(&self) -> TotalVariation {
        TotalVariation::new(self.operator.domain(), 1e-3).unwrap()
    }

    fn dip<'a>(
        &'a self,
        prior: &'a mut TotalVariation,
        gaussian: &'a Gaussian,
        settings: DipSettings,
    ) -> Result<Dip<'a>> {
        let (operator, observation) = (&self.operator, &self.observation);
        let problem = Objective { operator, likelihood: gaussian, observation, prior, weight: 5.0 };
        Dip::new(problem, settings, Seed::new(3))
    }

    fn run(&self, settings: DipSettings) -> Result<Reconstruction> {
        let (mut prior, gaussian, steps) = (self.prior(), Gaussian::new(SIGMA).unwrap(), settings.steps);
        let mut dip = self.dip(&mut prior, &gaussian, settings)?;
        run(&mut dip, steps, &RunControl::default())?;
        dip.finish()
    }
}

#[test]
fn it_is_better_than_the_observation_and_keeps_its_best_image() {
    let problem = Blurred::new();
    let result = problem.run(settings(150)).unwrap();
    let quality = |x: &Tensor| psnr(x, &problem.truth, 1.0).unwrap();
    let (before, after) = (quality(&problem.observation), quality(&result.image));
    println!("observation {before:.2} dB, deep image prior {after:.2} dB");
    assert!(after > before + 3.0, "{before:.2} dB, {after:.2} dB");
    let curve = &result.curve;
    assert_eq!(curve.iter().map(|p| p.step).collect::<Vec<_>>()[..3], [1, 10, 20]);
    assert!(curve.len() == 16 && curve.iter().all(|p| p.best <= p.objective));
    assert!(curve.windows(2).all(|p| p[1].best <= p[0].best));
    assert_eq!(result.objective, curve[15].best);
    // The objective of the image is the one that is reported.
    let mut prior = problem.prior();
    let gaussian = Gaussian::new(SIGMA).unwrap();
    let value = {
        use smalti_operators::Likelihood;
        use smalti_priors::Regularizer;
        let u = problem.operator.apply(&result.image).unwrap();
        let nll = gaussian.nll(&u, &problem.observation).unwrap().double_value(&[0]);
        nll / u.numel() as f64 + 5.0 * prior.value(&result.image).unwrap()
    };
    assert!((value / result.objective - 1.0).abs() < 1e-5);
    // So high a rate that the objective jumps about: the last image is not the best.
    let wild = problem.run(settings(40).with_rate(0.3)).unwrap();
    assert!(wild.step < 40 && wild.objective < wild.curve.last().unwrap().objective, "{:?}", wild.curve);
    let _ = problem.dip(&mut prior, &gaussian, settings(1)).unwrap();
}

#[test]
fn precision_and_clipping_count() {
    let problem = Blurred::new();
    let objective = |change: &dyn Fn(&mut DipSettings)| {
        let mut settings = settings(40);
        change(&mut settings);
        problem.run(settings).unwrap().objective
    };
    let full = objective(&|_| {});
    let half = objective(&|s| s.precision = Precision::Bf16);
    // Clipping and the schedule change the objective by 2 % and more, rounding by 0.1 %.
    assert!(half != full && (half / full - 1.0).abs() < 0.01, "{full} {half}");
    let apart = |other: f64| (other / full - 1.0).abs();
    let unclipped = objective(&|s| s.clip = 1e6);
    assert!(apart(unclipped) > 0.015, "{full} {unclipped}");
    assert_eq!(objective(&|s| s.clip = 1e5), unclipped, "no gradient is as long");
    assert!(apart(objective(&|s| s.schedule = Schedule::Cosine { warmup: 0 })) > 0.03);
}

#[test]
fn nan_is_noticed_and_bad_input_is_refused_in_one_line() {
    let problem = Blurred::new();
    let error = problem.run(settings(20).with_rate(1e38)).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    let line = |change: &dyn Fn(&mut Blurred, &mut DipSettings)| {
        let (mut problem, mut settings) = (Blurred::new(), settings(5));
        change(&mut problem, &mut settings);
        let line = problem.run(settings).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(line(&|_, s| s.steps = 0).starts_with("steps of a deep image prior: expected at least 1"));
    assert!(line(&|_, s| s.curve_every = 0).starts_with("interval of the curve"));
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&|_, s| s.noise = value).starts_with("noise for"));
        assert!(line(&|_, s| s.clip = value).starts_with("norm to clip at"));
        assert!(line(&|_, s| s.rate = value).starts_with("learning rate"));
    }
    assert!(
        line(&|_, s| s.net.channels = vec![4; 7])
            .contains("at least 65 x 65 pixels (fewer scales need fewer)")
    );
    assert!(line(&|p, _| p.observation = p.observation.narrow(3, 0, 47)).starts_with("observation"));
    assert!(line(&|p, _| p.observation = p.observation.to_kind(tch::Kind::Double)).contains("dtype"));
    assert!(line(&|p, _| p.observation = &p.observation / 0.0).contains("NaN or infinity"));
}
