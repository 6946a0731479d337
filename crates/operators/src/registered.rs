//! Estimating a forward operator from a registered pair: the same piece of a material at two resolutions.

use crate::{Biased, FourierDownsampling};
use smalti_base::{Error, Result, Space};
use tch::{Device, Kind, Tensor};

/// What the magnitude of a mean Fourier coefficient is kept away from zero by.
const EPSILON: f64 = 1e-5;

/// Kernel and bias of `y = k * x + b`, downsampled ([`FourierDownsampling`]), from an image `x` and its observation `y`.
///
/// Fourier division: at the frequencies that both have, `q = y' conj(x') / (|x'| (|x'| + 1e-5))` with `x' = F_n x / |n|`, `y' =
/// F_m y / |m|`, and 0 at all others. The kernel is the middle of `F_n^-1 q`, and the bias gives a constant what the kernel
/// lost by the cut: `b = mean(x) sum(F_n^-1 q outside of the kernel)`. So `mean(k * x + b) = mean(y)`.
///
/// # Shapes
/// `high`: `[1, 1, H, W]`, `low`: `[1, 1, H / s, W / s]`; the kernel is `[side, side]`, float64 on the CPU.
///
/// # Conventions
/// Frequencies with little in `x` say little about the operator: take images with fine detail, much larger than the
/// kernel. Pixels at the borders are taken as neighbours of those at the opposite ones.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] where the images are not such a pair, not finite, or `side` is even or larger than
/// `high`.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023); the authors' code also takes a small constant from the kernel.
pub fn estimate_kernel(high: &Tensor, low: &Tensor, side: i64) -> Result<(Tensor, f64)> {
    let (h, l) = (Space::of("registered image", high)?, Space::of("registered observation", low)?);
    h.plane("registered image")?;
    l.plane("registered observation")?;
    let factor = if l.height > 0 { h.height / l.height } else { 0 };
    let pair = factor >= 1 && [l.height * factor, l.width * factor] == [h.height, h.width];
    if !pair || high.size()[..2] != [1, 1] || low.size()[..2] != [1, 1] {
        let expected = format!("[1, 1, H / s, W / s] for the image of {:?}", high.size());
        return Err(Error::shape("registered observation", expected, low.size()));
    }
    if side < 1 || side % 2 == 0 || side > h.height.min(h.width) {
        let expected = format!("odd, at most {}", h.height.min(h.width));
        return Err(Error::value("side of the kernel to estimate", expected, side));
    }
    let plane = |what: &str, t: &Tensor, s: Space| {
        let t =
            t.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([s.height, s.width])?;
        if t.isfinite().all().f_int64_value(&[])? == 0 {
            return Err(Error::value(what, "finite values", "NaN or infinity in it"));
        }
        Ok(t)
    };
    let (x, y) = (plane("registered image", high, h)?, plane("registered observation", low, l)?);
    let transform = |t: &Tensor| -> Result<Tensor> { Ok(t.f_fft_fft2(None::<&[i64]>, [0, 1], "forward")?) };
    // Frequencies below the highest of the observation, which for even sizes is a mixture of two.
    let common = |n: i64, m: i64| {
        let half = (m - 1) / 2;
        let of = |size: i64| (0..=half).chain(size - half..size).collect::<Vec<i64>>();
        (Tensor::from_slice(&of(n)), Tensor::from_slice(&of(m)))
    };
    let ((rows_n, rows_m), (columns_n, columns_m)) = (common(h.height, l.height), common(h.width, l.width));
    let xs = transform(&x)?.f_index_select(0, &rows_n)?.f_index_select(1, &columns_n)?;
    let ys = transform(&y)?.f_index_select(0, &rows_m)?.f_index_select(1, &columns_m)?;
    let size = xs.f_abs()?;
    // Where the image has nothing at all, nothing is known.
    let below = (&size * (&size + EPSILON)).clamp_min(f64::MIN_POSITIVE);
    let quotient = ys.f_mul(&xs.f_conj()?.f_resolve_conj()?)?.f_div(&below)?;
    let zeros =
        |rows: i64, columns: i64| Tensor::f_zeros([rows, columns], (Kind::ComplexDouble, Device::Cpu));
    let tall = zeros(h.height, columns_n.size()[0])?.f_index_copy(0, &rows_n, &quotient)?;
    let whole = zeros(h.height, h.width)?.f_index_copy(1, &columns_n, &tall)?;
    let kernel = whole.f_fft_ifft2(None::<&[i64]>, [0, 1], "backward")?.f_real()?;
    let middle = kernel.f_roll([side / 2, side / 2], [0, 1])?.f_narrow(0, 0, side)?.f_narrow(1, 0, side)?;
    let lost = (kernel.f_sum(Kind::Double)? - middle.f_sum(Kind::Double)?).double_value(&[]);
    let bias = x.f_mean(Kind::Double)?.double_value(&[]) * lost;
    Ok((middle.f_contiguous()?, bias))
}

impl Biased<FourierDownsampling> {
    /// The operator estimated from a registered pair by [`estimate_kernel`], on images in `domain`.
    ///
    /// # Errors
    /// Those of [`estimate_kernel`] and [`FourierDownsampling::new`].
    pub fn estimated(high: &Tensor, low: &Tensor, side: i64, domain: Space) -> Result<Self> {
        let (kernel, bias) = estimate_kernel(high, low, side)?;
        let factor = high.size()[2] / low.size()[2].max(1);
        Self::new(FourierDownsampling::new(domain, &kernel, factor)?, bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Operator, kernel};
    use smalti_base::Seed;

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    fn image(name: &str, h: i64, w: i64) -> Tensor {
        Seed::new(8).at(name, 0).uniform(&[1, 1, h, w]).to_kind(Kind::Double)
    }

    #[test]
    fn a_smooth_kernel_is_found_again() {
        // Off its centre by a pixel, and of mass 0.9.
        let truth = kernel::gaussian(11, 1.6).unwrap().roll([1, 0], [0, 1]) * 0.9;
        for (h, w, factor) in [(96, 128, 2), (90, 75, 1), (90, 126, 2)] {
            let space = Space::image(1, h, w);
            let a = Biased::new(FourierDownsampling::new(space, &truth, factor).unwrap(), 0.0).unwrap();
            let x = image("learned", h, w);
            let y = a.apply(&x).unwrap();
            let (found, bias) = estimate_kernel(&x, &y, 15).unwrap();
            let error = largest(&(found - truth.constant_pad_nd([2, 2, 2, 2])));
            // What the frequencies of the observation do not show of it is missing.
            assert!(error < 0.05 * largest(&truth), "{h} x {w}: {error}");
            assert!(bias.abs() < 0.01, "{bias}");
            // It predicts what is seen of another image of another size.
            let other = image("other", 60, 40);
            let smaller = Space::image(1, 60, 40);
            let expected = FourierDownsampling::new(smaller, &truth, factor).unwrap().apply(&other).unwrap();
            let ours = Biased::estimated(&x, &y, 15, smaller).unwrap().apply(&other).unwrap();
            let contrast = expected.std(false).double_value(&[]);
            let error = (ours - expected).square().mean(Kind::Double).double_value(&[]).sqrt();
            assert!(error < 0.05 * contrast, "{h} x {w}: {error} of {contrast}");
        }
    }

    #[test]
    fn an_offset_of_the_grey_values_is_kept_for_the_mean() {
        let space = Space::image(1, 96, 128);
        let gaussian = kernel::gaussian(11, 1.6).unwrap();
        let x = image("learned", 96, 128);
        let y = FourierDownsampling::new(space, &gaussian, 2).unwrap().apply(&x).unwrap() * 0.8 + 0.2;
        let again = Biased::estimated(&x, &y, 15, space).unwrap().apply(&x).unwrap();
        let mean = |t: &Tensor| t.mean(Kind::Double).double_value(&[]);
        assert!((mean(&again) - mean(&y)).abs() < 1e-4, "{} {}", mean(&again), mean(&y));
    }

    #[test]
    fn bad_pairs_are_refused_in_one_line() {
        let x = image("learned", 24, 36);
        let line = |y: &Tensor, side| estimate_kernel(&x, y, side).unwrap_err().to_string();
        let y = image("seen", 12, 18);
        for wrong in [
            image("seen", 12, 12),
            image("seen", 48, 72),
            image("seen", 7, 18),
            y.expand([1, 2, 12, 18], false),
        ] {
            assert!(line(&wrong, 5).starts_with("registered observation: expected"));
        }
        assert!(line(&y.unsqueeze(2), 5).starts_with("registered observation: expected"));
        for side in [0, 4, 25] {
            assert!(line(&y, side).starts_with("side of the kernel"));
        }
        assert!(line(&(&y / 0.0), 5).contains("finite values"));
    }
}
