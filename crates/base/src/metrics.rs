//! Quality of a reconstruction against the truth, blur, and summaries over images.
//!
//! All metrics are computed in float64, whatever the dtype of the images, per image: cut the border with
//! [`crop`] first where a protocol asks for it.

use crate::error::{Error, Result};
use tch::{Kind, Tensor};

/// Peak signal-to-noise ratio in dB.
///
/// `PSNR = 10 log10(range^2 / MSE)`, with the mean squared error over all channels and pixels.
///
/// # Shapes
/// `x` and `truth`: `[1, C, H, W]`.
///
/// # Conventions
/// `range` is the distance of the largest from the smallest possible value (1 for images in `[0, 1]`).
/// Identical images have PSNR +infinity. Equal to scikit-image `peak_signal_noise_ratio` in float64.
///
/// # Errors
/// [`Error::Shape`] where the shapes differ or are not those of one image; [`Error::Value`] where `range` is
/// not positive or an image holds NaN or infinity.
pub fn psnr(x: &Tensor, truth: &Tensor, range: f64) -> Result<f64> {
    let (x, truth) = pair(x, truth, range, 1)?;
    let mse = (x - truth).square().mean(Kind::Double).double_value(&[]);
    Ok(10.0 * (range * range / mse).log10())
}

/// Structural similarity with a uniform 7 x 7 window.
///
/// `SSIM = mean (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2))`, with means `m`, variances
/// `s^2` and covariance `sxy` in every window, `c1 = (0.01 range)^2` and `c2 = (0.03 range)^2`.
///
/// # Shapes
/// `x` and `truth`: `[1, C, H, W]` with `H, W >= 7`.
///
/// # Conventions
/// Variances and the covariance are those of a sample (divided by 48, not 49). The mean is over the windows
/// that lie inside of the image, and over channels. Equal to scikit-image `structural_similarity` with
/// `data_range=range` and its defaults.
///
/// # Errors
/// Those of [`psnr`], and [`Error::Shape`] where no window fits.
///
/// Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13 (with another window).
pub fn ssim(x: &Tensor, truth: &Tensor, range: f64) -> Result<f64> {
    let window = |t: &Tensor| t.f_avg_pool2d([7, 7], [1, 1], [0, 0], false, true, None::<i64>);
    let (x, truth) = pair(x, truth, range, 7)?;
    Ok(ssim_in(&x, &truth, range, 49.0, window)?)
}

/// Structural similarity with a Gaussian 11 x 11 window of standard deviation 1.5 pixels.
///
/// The equation of [`ssim`], with means, variances and covariance weighted by the window.
///
/// # Shapes
/// `x` and `truth`: `[1, C, H, W]` with `H, W >= 11`.
///
/// # Conventions
/// Variances and the covariance are multiplied by 121/120, as scikit-image `structural_similarity` does with
/// `gaussian_weights=True` and its other defaults, which this equals; the original of Wang et al. leaves this
/// factor out. The mean is over the windows that lie inside of the image, and over channels.
///
/// # Errors
/// Those of [`psnr`], and [`Error::Shape`] where no window fits.
///
/// Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13.
pub fn ssim_gaussian(x: &Tensor, truth: &Tensor, range: f64) -> Result<f64> {
    let (x, truth) = pair(x, truth, range, 11)?;
    let weights: Vec<f64> = (-5..=5).map(|i: i32| (-f64::from(i * i) / (2.0 * 1.5 * 1.5)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights = Tensor::from_slice(&weights).to_device(x.device()) / sum;
    let (rows, columns) = (weights.view([1, 1, 11, 1]), weights.view([1, 1, 1, 11]));
    let window = |t: &Tensor| {
        let conv = |t: &Tensor, w: &Tensor| t.f_conv2d(w, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1);
        conv(&conv(t, &rows)?, &columns)
    };
    Ok(ssim_in(&x, &truth, range, 121.0, window)?)
}

/// Blur of an image by itself, without the truth: 0 where it is sharp, 1 where blurring changes nothing.
///
/// Along each axis, with the image `x`, its moving average `b` over 11 pixels along that axis and the Sobel
/// derivative `s` in its direction: `1 - sum max(0, |s(x)| - |s(b)|) / sum |s(x)|`; the larger value of both axes.
///
/// # Shapes
/// `x`: `[1, 1, H, W]` with `H, W >= 4`.
///
/// # Conventions
/// The image is mirrored about its edges, which are repeated; the sums leave out two rows and columns at the
/// beginning and one at the end. Equal to scikit-image `blur_effect` with its default `h_size=11`; other
/// averages give other values. It does not depend on the range of the values; a constant image has blur 1.
/// Noise counts as sharpness: compare it with that of true images.
///
/// # Errors
/// [`Error::Shape`] where `x` is not one grey image of that size; [`Error::Value`] where it holds NaN or infinity.
///
/// Crete, Dolmiere, Ladret, Nicolas, "The blur effect: perception and estimation with a new no-reference
/// perceptual blur metric", Proc. SPIE 6492 (2007).
pub fn blur_effect(x: &Tensor) -> Result<f64> {
    let size = x.size();
    let [1, 1, height, width] = size[..] else {
        return Err(Error::shape("image to measure the blur of", "[1, 1, H, W]", size));
    };
    if height.min(width) < 4 {
        let expected = "[1, 1, H, W] with at least 4 rows and columns";
        return Err(Error::shape("image to measure the blur of", expected, size));
    }
    let x = finite("image to measure the blur of", x)?;
    // The Sobel kernel of the derivative along rows; its transpose belongs to that along columns.
    let sobel =
        Tensor::from_slice(&[1.0, 2.0, 1.0, 0.0, 0.0, 0.0, -1.0, -2.0, -1.0]).view([1, 1, 3, 3]) / 4.0;
    let mut blur = f64::NEG_INFINITY;
    for (axis, sobel) in [(2, sobel.shallow_clone()), (3, sobel.transpose(2, 3))] {
        let sobel = sobel.f_to_device(x.device())?;
        let edges = |image: &Tensor| -> Result<Tensor> {
            let all = image.f_conv2d(&sobel, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)?;
            let inside = all.f_narrow(2, 1, height - 3)?.f_narrow(3, 1, width - 3)?;
            Ok(inside.f_abs()?.f_clamp_min(f64::EPSILON)?)
        };
        let (sharp, blurred) = (edges(&x)?, edges(&moving_average(&x, axis)?)?);
        let sum = |t: &Tensor| t.f_sum(Kind::Double)?.f_double_value(&[]);
        let (all, lost) = (sum(&sharp)?, sum(&(&sharp - blurred).f_clamp_min(0.0)?)?);
        blur = blur.max((all - lost) / all);
    }
    Ok(blur)
}

/// Pixels that the moving average of [`blur_effect`] looks to each side.
const REACH: i64 = 5;

/// The mean over `2 REACH + 1` pixels along `axis`, mirrored about the edges as often as needed.
fn moving_average(x: &Tensor, axis: i64) -> Result<Tensor> {
    let n = x.size()[axis as usize];
    let mirrored = |i: i64| i.rem_euclid(2 * n).min(2 * n - 1 - i.rem_euclid(2 * n));
    let sources: Vec<i64> = (-REACH..n + REACH).map(mirrored).collect();
    let window = 2 * REACH + 1;
    let window = if axis == 2 { [window, 1] } else { [1, window] };
    let extended = x.f_index_select(axis, &Tensor::from_slice(&sources).f_to_device(x.device())?)?;
    Ok(extended.f_avg_pool2d(window, [1, 1], [0, 0], false, true, None::<i64>)?)
}

/// `x` as float64 without a graph, checked.
fn finite(what: &str, x: &Tensor) -> Result<Tensor> {
    let x = x.detach().f_to_kind(Kind::Double)?;
    let bad = x.f_isfinite()?.f_logical_not()?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
    if bad > 0 {
        return Err(Error::value(what, "finite values", format!("{bad} that are NaN or infinite")));
    }
    Ok(x)
}

/// Cuts `border` rows and columns on every side.
///
/// # Shapes
/// `[.., H, W] -> [.., H - 2 border, W - 2 border]`; the result shares its memory with `x`.
///
/// # Errors
/// [`Error::Shape`] where `x` has fewer than 2 dimensions or nothing would be left; [`Error::Value`] where
/// `border` is negative.
pub fn crop(x: &Tensor, border: i64) -> Result<Tensor> {
    let size = x.size();
    let [.., height, width] = size[..] else {
        return Err(Error::shape("image to crop", "[.., H, W]", size));
    };
    if border < 0 {
        return Err(Error::value("border to crop", "0 or more pixels", border));
    }
    if height.min(width) <= border.saturating_mul(2) {
        let expected = format!("more than {} rows and columns to crop {border} px on every side", 2 * border);
        return Err(Error::shape("image to crop", expected, size));
    }
    Ok(x.f_narrow(-2, border, height - 2 * border)?.f_narrow(-1, border, width - 2 * border)?)
}

/// Mean and spread of a metric over several images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Arithmetic mean; NaN where there are no values.
    pub mean: f64,
    /// Population standard deviation, `sqrt(mean (v - mean)^2)` (divided by `count`, as `numpy.std`); 0 for one
    /// value, NaN where there are none or one is infinite.
    pub std: f64,
    /// Number of values.
    pub count: usize,
}

impl Summary {
    /// The summary of `values`.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        Self { mean, std, count: values.len() }
    }
}

/// Both images as float64 `[C, 1, H, W]` on one device, checked.
fn pair(x: &Tensor, truth: &Tensor, range: f64, smallest: i64) -> Result<(Tensor, Tensor)> {
    let size = truth.size();
    let [1, c, h, w] = size[..] else {
        return Err(Error::shape("true image", "[1, C, H, W]", size));
    };
    if x.size() != size {
        return Err(Error::shape("reconstruction", size, x.size()));
    }
    if c == 0 || h < smallest || w < smallest {
        let expected = format!("[1, C, H, W] with at least {smallest} rows and columns");
        return Err(Error::shape("true image", expected, size));
    }
    if !(range > 0.0 && range.is_finite()) {
        return Err(Error::value("range of the values", "a positive number", range));
    }
    let ready = |what: &str, t: &Tensor| -> Result<Tensor> {
        Ok(finite(what, t)?.f_to_device(truth.device())?.f_reshape([c, 1, h, w])?)
    };
    Ok((ready("reconstruction", x)?, ready("true image", truth)?))
}

/// The equation of [`ssim`], `window` being the weighted mean over every window of `n` pixels.
fn ssim_in(
    x: &Tensor,
    y: &Tensor,
    range: f64,
    n: f64,
    window: impl Fn(&Tensor) -> Result<Tensor, tch::TchError>,
) -> Result<f64, tch::TchError> {
    let sample = n / (n - 1.0);
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let (mx, my) = (window(x)?, window(y)?);
    let sxx = (window(&x.square())? - mx.square()) * sample;
    let syy = (window(&y.square())? - my.square()) * sample;
    let sxy = (window(&(x * y))? - &mx * &my) * sample;
    let above = (&mx * &my * 2.0 + c1) * (sxy * 2.0 + c2);
    let below = (mx.square() + my.square() + c1) * (sxx + syy + c2);
    (above / below).f_mean(Kind::Double)?.f_double_value(&[])
}
