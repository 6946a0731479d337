//! What makes a step of a chain as long in every direction as the posterior is wide.

use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Space};
use tch::{Device, Kind, Tensor};

/// The axes of a batch along which its elements extend.
fn sides(x: &Tensor) -> Vec<i64> {
    (2..x.dim() as i64).collect()
}

/// Frequencies and pixels count as at least this share of the mean: an estimate of few draws may be close to zero.
const LEAST: f64 = 0.01;

/// `M = R R^T` with `R = S C`: `S` scales every pixel, and `C`, where there is one, every frequency of the periodic image.
///
/// A chain in `R^(-1) x` with the identity is one in `x` with `M`, whose best choice is the covariance of the posterior.
#[derive(Debug)]
pub struct Preconditioner {
    /// The diagonal of `S`, `[1, C, H, W]` or `[1, C, D, H, W]`.
    deviation: Tensor,
    /// The multipliers of `C` as `torch.fft.rfftn` orders frequencies, `[1, C, H, W/2 + 1]` or `[1, C, D, H, W/2 + 1]`, real.
    gain: Option<Tensor>,
}

impl Preconditioner {
    /// The diagonal `M: [1, C, H, W]` or `[1, C, D, H, W]`, positive: best is the posterior's variance of every pixel.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where it is not one positive, finite image.
    pub fn diagonal(m: &Tensor) -> Result<Self> {
        Space::of("preconditioner", m)?;
        if m.size()[0] != 1 {
            return Err(Error::shape("preconditioner", "one image, [1, ...]", m.size()));
        }
        let good = m.f_gt(0.0)?.f_logical_and(&m.f_isfinite()?)?;
        if good.f_all()?.int64_value(&[]) == 0 {
            return Err(Error::value("preconditioner", "positive, finite values", "others among them"));
        }
        Ok(Self { deviation: m.f_detach_copy()?.f_sqrt()?, gain: None })
    }

    /// Estimated from `draws: [N, C, H, W]` or `[N, C, D, H, W]`, such as those of a first, shorter run: `S` has the standard
    /// deviations of the pixels (means of their variances over 3 pixels along every axis), and `C^2` the mean periodogram of the draws divided by them, of mean 1.
    /// Draws of few independent ones give no covariance of all pixels, but these two.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where there are fewer than two draws, or they are all the same or not finite.
    pub fn estimated(draws: &Tensor) -> Result<Self> {
        let space = Space::of("draws to estimate a preconditioner from", draws)?;
        let n = draws.size()[0];
        if n < 2 {
            return Err(Error::value("draws to estimate a preconditioner from", "at least 2", n));
        }
        let draws = draws.f_detach()?.f_to_kind(Kind::Double)?;
        let mean = draws.f_mean_dim(0i64, true, Kind::Double)?;
        let away = draws.f_sub(&mean)?;
        let variance = away.f_square()?.f_sum_dim_intlist(0i64, true, Kind::Double)? / (n - 1) as f64;
        let total = variance.f_mean(Kind::Double)?.f_double_value(&[])?;
        if !(total > 0.0 && total.is_finite()) {
            let what = "variance of the draws of a preconditioner";
            return Err(Error::value(what, "a positive number: run the first chains longer", total));
        }
        let smooth = match space.depth {
            None => variance.f_avg_pool2d([3; 2], [1; 2], [1; 2], false, false, None::<i64>)?,
            Some(_) => variance.f_avg_pool3d([3; 3], [1; 3], [1; 3], false, false, None::<i64>)?,
        };
        let deviation = smooth.f_clamp_min(LEAST * total)?.f_sqrt()?;
        let over = sides(&away);
        let spectrum = away.f_div(&deviation)?.f_fft_rfftn(None::<i64>, over.as_slice(), "ortho")?;
        let power = spectrum.f_abs()?.f_square()?.f_mean_dim(0i64, true, Kind::Double)?;
        // Over all frequencies, of which `power` holds most columns once for two.
        let weight = Tensor::full([space.width / 2 + 1], 2.0, (Kind::Double, power.device()));
        let _ = weight.f_get(0)?.f_fill_(1.0)?;
        if space.width % 2 == 0 {
            let _ = weight.f_get(-1)?.f_fill_(1.0)?;
        }
        let all = (&power * &weight).f_sum_dim_intlist(over.as_slice(), true, Kind::Double)?;
        let mean = all / space.axes().iter().product::<i64>() as f64;
        // A channel without any variance has no spectrum.
        let flat = mean.f_le(0.0)?;
        let gain = power.f_div(&mean)?.f_masked_fill(&flat, 1.0)?.f_clamp_min(LEAST)?.f_sqrt()?;
        Ok(Self { deviation, gain: Some(gain) })
    }

    /// The same in the dtype and on the device of images like `x: [1, C, H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where those are images of another size.
    pub fn placed(&self, x: &Tensor) -> Result<Self> {
        if self.deviation.size() != x.size() {
            return Err(Error::shape("preconditioner", x.size(), self.deviation.size()));
        }
        let place = |t: &Tensor| t.f_to_kind(x.kind()).and_then(|t| t.f_to_device(x.device()));
        Ok(Self { deviation: place(&self.deviation)?, gain: self.gain.as_ref().map(place).transpose()? })
    }

    fn filtered(&self, v: &Tensor) -> Result<Tensor> {
        let Some(gain) = &self.gain else { return Ok(v.shallow_clone()) };
        let (size, over) = (v.size(), sides(v));
        let spectrum = v.f_fft_rfftn(None::<i64>, over.as_slice(), "ortho")?.f_mul(gain)?;
        Ok(spectrum.f_fft_irfftn(&size[2..], over.as_slice(), "ortho")?)
    }

    /// `R v` for `v: [B, C, H, W]` or `[B, C, D, H, W]`, of the dtype that it was [`placed`](Self::placed) in.
    ///
    /// # Errors
    /// [`Error::Torch`] where it is another image.
    pub fn apply(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.filtered(v)?.f_mul(&self.deviation)?)
    }

    /// `R^T v`.
    pub(super) fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.filtered(&v.f_mul(&self.deviation)?)
    }

    /// The preconditioner as a file, see [`from_checkpoint`](Self::from_checkpoint).
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors.insert("deviation".into(), self.deviation.to_device(Device::Cpu));
        if let Some(gain) = &self.gain {
            file.tensors.insert("gain".into(), gain.to_device(Device::Cpu));
        }
        file
    }

    /// The one of [`to_checkpoint`](Self::to_checkpoint), for images of `domain`.
    ///
    /// # Errors
    /// [`Error::Content`] where the file holds no preconditioner of such images.
    pub fn from_checkpoint(mut file: Checkpoint, domain: Space) -> Result<Self> {
        let mut take = |name: &str, size: &[i64]| match file.tensors.get(name).map(Tensor::kind) {
            Some(kind) => file.take(name, size, kind).map(Some),
            None => Ok(None),
        };
        let size = domain.batch(1);
        let half = Space { width: domain.width / 2 + 1, ..domain }.batch(1);
        let (deviation, gain) = (take("deviation", &size)?, take("gain", &half)?);
        let missing = || Error::value("preconditioner in a checkpoint", "a tensor `deviation`", "none");
        Ok(Self { deviation: deviation.ok_or_else(missing)?, gain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    fn draws(n: i64, width: i64) -> Tensor {
        let white = Seed::new(1).at("draws", 0).normal(&[n, 1, 6, width]).to_kind(Kind::Double);
        // Neighbours go together, and rows are differently wide.
        let scale = Tensor::from_slice(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0]).reshape([1, 1, 6, 1]);
        (&white + white.roll([1], [3])) * scale
    }

    #[test]
    fn the_adjoint_is_one_and_the_factor_has_the_covariance() {
        for width in [7, 8] {
            let draws = draws(4000, width);
            let found = Preconditioner::estimated(&draws).unwrap();
            let kept = found.to_checkpoint();
            let found = Preconditioner::from_checkpoint(kept, Space::image(1, 6, width)).unwrap();
            let pair = |k| Seed::new(2).at("pair", k).normal(&[1, 1, 6, width]).to_kind(Kind::Double);
            let (v, w) = (pair(0), pair(1));
            let dot = |a: Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
            let (left, right) = (dot(found.apply(&v).unwrap(), &w), dot(found.adjoint(&w).unwrap(), &v));
            assert!((left - right).abs() < 1e-10, "{left} {right}");
            // M e_k against the sample covariance, away from the rows where the scale changes.
            let row = |t: &Tensor| t.select(2, 1).squeeze();
            let mut unit = Tensor::zeros([1, 1, 6, width], (Kind::Double, Device::Cpu));
            let _ = unit.narrow(2, 1, 1).narrow(3, 3, 1).fill_(1.0);
            unit = found.apply(&found.adjoint(&unit).unwrap()).unwrap();
            let sampled = (&draws * draws.narrow(2, 1, 1).narrow(3, 3, 1)).mean_dim(0i64, true, Kind::Double);
            let error = (row(&unit) - row(&sampled)).abs().max().double_value(&[]);
            assert!(error < 0.3, "{error}"); // of 2
        }
    }

    #[test]
    fn what_is_no_preconditioner_is_refused() {
        assert!(Preconditioner::estimated(&draws(1, 8)).is_err());
        assert!(Preconditioner::estimated(&(draws(3, 8) * 0.0)).is_err());
        assert!(Preconditioner::estimated(&draws(3, 8).squeeze()).is_err());
        // A channel that does not vary is left alone.
        let channels = Tensor::cat(&[draws(9, 8), draws(9, 8) * 0.0], 1);
        let found = Preconditioner::estimated(&channels).unwrap().apply(&channels).unwrap();
        assert_eq!(found.isfinite().all().int64_value(&[]), 1);
        let m = Tensor::ones([1, 1, 2, 3], (Kind::Float, Device::Cpu));
        assert!(Preconditioner::diagonal(&m).is_ok() && Preconditioner::diagonal(&(&m - 1.0)).is_err());
        assert!(Preconditioner::diagonal(&m.squeeze()).is_err());
    }
}
