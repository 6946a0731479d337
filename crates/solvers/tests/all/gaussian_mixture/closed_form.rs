//! With one component and Gaussian noise, MAP estimation solves a linear system.

use super::{DOUBLE, distance};
use smalti_base::{Seed, Space};
use smalti_operators::{Boundary, Convolution, Gaussian, LinearOperator, Operator};
use smalti_priors::{GaussianMixture, PatchDensity, PatchPrior, Patches, Regularizer, Sampling};
use smalti_solvers::{AdamSettings, Iteration, Map, Objective, RunControl, Schedule, run};
use tch::{Kind, Tensor};

const SIGMA: f64 = 0.05;
const WEIGHT: f64 = 0.5;

/// `(1/(n sigma^2) A^T A + w/N sum_i P_i^T S^-1 P_i) x = 1/(n sigma^2) A^T y + w/N sum_i P_i^T S^-1 mu`, by applying the
/// left-hand side to every unit image.
fn solution(operator: &Convolution, y: &Tensor, density: &GaussianMixture) -> Tensor {
    let domain = operator.domain();
    let (pixels, n) = (domain.len(), y.numel() as f64);
    let patches = Patches::all(domain, 3).unwrap();
    let precision = density.covariances().get(0).inverse();
    let prior = |rows: &Tensor| {
        patches.rows_adjoint(&rows.matmul(&precision)).unwrap() * (WEIGHT / patches.count() as f64)
    };
    let data = n * SIGMA * SIGMA;
    let columns: Vec<Tensor> = (0..pixels)
        .map(|i| {
            let x = Tensor::zeros([pixels], DOUBLE);
            let _ = x.get(i).fill_(1.0);
            let x = x.reshape(domain.batch(1));
            let applied = operator.normal(&x).unwrap() / data + prior(&patches.rows(&x).unwrap());
            applied.reshape([pixels])
        })
        .collect();
    let means = density.means().repeat([patches.count(), 1]);
    let right = operator.adjoint(y).unwrap() / data + prior(&means);
    let x = Tensor::linalg_solve(&Tensor::stack(&columns, 1), &right.reshape([pixels]), true);
    x.reshape(domain.batch(1))
}

#[test]
fn map_estimation_with_one_component_solves_its_linear_system() {
    let domain = Space::image(1, 8, 10);
    let operator = Convolution::superresolution(domain, 2, 1.0, 2, Boundary::Periodic).unwrap();
    let draw = |what: &str, shape: &[i64]| Seed::new(8).at(what, 0).normal(shape).to_kind(Kind::Double);
    let factor = draw("factor", &[9, 9]) * 0.05;
    let covariance = (factor.matmul(&factor.tr()) + Tensor::eye(9, DOUBLE) * 0.02).unsqueeze(0);
    let means = draw("means", &[1, 9]) * 0.1 + 0.5;
    let density = GaussianMixture::new(&Tensor::from_slice(&[1.0]), &means, &covariance).unwrap();
    assert_eq!(density.dim(), 9);
    let truth = draw("truth", &domain.batch(1)) * 0.2 + 0.5;
    let y = operator.apply(&truth).unwrap();
    let exact = solution(&operator, &y, &density);

    let mut prior = PatchPrior::new(&density, domain, Sampling::All, Seed::new(1)).unwrap();
    let likelihood = Gaussian::new(SIGMA).unwrap();
    // The gradient of the objective is 0 there, not so elsewhere.
    let gradient = |x: &Tensor| {
        let u = operator.apply(x).unwrap();
        use smalti_operators::Likelihood;
        let data = operator.vjp(x, &likelihood.grad(&u, &y).unwrap()).unwrap() / y.numel() as f64;
        (data + prior.value_and_grad(x).unwrap().1 * WEIGHT).abs().max().double_value(&[])
    };
    let scale = gradient(&truth);
    assert!(gradient(&exact) < 1e-12 * scale.max(1.0) && scale > 1e-3, "{} {scale}", gradient(&exact));

    let mut from = |start: &Tensor, steps: u64| {
        let (operator, likelihood, observation) = (&operator, &likelihood, &y);
        let problem = Objective { operator, likelihood, observation, prior: &mut prior, weight: WEIGHT };
        let settings = AdamSettings::constant(steps, 0.02).with_schedule(Schedule::Cosine { warmup: 10 });
        let mut map = Map::new(problem, start, settings).unwrap();
        run(&mut map, steps, &RunControl::default()).unwrap();
        map.finish().unwrap()
    };
    let found = from(&truth.zeros_like(), 3000);
    println!("{:.2e} from the solution", distance(&found, &exact));
    assert!(distance(&found, &exact) < 1e-8 && distance(&exact, &truth) > 0.05);
}
