//! The Wasserstein patch prior: values, gradients, potentials, and what it refuses.

#![allow(clippy::unwrap_used)]

mod exact;
mod gradients;
mod inputs;
mod potentials;
mod properties;
mod shared;
mod tensors;
mod values;

use smalti_base::{Error, Seed};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use tch::{Kind, Tensor};

/// All reference patches of side `p`, one scale, a tight gap.
fn tight(p: i64) -> WppSettings {
    WppSettings::default()
        .with_patch_size(p)
        .with_references(ReferencePatches::All)
        .with_scales(1)
        .with_dual(DualMethod::Converge { gap: GAP, evaluations: 20_000 })
}

const GAP: f64 = 1e-6;

/// Values in `[0, 1)`, float64, smooth enough for neighbouring patches to be alike.
fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(5).at(name, 0).uniform(size).to_kind(Kind::Double)
}

fn prior(size: &[i64], references: &[&Tensor], settings: &WppSettings) -> WassersteinPatchPrior {
    WassersteinPatchPrior::new(size, references, settings, Seed::new(6)).unwrap()
}

/// What users read: one line.
fn line(error: &Error) -> String {
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// All patches of side `p` at every `stride`-th position, by slices: `[N, d]`.
fn patches(x: &Tensor, p: i64, stride: i64, centred: bool) -> Tensor {
    let size = x.size();
    let axes = size.len() - 2;
    let mut unfolded = x.shallow_clone();
    for axis in 0..axes {
        unfolded = unfolded.unfold(2 + axis as i64, p, stride);
    }
    // [B, C, places, patch] to [B, places, C, patch].
    let places: Vec<i64> = (0..axes as i64).map(|a| 2 + a).collect();
    let inner: Vec<i64> = (0..axes as i64).map(|a| 2 + axes as i64 + a).collect();
    let order: Vec<i64> = [vec![0], places, vec![1], inner].concat();
    let rows = unfolded.permute(&order[..]).reshape([-1, size[1] * p.pow(axes as u32)]);
    if centred { &rows - rows.mean_dim(1i64, true, None::<Kind>) } else { rows }
}

/// The coarser scale by libtorch's convolutions with the separable 4-tap Gaussian of standard deviation 1.
fn coarser(x: &Tensor) -> Tensor {
    let weights: Vec<f64> = [-1.5, -0.5, 0.5, 1.5].iter().map(|d: &f64| (-d * d / 2.0).exp()).collect();
    let total: f64 = weights.iter().sum();
    let line = Tensor::from_slice(&weights).to_kind(x.kind()) / total;
    let size = x.size();
    let planes: Vec<i64> = [vec![size[0] * size[1], 1], size[2..].to_vec()].concat();
    let x = x.reshape(&planes[..]);
    let plane = line.outer(&line);
    let y = if size.len() == 4 {
        x.conv2d(&plane.reshape([1, 1, 4, 4]), None::<Tensor>, [2, 2], [0, 0], [1, 1], 1)
    } else {
        let cube = line.reshape([4, 1, 1]) * plane;
        x.conv3d(&cube.reshape([1, 1, 4, 4, 4]), None::<Tensor>, [2, 2, 2], [0, 0, 0], [1, 1, 1], 1)
    };
    let out: Vec<i64> = [size[..2].to_vec(), y.size()[2..].to_vec()].concat();
    y.reshape(&out[..])
}
