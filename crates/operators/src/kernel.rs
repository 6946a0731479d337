//! Blur kernels: tensors `[kh, kw]` of weights.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// The `size` x `size` Gaussian kernel of standard deviation `sigma` (pixels), normalised to sum 1:
///
/// `k[i, j] = exp(-((i - c)^2 + (j - c)^2) / (2 sigma^2)) / Z` with centre `c = (size - 1) / 2`, which lies
/// between two pixels where `size` is even. Float64 on the CPU.
///
/// # Errors
/// [`Error::Value`] where `size` or `sigma` is not positive and finite.
pub fn gaussian(size: i64, sigma: f64) -> Result<Tensor> {
    if size < 1 {
        return Err(Error::value("kernel size", "a positive number of pixels", size));
    }
    if !(sigma > 0.0 && sigma.is_finite()) {
        return Err(Error::value("kernel sigma", "a positive number of pixels", sigma));
    }
    let squared = |i: i64| (i as f64 - (size - 1) as f64 / 2.0).powi(2);
    // Relative to the weight nearest to the centre, so that a tiny sigma cannot make all weights vanish.
    let nearest = squared(size / 2);
    let weights: Vec<f64> =
        (0..size).map(|i| (-(squared(i) - nearest) / (2.0 * sigma * sigma)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let row = Tensor::from_slice(&weights) / total;
    Ok(row.outer(&row))
}

/// The rotation by 180 degrees: correlation with the flipped kernel is convolution with the kernel.
///
/// # Errors
/// Those of [`check`].
pub fn flipped(kernel: &Tensor) -> Result<Tensor> {
    check(kernel)?;
    Ok(kernel.f_flip([0, 1])?)
}

/// Checks that `kernel` is `[kh, kw]`, not empty and finite, and gives `(kh, kw)`.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Value`].
pub fn check(kernel: &Tensor) -> Result<(i64, i64)> {
    let (kh, kw) = match kernel.size()[..] {
        [kh, kw] if kh > 0 && kw > 0 => (kh, kw),
        _ => return Err(Error::shape("blur kernel", "[kh, kw]", kernel.size())),
    };
    if kernel.isfinite().all().f_int64_value(&[])? == 0 {
        return Err(Error::value("blur kernel", "finite weights", "NaN or infinity: check the kernel file"));
    }
    if kernel.is_complex() || kernel.kind() == Kind::Bool {
        return Err(Error::value("blur kernel", "real weights", format!("{:?}", kernel.kind())));
    }
    Ok((kh, kw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_has_unit_sum_the_right_centre_and_variance() {
        for (size, sigma) in [(16, 2.0), (15, 1.5), (4, 1.0), (1, 3.0), (16, 0.01)] {
            let k = gaussian(size, sigma).unwrap();
            assert_eq!(k.size(), [size, size]);
            assert!((k.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-14);
            assert!((&k - flipped(&k).unwrap()).abs().max().double_value(&[]) < 1e-16, "{size} {sigma}");
        }
        let (k, n) = (gaussian(41, 2.0).unwrap(), 41);
        let rows = k.sum_dim_intlist(1i64, false, Kind::Double);
        let d = Tensor::arange(n, (Kind::Double, tch::Device::Cpu)) - (n - 1) as f64 / 2.0;
        let variance = (rows * &d * &d).sum(Kind::Double).double_value(&[]);
        assert!((variance - 4.0).abs() < 1e-6, "variance {variance} is not sigma^2 = 4");
        // Neighbouring weights: k(c + 1/2) / k(c + 3/2) = exp((9/4 - 1/4) / (2 sigma^2)).
        let k = gaussian(16, 2.0).unwrap();
        let ratio = k.double_value(&[7, 7]) / k.double_value(&[7, 6]);
        assert!((ratio - (2.0f64 / 8.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn bad_kernels_are_errors() {
        assert!(gaussian(0, 1.0).is_err());
        for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(gaussian(3, sigma).is_err());
        }
        let cpu = tch::Device::Cpu;
        assert!(check(&Tensor::ones([2, 3, 4], (Kind::Double, cpu))).is_err());
        assert!(check(&Tensor::ones([0, 3], (Kind::Double, cpu))).is_err());
        assert!(check(&Tensor::from_slice(&[1.0, f64::NAN]).reshape([1, 2])).is_err());
        for kind in [Kind::ComplexDouble, Kind::Bool] {
            let line = check(&Tensor::ones([2, 3], (kind, cpu))).unwrap_err().to_string();
            assert!(line.contains("real weights"), "{line}");
        }
        assert_eq!(check(&Tensor::ones([2, 3], (Kind::Float, cpu))).unwrap(), (2, 3));
    }
}
