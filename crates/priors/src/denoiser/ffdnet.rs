//! FFDNet.

use super::convolutions::{Convolution, cut_like, padded};
use super::{Denoiser, check, check_that_it_denoises};
use smalti_base::checkpoint::data_hash;
use smalti_base::matlab_file::{self, Layer};
use smalti_base::{Error, Result, parallel};
use std::ops::RangeInclusive;
use std::path::Path;
use tch::{Device, Tensor};

/// FFDNet, a network that is told the noise level: `D(x, sigma) = S K_n relu(... relu(K_1 (S^-1 x, sigma)))` with 3x3 convolutions `K`
/// with bias, zeros around, and the rearrangement `S` of four channels to squares of 2 x 2 pixels. It computes at half the resolution;
/// the level is a fifth channel.
///
/// # Reference
/// K. Zhang, W. Zuo, L. Zhang, "FFDNet: toward a fast and flexible solution for CNN-based image denoising", IEEE Transactions on Image
/// Processing 27 (2018).
#[derive(Debug)]
pub struct FfdNet {
    layers: Vec<Convolution>,
}

/// Sub-images: in files the row within a square goes fastest, in libtorch's pixel shuffle the column.
const ORDER: [i64; 4] = [0, 2, 1, 3];

impl FfdNet {
    /// The noise levels that it is made for.
    pub const LEVELS: RangeInclusive<f64> = 0.0..=75.0 / 255.0;

    /// The network of grey images of a file of its authors (`FFDNet_gray.mat`, MatConvNet in MATLAB 7.3), with any number of
    /// convolutions and channels.
    ///
    /// # Errors
    /// Those of [`matlab_file::load_network`]; [`Error::Content`] where the layers are not `SubP, concat, conv (relu conv)*, SubP`, their
    /// channels do not follow each other, or the network does not denoise.
    pub fn load(path: &Path) -> Result<Self> {
        let net = Self::from_layers(&matlab_file::load_network(path)?, path)?;
        check_that_it_denoises(&net, path)?;
        Ok(net)
    }

    /// The network of layers that were read; `path` is named in errors.
    ///
    /// # Errors
    /// Those of [`FfdNet::load`] about layers.
    pub fn from_layers(layers: &[Layer], path: &Path) -> Result<Self> {
        let wrong =
            |problem: String| Error::content(path, problem, "give FFDNet_gray.mat of the authors of FFDNet");
        let kinds: Vec<&str> = layers.iter().map(|layer| layer.kind.as_str()).collect();
        let inner = match &kinds[..] {
            ["SubP", "concat", inner @ .., "SubP"] => inner,
            _ => {
                return Err(wrong(format!(
                    "has {} layers that are not those of FFDNet: {}",
                    kinds.len(),
                    short(&kinds)
                )));
            }
        };
        let expected = |k: usize| if k.is_multiple_of(2) { "conv" } else { "relu" };
        let off = inner.iter().enumerate().find(|(k, kind)| **kind != expected(*k));
        if let Some((k, kind)) = off {
            return Err(wrong(format!(
                "has a layer {} of the type {kind} where FFDNet has {}",
                k + 3,
                expected(k)
            )));
        }
        if inner.len() < 3 || inner.len().is_multiple_of(2) {
            let count = inner.len().div_ceil(2);
            return Err(wrong(format!(
                "has {count} convolutions in {} layers: FFDNet ends with one",
                kinds.len()
            )));
        }
        let (count, mut inputs) = (inner.len().div_ceil(2), 5);
        let mut all = Vec::new();
        for (k, layer) in layers.iter().filter(|layer| layer.kind == "conv").enumerate() {
            let sizes: Vec<Vec<i64>> = layer.weights.iter().map(Tensor::size).collect();
            let outputs = match &sizes[..] {
                [kernel, bias] => match (&kernel[..], &bias[..]) {
                    (&[3, 3, i, o], &[b, 1])
                        if i == inputs && b == o && o > 0 && (k + 1 < count || o == 4) =>
                    {
                        Some(o)
                    }
                    _ => None,
                },
                _ => None,
            };
            let Some(outputs) = outputs else {
                let wanted = if k + 1 == count { "4" } else { "n" };
                return Err(wrong(format!(
                    "has weights of {sizes:?} in convolution {} of {count}, not [3, 3, {inputs}, {wanted}] and [{wanted}, 1]",
                    k + 1
                )));
            };
            let mut kernel = layer.weights[0].f_permute([3, 2, 0, 1])?;
            let mut bias = layer.weights[1].f_reshape([outputs])?;
            if k == 0 {
                kernel = kernel.f_index_select(1, &Tensor::from_slice(&[&ORDER[..], &[4]].concat()))?;
            }
            if k + 1 == count {
                let order = Tensor::from_slice(&ORDER);
                (kernel, bias) = (kernel.f_index_select(0, &order)?, bias.f_index_select(0, &order)?);
            }
            all.push(Convolution::new(&kernel, Some(&bias))?);
            inputs = outputs;
        }
        Ok(Self { layers: all })
    }

    /// Number of convolutions: 15 of the published network.
    pub fn convolutions(&self) -> usize {
        self.layers.len()
    }
}

/// The first types.
fn short(kinds: &[&str]) -> String {
    let first: Vec<String> = kinds.iter().take(4).map(|kind| kind.chars().take(12).collect()).collect();
    if kinds.len() > 4 { format!("{}, ...", first.join(", ")) } else { first.join(", ") }
}

impl Denoiser for FfdNet {
    fn name(&self) -> &'static str {
        "FFDNet"
    }

    fn levels(&self) -> RangeInclusive<f64> {
        Self::LEVELS
    }

    fn denoise(&self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        check(self, x, sigma, self.layers[0].device())?;
        let _no_grad = tch::no_grad_guard();
        parallel::in_operations(|| {
            let parts = padded(x, 2)?.f_pixel_unshuffle(2)?;
            let level = parts.f_narrow(1, 0, 1)?.f_full_like(sigma)?;
            let mut z = Tensor::f_cat(&[parts, level], 1)?;
            for (k, layer) in self.layers.iter().enumerate() {
                z = layer.apply(&z, 1, 1)?;
                if k + 1 < self.layers.len() {
                    z = z.f_relu_()?;
                }
            }
            cut_like(&z.f_pixel_shuffle(2)?, x)
        })
    }

    fn move_to(&mut self, device: Device) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.move_to(device))
    }

    fn hash(&self) -> Result<String> {
        data_hash(&self.layers.iter().flat_map(Convolution::tensors).collect::<Vec<_>>())
    }
}
