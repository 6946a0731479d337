//! DnCNN.

use super::convolutions::{Convolution, StateDict};
use super::{Denoiser, check, check_that_it_denoises};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, parallel};
use std::ops::RangeInclusive;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// DnCNN for one noise level `s`, 25/255: `D(x) = x - K_n relu(... relu(K_1 x))` with 3x3 convolutions `K` with bias and zeros around;
/// batch normalization is merged into them.
///
/// Images with a higher level `sigma` are scaled so that their noise fits: `D(x, sigma) = m + (D(m + (x - m) s / sigma) - m) sigma / s`
/// about their mean `m`, which is about as good as a network for that level. Lower levels are refused: scaled up, images leave the
/// range of values that the network has seen, and what comes out is worse than what went in.
///
/// # Reference
/// K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising", IEEE
/// Transactions on Image Processing 26 (2017); X. Xu, J. Liu, Y. Sun, B. Wohlberg, U. S. Kamilov, "Boosting the performance of
/// plug-and-play priors via denoiser scaling", Asilomar (2020), for the scaling.
#[derive(Debug)]
pub struct DnCnn {
    layers: Vec<Convolution>,
}

impl DnCnn {
    /// The noise levels that it is made for.
    pub const LEVELS: RangeInclusive<f64> = Self::LEVEL..=2.0 * Self::LEVEL;

    /// The level that it was trained for.
    pub const LEVEL: f64 = 25.0 / 255.0;

    /// The network of a state dict as KAIR has it (`dncnn_25.pth`): `model.0`, `model.2`, ..., any number of convolutions.
    ///
    /// # Errors
    /// Those of [`smalti_base::pytorch_file::load_state_dict`]; [`smalti_base::Error::Content`] where tensors are missing, too many or of another size, or the
    /// network does not denoise.
    pub fn load(path: &Path) -> Result<Self> {
        let net = Self::from_file(path)?;
        check_that_it_denoises(&net, path)?;
        Ok(net)
    }

    fn from_file(path: &Path) -> Result<Self> {
        let mut dict = StateDict::load(path, "DnCNN for grey images (dncnn_25.pth)")?;
        let (mut layers, mut inputs) = (Vec::new(), 1);
        loop {
            let name = format!("model.{}", 2 * layers.len());
            let next = format!("model.{}.weight", 2 * layers.len() + 2);
            let last = !layers.is_empty() && !dict.has(&next);
            let outputs = last.then_some(1);
            let kernel = dict.take(&format!("{name}.weight"), &[outputs, Some(inputs), Some(3), Some(3)])?;
            inputs = kernel.size()[0];
            let bias = dict.take(&format!("{name}.bias"), &[Some(inputs)])?;
            layers.push(Convolution::new(&kernel, Some(&bias))?);
            if last {
                break;
            }
        }
        dict.finish()?;
        Ok(Self { layers })
    }

    /// Number of convolutions: 17 of the published network.
    pub fn convolutions(&self) -> usize {
        self.layers.len()
    }
}

impl Denoiser for DnCnn {
    fn name(&self) -> &'static str {
        "DnCNN"
    }

    fn levels(&self) -> RangeInclusive<f64> {
        Self::LEVELS
    }

    fn denoise(&self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        check(self, x, sigma, self.layers[0].device())?;
        let _no_grad = tch::no_grad_guard();
        parallel::in_operations(|| {
            let scale = Self::LEVEL / sigma;
            let mean = x.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?;
            let mut noise = x.f_to_kind(Kind::Float)?.f_sub(&mean)?.f_mul_scalar(scale)?.f_add(&mean)?;
            for (k, layer) in self.layers.iter().enumerate() {
                noise = layer.apply(&noise, 1, 1)?;
                if k + 1 < self.layers.len() {
                    noise = noise.f_relu_()?;
                }
            }
            Ok(x.f_to_kind(Kind::Float)?.f_sub(&(noise / scale))?.f_contiguous()?)
        })
    }

    fn move_to(&mut self, device: Device) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.move_to(device))
    }

    fn hash(&self) -> Result<String> {
        data_hash(&self.layers.iter().flat_map(Convolution::tensors).collect::<Vec<_>>())
    }
}
