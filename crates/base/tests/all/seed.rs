//! Streams: repeatable, apart from each other, of the right distribution, and the same in every release.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use tch::{Kind, Tensor};

fn values(tensor: Tensor) -> Vec<f32> {
    Vec::try_from(tensor.reshape([-1])).unwrap()
}

#[test]
fn a_stream_depends_on_seed_purpose_and_step_alone() {
    let draw = |seed: Seed, purpose: &str, step| values(seed.at(purpose, step).normal(&[2, 1, 3, 5]));
    let seed = Seed::new(7);
    let noise = draw(seed, "noise", 3);
    let _ = draw(seed, "patches", 3);
    assert_eq!(noise, draw(seed, "noise", 3));
    let others = [
        draw(seed, "noise", 4),
        draw(seed, "patches", 3),
        draw(Seed::new(8), "noise", 3),
        draw(seed.derive("noise", 3), "noise", 3),
        draw(seed.derive("image", 0), "noise", 3),
        draw(seed.derive("image", 1), "noise", 3),
    ];
    for (i, other) in others.iter().enumerate() {
        assert!(noise.iter().zip(other).all(|(a, b)| a != b), "stream {i} shares values");
        assert!(others[..i].iter().all(|earlier| earlier != other), "stream {i} is there twice");
    }
}

#[test]
fn streams_are_the_same_in_every_release() {
    let mut stream = Seed::new(7).at("noise", 0);
    assert_eq!(values(stream.normal(&[3])), [-1.9149239, 0.88802034, -1.3738399]);
    assert_eq!(values(stream.uniform(&[3])), [0.37731647, 0.74156874, 0.8767525]);
    assert_eq!(stream.indices(1000, 4), [593, 278, 313, 607]);
    assert_eq!(stream.distinct_indices(1000, 4), [163, 38, 812, 340]);
    assert_eq!(stream.permutation(6), [4, 3, 0, 5, 2, 1]);
    // The first 8 bytes of SHA-256 of <u64 seed, u64 index, purpose>, checked with Python's hashlib.
    assert_eq!(Seed::new(7).derive("image", 1).value(), 17458043272876512932);
}

#[test]
fn normal_values_have_the_moments_of_a_standard_normal() {
    let n = 200_000;
    let x = Seed::new(1).at("moments", 0).normal(&[n]).to_kind(Kind::Double);
    let moment = |k: i64| x.pow_tensor_scalar(k).mean(Kind::Double).double_value(&[]);
    // Five standard errors, sqrt(Var(x^k) / n) with Var = 1, 2, 15, 96.
    let tolerance = |variance: f64| 5.0 * (variance / n as f64).sqrt();
    assert!(moment(1).abs() < tolerance(1.0), "{}", moment(1));
    assert!((moment(2) - 1.0).abs() < tolerance(2.0), "{}", moment(2));
    assert!(moment(3).abs() < tolerance(15.0), "{}", moment(3));
    assert!((moment(4) - 3.0).abs() < tolerance(96.0), "{}", moment(4));
    let neighbours = (x.narrow(0, 0, n - 1) * x.narrow(0, 1, n - 1)).mean(Kind::Double).double_value(&[]);
    assert!(neighbours.abs() < tolerance(1.0), "neighbours are correlated: {neighbours}");
}

#[test]
fn uniform_values_fill_the_unit_interval() {
    let n = 200_000;
    let x = values(Seed::new(1).at("uniform", 0).uniform(&[n]));
    assert!(x.iter().all(|v| (0.0..1.0).contains(v)));
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
    assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / n as f64).sqrt(), "{mean}");
    for tenth in 0..10 {
        let share = x.iter().filter(|&&v| (v * 10.0) as i64 == tenth).count() as f64 / n as f64;
        assert!((share - 0.1).abs() < 5.0 * (0.09 / n as f64).sqrt(), "{tenth}: {share}");
    }
}

#[test]
fn indices_are_in_range_and_reach_every_value() {
    let mut stream = Seed::new(1).at("indices", 0);
    let mut drawn = stream.indices(7, 500);
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn, [0, 1, 2, 3, 4, 5, 6]);
    let mut some = stream.distinct_indices(50, 20);
    assert!(!some.is_sorted(), "in random order");
    some.sort_unstable();
    some.dedup();
    assert!(some.len() == 20 && some.iter().all(|i| (0..50).contains(i)));
    for mut all in [stream.distinct_indices(9, 100), stream.permutation(9)] {
        assert!(!all.is_sorted());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert!(stream.distinct_indices(0, 3).is_empty() && stream.permutation(0).is_empty());
}

#[test]
fn counts_are_those_of_poisson() {
    let mut stream = Seed::new(7).at("counts", 0);
    for mean in [0.3f64, 3.0, 11.9, 12.1, 250.0, 4096.0] {
        let n = 20_000;
        let counts =
            Vec::<f64>::try_from(stream.poisson(&Tensor::from_slice(&vec![mean; n])).unwrap()).unwrap();
        // Chi-squared of the bins that hold at least 20, with the probabilities p(k) = exp(-mean) mean^k / k!.
        let (mut p, mut log) = (Vec::new(), -mean);
        for k in 1..(mean + 20.0 * mean.sqrt() + 20.0) as usize {
            p.push(f64::exp(log));
            log += f64::ln(mean / k as f64);
        }
        let (mut statistic, mut bins, mut rest) = (0.0, 0, (n as f64, n as f64));
        for (k, p) in p.iter().enumerate().filter(|(_, p)| *p * n as f64 > 20.0) {
            let found = counts.iter().filter(|&&c| c == k as f64).count() as f64;
            let expected = p * n as f64;
            statistic += (found - expected).powi(2) / expected;
            bins += 1;
            rest = (rest.0 - found, rest.1 - expected);
        }
        statistic += (rest.0 - rest.1).powi(2) / rest.1.max(1.0);
        let limit = f64::from(bins) + 5.0 * (2.0 * f64::from(bins)).sqrt();
        assert!(statistic < limit, "mean {mean}: chi-squared {statistic} with {bins} bins");
    }
    assert_eq!(stream.poisson(&Tensor::from_slice(&[0.0])).unwrap(), Tensor::from_slice(&[0.0]));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let line = stream.poisson(&Tensor::from_slice(&[1.0, bad])).unwrap_err().to_string();
        assert!(line.contains(&format!("got {bad}")), "{line}");
    }
}
