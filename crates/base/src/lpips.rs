//! LPIPS: how different two images look, by the features of a network that was trained to recognise things.

mod weights;

use crate::error::{Error, Result};
use std::path::Path;
use tch::{Kind, Tensor};

/// Convolutions of AlexNet's features: channels in and out, side of the kernel, stride and padding. Before the second and the third
/// one a maximum over 3 x 3 pixels is taken at every second pixel.
const LAYERS: [Layer; 5] = [
    Layer { channels: [3, 64], side: 11, stride: 4, padding: 2, pooled: false },
    Layer { channels: [64, 192], side: 5, stride: 1, padding: 2, pooled: true },
    Layer { channels: [192, 384], side: 3, stride: 1, padding: 1, pooled: true },
    Layer { channels: [384, 256], side: 3, stride: 1, padding: 1, pooled: false },
    Layer { channels: [256, 256], side: 3, stride: 1, padding: 1, pooled: false },
];

#[derive(Debug, Clone, Copy)]
struct Layer {
    channels: [i64; 2],
    side: i64,
    stride: i64,
    padding: i64,
    pooled: bool,
}

/// Means and scales of the three colours that the network was trained with, for values from -1 to 1.
const MEAN: [f64; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f64; 3] = [0.458, 0.448, 0.450];

/// Images have at least so many pixels along each side, or a layer has none.
pub const LEAST_SIDE: i64 = 31;

/// How far beyond -1 and 1 a value may be.
const SLACK: f64 = 0.01;

/// The distance of [`LpipsAlex::distance`] of two drawn images ([`check_pair`]) with the right weights.
const CHECK: f64 = 0.1482;
const CHECK_ERROR: f64 = 5e-4;

/// LPIPS with AlexNet, version 0.1: weighed squared differences of normalised features, summed over five layers.
///
/// `d(x, y) = sum_l mean_(h,w) sum_c w_lc (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2`, `f_l` the values after the `l`-th ReLU of AlexNet's
/// features and the norm over channels.
///
/// 0 for equal images; higher is more different. The talk's tables have it with the outer pixels cut off as for the PSNR, grey
/// images as three equal colours.
///
/// Zhang, Isola, Efros, Shechtman, Wang: The unreasonable effectiveness of deep features as a perceptual metric. CVPR 2018.
#[derive(Debug)]
pub struct LpipsAlex {
    /// Kernel and bias of every convolution.
    convolutions: Vec<[Tensor; 2]>,
    /// `w_l`, `[1, C, 1, 1]`.
    linear: Vec<Tensor>,
}

impl LpipsAlex {
    /// Reads the network from `slice_1_base.keras` to `slice_5_base.keras` in the folder `backbone` (torchvision's AlexNet as Keras
    /// files, from the repository Image-X-Institute/lpips_torch2tf) and the weights of the features from `linear`
    /// (`lpips_lin_alex_v0.1.pth`, from richzhang/PerceptualSimilarity).
    ///
    /// # Errors
    /// [`Error::File`] where a file cannot be read; [`Error::Content`] where it is not one of these, or where the network that they
    /// make does not give the known distance of a drawn pair of images, as one with axes in another order; [`Error::Feature`] without
    /// the feature `hdf5`.
    pub fn load(backbone: &Path, linear: &Path) -> Result<Self> {
        let convolutions = LAYERS.iter().enumerate().map(|(k, layer)| {
            let [input, output] = layer.channels;
            let path = backbone.join(format!("slice_{}_base.keras", k + 1));
            weights::convolution(&path, [output, input, layer.side, layer.side])
        });
        let convolutions = convolutions.collect::<Result<_>>()?;
        Self { convolutions, linear: weights::linear(linear, LAYERS.map(|layer| layer.channels[1]))? }
            .checked(backbone)
    }

    fn checked(self, backbone: &Path) -> Result<Self> {
        let (x, y) = check_pair();
        let found = self.distance(&x, &y)?;
        if (found - CHECK).abs() <= CHECK_ERROR {
            return Ok(self);
        }
        let problem = format!(
            "the network made of these files finds {found:.4} for a pair of images that are {CHECK:.4} apart: they hold other weights, \
             or in another order"
        );
        Err(Error::content(backbone, problem, "take the files that fetch-data brings"))
    }

    /// The distance of two images.
    ///
    /// # Shapes
    /// `[1, 1, H, W]`, grey, or `[1, 3, H, W]`, red, green and blue, with at least [`LEAST_SIDE`] pixels along each side.
    ///
    /// # Conventions
    /// Values from -1, black, to 1, white. Images from 0 to 1 give other distances, mostly lower ones: scale them by `2 x - 1`.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Value`] where values are not finite, or beyond -1.01 to 1.01.
    pub fn distance(&self, x: &Tensor, y: &Tensor) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let size = x.size();
        let fits = matches!(size[..], [1, 1 | 3, h, w] if h.min(w) >= LEAST_SIDE);
        if !fits || y.size() != size {
            let expected = format!("two images [1, 1 or 3, H, W] of one size, H and W at least {LEAST_SIDE}");
            return Err(Error::shape("images for LPIPS", expected, if fits { y.size() } else { size }));
        }
        for image in [x, y] {
            let most = image.f_abs()?.f_max()?.double_value(&[]);
            if !most.is_finite() || most > 1.0 + SLACK {
                let expected = "values from -1 (black) to 1 (white)";
                return Err(Error::value("image for LPIPS", expected, format!("one of size {most}")));
            }
        }
        let (x, y) = (self.features(x)?, self.features(y)?);
        x.iter().zip(&y).zip(&self.linear).try_fold(0.0, |sum, ((x, y), weights)| {
            let apart = ((x - y).f_square()? * weights).f_sum_dim_intlist(1i64, true, None::<Kind>)?;
            Ok(sum + apart.f_mean(Kind::Double)?.double_value(&[]))
        })
    }

    /// The normalised features of every layer.
    fn features(&self, image: &Tensor) -> Result<Vec<Tensor>> {
        let colours = |values: [f64; 3]| Tensor::from_slice(&values).to_kind(Kind::Float).view([1, 3, 1, 1]);
        let image = image.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?;
        let mut x = (image.f_expand([-1, 3, -1, -1], false)? - colours(MEAN)) / colours(SCALE);
        let mut features = Vec::new();
        for (layer, [kernel, bias]) in LAYERS.iter().zip(&self.convolutions) {
            if layer.pooled {
                x = x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?;
            }
            let (stride, padding) = ([layer.stride; 2], [layer.padding; 2]);
            x = x.f_conv2d(kernel, Some(bias), stride, padding, [1, 1], 1)?.f_relu()?;
            let norm = x.f_square()?.f_sum_dim_intlist(1i64, true, None::<Kind>)?.f_sqrt()?;
            features.push(&x / (norm + 1e-10));
        }
        Ok(features)
    }
}

/// Two drawn images of three different colours, without any symmetry.
fn check_pair() -> (Tensor, Tensor) {
    let side = 64;
    let wave = |rows: f64, columns: f64, phase: f64| {
        let value = move |k: i64| {
            let (i, j) = ((k / side) as f64, (k % side) as f64);
            ((rows * i + columns * j + 0.002 * i * j + phase).sin() * 0.8) as f32
        };
        let values: Vec<f32> = (0..side * side).map(value).collect();
        Tensor::from_slice(&values).view([1, 1, side, side])
    };
    let image = |waves: [Tensor; 3]| Tensor::cat(&waves, 1);
    (
        image([wave(0.9, 0.2, 0.0), wave(0.1, 0.5, 1.0), wave(0.3, 0.3, 2.0)]),
        image([wave(0.1, 0.4, 0.5), wave(0.8, 0.1, 1.0), wave(0.7, 0.2, 2.0)]),
    )
}

#[cfg(all(test, feature = "hdf5"))]
mod tests {
    use super::*;
    use smalti_testkit::data::measured;

    #[test]
    fn transposed_kernels_are_told_from_the_right_ones() {
        let linear = "weights/lpips_lin_alex_v0.1.pth";
        let Some(data) = measured(&["weights/lpips_alex", linear]) else { return };
        let mut net = LpipsAlex::load(&data.join("weights/lpips_alex"), &data.join(linear)).unwrap();
        net.convolutions.iter_mut().for_each(|[kernel, _]| *kernel = kernel.transpose(2, 3));
        let error = net.checked(Path::new("backbone")).unwrap_err().to_string();
        assert!(error.contains("in another order"), "{error}");
    }
}
