//! Gaussian mixtures: densities, gradients and Wiener filters by their formulas; files in `files`.
#![allow(clippy::unwrap_used)] // in helpers, too

mod files;

use smalti_base::Seed;
use smalti_priors::gaussian_mixture::Moments;
use smalti_priors::{GaussianMixture, PatchDensity};
use std::f64::consts::PI;
use tch::{Device, Kind, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn drawn(name: &str, shape: &[i64]) -> Tensor {
    Seed::new(6).at(name, 0).normal(shape).to_kind(Kind::Double)
}

/// `K` components in `d` dimensions, each wider than the one before.
fn mixture(k: i64, d: i64) -> GaussianMixture {
    let factors =
        drawn("factors", &[k, d, d]) * 0.2 * Tensor::linspace(0.3, 1.0, k, DOUBLE).reshape([k, 1, 1]);
    let covariances = factors.matmul(&factors.transpose(1, 2)) + Tensor::eye(d, DOUBLE) * 1e-3;
    let weights = Tensor::arange(k, DOUBLE) + 1.0;
    GaussianMixture::new(
        &(&weights / weights.sum(Kind::Double)),
        &(drawn("means", &[k, d]) * 0.5),
        &covariances,
    )
    .unwrap()
}

/// `log w_k + log N(x_n; mu_k, Sigma_k)` word for word: `[N, K]`.
fn joint(m: &GaussianMixture, x: &Tensor) -> Tensor {
    let r = x.unsqueeze(1) - m.means();
    let solved = m.covariances().inverse().matmul(&r.unsqueeze(3)).squeeze_dim(3);
    let square = (r * solved).sum_dim_intlist(2i64, false, Kind::Double);
    (m.weights().log() - m.covariances().logdet() * 0.5 - m.dim() as f64 / 2.0 * (2.0 * PI).ln())
        - square * 0.5
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

#[test]
fn density_and_gradient_are_those_of_the_formulas_whatever_the_number_of_patches() {
    for (k, d, n) in [(1, 4, 50), (5, 9, 0), (5, 9, 1), (7, 9, 9001), (90, 25, 2600)] {
        let m = mixture(k, d);
        let x = m.sample(n, &mut Seed::new(1).at("patches", 0)).unwrap();
        let joint = joint(&m, &x);
        let nll = -joint.logsumexp(1i64, false);
        let shares = joint.softmax(1, Kind::Double);
        let pulls =
            m.covariances().inverse().matmul(&(x.unsqueeze(1) - m.means()).unsqueeze(3)).squeeze_dim(3);
        let grad = (pulls * shares.unsqueeze(2)).sum_dim_intlist(1i64, false, Kind::Double);
        assert_eq!(m.nll(&x).unwrap().size(), [n]);
        let (value, slope) = m.nll_and_grad(&x).unwrap();
        let single = m.nll_and_grad(&x.to_kind(Kind::Float)).unwrap();
        assert_eq!((single.0.kind(), single.1.kind()), (Kind::Float, Kind::Float));
        if n > 0 {
            let size = grad.abs().max().double_value(&[]);
            assert!(distance(&value, &nll) < 1e-9 && distance(&m.nll(&x).unwrap(), &nll) < 1e-9, "{k} {d}");
            assert!(distance(&slope, &grad) < 1e-9 * size, "{k} {d}: {}", distance(&slope, &grad));
            assert!(distance(&single.0, &nll) < 1e-3 && distance(&single.1, &grad) < 1e-3 * size, "{k} {d}");
        }
    }
}

#[test]
fn patches_far_away_have_finite_values_and_weights_may_be_zero() {
    let m = mixture(3, 4);
    let far = Tensor::full([2, 4], 1e6, (Kind::Float, Device::Cpu));
    let (nll, grad) = m.nll_and_grad(&far).unwrap();
    assert_eq!(nll.isfinite().all().int64_value(&[]) + grad.isfinite().all().int64_value(&[]), 2);
    assert!(nll.min().double_value(&[]) > 1e11 && grad.abs().max().double_value(&[]) > 1e5);
    let weights = Tensor::from_slice(&[0.0, 1.0, 0.0]);
    let one = GaussianMixture::new(&weights, m.means(), m.covariances()).unwrap();
    let x = drawn("x", &[30, 4]);
    let alone = joint(&one, &x).select(1, 1);
    assert!(distance(&one.nll(&x).unwrap(), &-alone) < 1e-10);
}

#[test]
fn samples_have_the_moments_of_the_mixture() {
    let m = mixture(3, 4);
    let x = m.sample(200_000, &mut Seed::new(1).at("samples", 0)).unwrap();
    let mean = m.weights().unsqueeze(0).matmul(m.means()).squeeze_dim(0);
    assert!(distance(&x.mean_dim(0i64, false, Kind::Double), &mean) < 5e-3);
    let moments = Moments::expected(&m, &x).unwrap();
    let again = moments.mixture(0.0).unwrap();
    assert!(distance(again.weights(), m.weights()) < 5e-3 && distance(again.means(), m.means()) < 5e-3);
    assert!(distance(again.covariances(), m.covariances()) < 5e-3);
}

#[test]
fn moments_are_those_of_the_formulas() {
    let m = mixture(4, 9);
    // A million away from zero in units of their spread: raw second moments would leave nothing.
    let x = m.sample(5000, &mut Seed::new(1).at("patches", 0)).unwrap() * 1e-3 + 1000.0;
    let near =
        GaussianMixture::new(m.weights(), &(m.means() * 1e-3 + 1000.0), &(m.covariances() * 1e-6)).unwrap();
    let moments = Moments::expected(&near, &x).unwrap();
    let joint = joint(&near, &x);
    let shares = joint.softmax(1, Kind::Double);
    let counts = shares.sum_dim_intlist(0i64, false, Kind::Double);
    let means = near.means()
        + (shares.unsqueeze(2) * (x.unsqueeze(1) - near.means())).sum_dim_intlist(0i64, false, Kind::Double)
            / counts.unsqueeze(1);
    let r = (x.unsqueeze(1) - &means).transpose(0, 1);
    let weighted = &r * shares.transpose(0, 1).unsqueeze(2);
    let covariances = weighted.transpose(1, 2).matmul(&r) / counts.reshape([4, 1, 1]);
    let (found, likelihood) =
        (moments.mixture(0.0).unwrap(), joint.logsumexp(1i64, false).mean(Kind::Double));
    assert!((moments.mean_log_likelihood() - likelihood.double_value(&[])).abs() < 1e-6);
    assert!(distance(&moments.counts(), &counts) < 1e-5 && distance(found.means(), &means) < 1e-9);
    let size = covariances.abs().max().double_value(&[]);
    assert!(distance(found.covariances(), &covariances) < 1e-7 * size);

    // Hard shares: means and covariances of the parts.
    let labels = Tensor::arange(5000, (Kind::Int64, Device::Cpu)).remainder(3);
    let parts = Moments::labelled(&means, &x.to_kind(Kind::Double), &labels).unwrap().mixture(1e-9).unwrap();
    for k in 0..3 {
        let part = x.slice(0, k, None, 3);
        assert!(distance(&parts.means().get(k), &part.mean_dim(0i64, false, Kind::Double)) < 1e-9);
        let expected =
            part.transpose(0, 1).cov(0, None::<Tensor>, None::<Tensor>) + Tensor::eye(9, DOUBLE) * 1e-9;
        assert!(distance(&parts.covariances().get(k), &expected) < 1e-5 * size);
    }
    // The last component has no patches: it stays where it is, at the floor.
    assert!(distance(&parts.means().get(3), &means.get(3)) < 1e-12);
    assert!(distance(&parts.covariances().get(3), &(Tensor::eye(9, DOUBLE) * 1e-9)) < 1e-20);
    let weight = parts.weights().double_value(&[3]);
    assert!(weight > 0.0 && weight < 1e-15);
    let error = Moments::labelled(&means, &x, &labels).unwrap().mixture(0.0).unwrap_err().to_string();
    assert!(error.contains("component 3 of 4"), "{error}");
    assert!(Moments::labelled(&means, &x, &(labels + 2)).is_err());
    assert!(Moments::labelled(&means, &x, &Tensor::zeros([7], (Kind::Int64, Device::Cpu))).is_err());
    assert!(moments.mixture(-1.0).is_err());
}

#[test]
fn wiener_filters_are_those_of_the_formulas() {
    let m = mixture(5, 9);
    let z = m.sample(5000, &mut Seed::new(1).at("patches", 0)).unwrap() + drawn("noise", &[5000, 9]) * 0.1;
    let variance = 0.01;
    let noise = Tensor::eye(9, DOUBLE) * variance;
    let noisy = GaussianMixture::new(m.weights(), m.means(), &(m.covariances() + &noise)).unwrap();
    let labels = joint(&noisy, &z).argmax(1, false);
    assert!(m.with_noise(variance).unwrap().most_likely(&z).unwrap() == labels);
    let (sigma, mu) = (m.covariances().index_select(0, &labels), m.means().index_select(0, &labels));
    let right = sigma.matmul(&z.unsqueeze(2)) + mu.unsqueeze(2) * variance;
    let expected = (sigma + noise).inverse().matmul(&right).squeeze_dim(2);
    assert!(distance(&m.denoise(&z, variance).unwrap(), &expected) < 1e-10);
    assert!(distance(&m.denoise(&z.to_kind(Kind::Float), variance).unwrap(), &expected) < 1e-4);
    assert_eq!(m.denoise(&z.to_kind(Kind::Float), variance).unwrap().kind(), Kind::Float);
    // Without noise nothing is changed; with nothing but noise the means are left.
    assert!(distance(&m.denoise(&z, 0.0).unwrap(), &z) < 1e-10);
    let means = m.means().index_select(0, &m.with_noise(1e12).unwrap().most_likely(&z).unwrap());
    assert!(distance(&m.denoise(&z, 1e12).unwrap(), &means) < 1e-10);
    for wrong in [-1e-3, f64::NAN, f64::INFINITY] {
        assert!(m.denoise(&z, wrong).unwrap_err().to_string().starts_with("variance of the noise"));
    }
}

#[test]
fn wrong_parameters_and_patches_are_errors() {
    let m = mixture(3, 4);
    let line = |w: &Tensor, mu: &Tensor, s: &Tensor| GaussianMixture::new(w, mu, s).unwrap_err().to_string();
    let (w, mu, s) = (m.weights(), m.means(), m.covariances());
    assert!(line(&w.narrow(0, 0, 2), mu, s).starts_with("weights of a Gaussian mixture: expected [3]"));
    assert!(line(w, &mu.get(0), s).contains("[K, d]") && line(w, mu, &s.get(0)).contains("[3, 4, 4]"));
    assert!(line(&(w * 1.01), mu, s).contains("sum 1"));
    assert!(line(&(w - Tensor::from_slice(&[0.5, -0.5, 0.0])), mu, s).contains("least weight of -"));
    assert!(line(&w.to_kind(Kind::Int64), mu, s).contains("floating-point"));
    assert!(line(w, &(mu / 0.0), s).contains("finite"));
    assert!(line(w, mu, &(s - Tensor::eye(4, DOUBLE))).contains("component 0 of 3"));
    assert!(line(w, mu, &s.triu(0)).contains("symmetric"));
    for wrong in [vec![4], vec![2, 5], vec![1, 2, 4]] {
        let x = Tensor::zeros(&wrong[..], DOUBLE);
        assert!(m.nll(&x).unwrap_err().to_string().contains("[N, 4]"));
        assert!(
            m.nll_and_grad(&x).is_err() && m.denoise(&x, 0.1).is_err() && Moments::expected(&m, &x).is_err()
        );
    }
    // Labels, one for each patch, of a component that is there.
    let labelled = |x: &[i64], labels: &[i64]| {
        let error = Moments::labelled(mu, &Tensor::zeros(x, DOUBLE), &Tensor::from_slice(labels)).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!((labelled(&[2, 4], &[0, 2]), labelled(&[0, 4], &[])), Default::default());
    for (wrong, labels) in [(vec![2, 5], 2), (vec![4], 4), (vec![1, 2, 4], 1)] {
        let line = labelled(&wrong, &vec![0; labels]);
        assert!(line.starts_with("patches: expected [N, 4]"), "{line}");
    }
    assert!(labelled(&[2, 4], &[0]).starts_with("labels: expected Int64 [2]"));
    assert!(labelled(&[2, 4], &[0, 3]).contains("0 to 2") && labelled(&[2, 4], &[-1, 0]).contains("0 to 2"));
    assert!(Moments::labelled(mu, &Tensor::zeros([2, 4], DOUBLE), &Tensor::zeros([2], DOUBLE)).is_err());
    assert!(m.nll(&Tensor::zeros([2, 4], (Kind::Int64, Device::Cpu))).is_err());
    assert!(m.sample(-1, &mut Seed::new(1).at("x", 0)).is_err());
}
