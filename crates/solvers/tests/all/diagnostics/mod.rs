//! Figures of convergence as ArviZ has them.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_solvers::langevin::diagnostics::{bulk_sample_size, rank_r_hat, split_r_hat, tail_sample_size};
use std::path::Path;
use tch::Tensor;

/// Every kind of chains in the golden file, and what ArviZ says: R-hat split and by ranks, effective sample sizes for the
/// mean, in the bulk and in the tails.
fn golden() -> Vec<(String, Vec<Vec<f64>>, [f64; 5])> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/diagnostics/golden/convergence.safetensors");
    let all = Tensor::read_safetensors(path).unwrap();
    let of = |name: &str| &all.iter().find(|(known, _)| known == name).unwrap().1;
    let kinds = all.iter().filter_map(|(name, _)| name.strip_suffix(".chains"));
    kinds
        .map(|kind| {
            let chains = Vec::<Vec<f64>>::try_from(of(&format!("{kind}.chains"))).unwrap();
            let figures = Vec::<f64>::try_from(of(&format!("{kind}.figures"))).unwrap();
            (kind.to_owned(), chains, figures.try_into().unwrap())
        })
        .collect()
}

#[test]
fn figures_are_those_of_arviz() {
    let all = golden();
    assert_eq!(all.len(), 14);
    for (kind, chains, [split, rank, _, bulk, tail]) in all {
        for (what, figure, expected) in [
            ("split R-hat", split_r_hat(&chains), split),
            ("R-hat by ranks", rank_r_hat(&chains), rank),
            ("bulk", bulk_sample_size(&chains), bulk),
            ("tail", tail_sample_size(&chains), tail),
        ] {
            let found = figure.unwrap();
            assert!((found / expected - 1.0).abs() < 1e-9, "{kind}, {what}: {found} instead of {expected}");
        }
    }
}

#[test]
fn figures_do_not_depend_on_units() {
    for (kind, chains, _) in golden() {
        let scaled: Vec<Vec<f64>> = chains.iter().map(|c| c.iter().map(|x| 1024.0 * x).collect()).collect();
        for figure in [rank_r_hat, bulk_sample_size, tail_sample_size] {
            assert_eq!(figure(&chains).unwrap(), figure(&scaled).unwrap(), "{kind}");
        }
    }
}
