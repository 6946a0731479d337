//! Distances between samples of two distributions.

use smalti_base::{Error, Result};
use smalti_kernels::rows::Rows;
use smalti_kernels::transport;
use tch::{Kind, Tensor};

/// The exact Wasserstein distance `W_1` (Euclidean cost) of the samples `x: [n, d]` and `y: [n, d]`.
///
/// Two samples of one distribution have a positive distance, too, of order `n^(-1/d)`: compare with that of two exact ones.
/// Takes `8 n^2` bytes, and up to `O(n^3)` time.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] where shapes differ or a value is not finite.
pub fn wasserstein1(x: &Tensor, y: &Tensor) -> Result<f64> {
    let size = x.size();
    if size.len() != 2 || size[0] < 1 || size[1] < 1 || y.size() != size {
        return Err(Error::shape("samples to compare", "[n, d], twice the same", (size, y.size())));
    }
    let refused = |e: smalti_kernels::error::KernelError| Error::value(e.what, e.expected, e.got);
    let rows = |t: &Tensor| -> Result<Rows> {
        let values = Vec::<f32>::try_from(t.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?;
        Rows::dense(values, size[1] as usize).map_err(refused)
    };
    transport::wasserstein1(&rows(x)?, &rows(y)?).map_err(refused)
}

/// Counts of points of the cube `[-1, 1]^d` in `bins^d` bins of equal size. Points outside are not counted.
#[derive(Debug)]
pub struct Histogram {
    bins: i64,
    dim: i64,
    counts: Tensor,
}

impl Histogram {
    /// A histogram without counts.
    ///
    /// # Errors
    /// [`Error::Value`] where there are no bins, or more than 10^9.
    pub fn new(dim: i64, bins: i64) -> Result<Self> {
        let all = u32::try_from(dim).ok().and_then(|d| bins.checked_pow(d)).unwrap_or(0);
        if !(1..=1_000_000_000).contains(&all) || dim < 1 {
            return Err(Error::value("bins of a histogram", "1 to 1e9 in all", format!("{bins}^{dim}")));
        }
        Ok(Self { bins, dim, counts: Tensor::f_zeros([all], (Kind::Double, tch::Device::Cpu))? })
    }

    /// Counts the points `x: [n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` does not fit.
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        if x.dim() != 2 || x.size()[1] != self.dim {
            return Err(Error::shape("points to count", format!("[n, {}]", self.dim), x.size()));
        }
        let place =
            (x.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double)? + 1.0) * (self.bins as f64 / 2.0);
        let inside = place.f_ge(0.0)?.f_logical_and(&place.f_le(self.bins as f64)?)?.f_all_dim(1, false)?;
        let place = place.f_index(&[Some(inside)])?.f_floor()?.f_clamp_max(self.bins as f64 - 1.0)?;
        let strides: Vec<f64> = (0..self.dim).rev().map(|k| self.bins.pow(k as u32) as f64).collect();
        let bin = place.f_mv(&Tensor::from_slice(&strides))?.f_to_kind(Kind::Int64)?;
        let counts = bin.f_bincount(None::<&Tensor>, self.counts.numel() as i64)?;
        let _ = self.counts.f_add_(&counts.f_to_kind(Kind::Double)?)?;
        Ok(())
    }

    /// Points counted.
    pub fn total(&self) -> f64 {
        self.counts.sum(Kind::Double).double_value(&[])
    }

    /// `KL(p, q) = sum p log(p / q)` of this histogram `p` and another one, both normalised, with `1e-10` added to every bin and
    /// normalised again, as in the code of Hagemann, Hertrich and Steidl: a bin that `p` has points in and `q` has not costs `p log(p 1e10)`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where bins differ or a histogram is empty.
    pub fn divergence(&self, from: &Self) -> Result<f64> {
        const FLOOR: f64 = 1e-10;
        if (self.bins, self.dim) != (from.bins, from.dim) {
            return Err(Error::shape(
                "bins of the other histogram",
                (self.bins, self.dim),
                (from.bins, from.dim),
            ));
        }
        let normal = |h: &Self| -> Result<Tensor> {
            let total = h.total();
            if total == 0.0 {
                return Err(Error::value("points of a histogram within [-1, 1]", "at least 1", 0));
            }
            let p = &h.counts / total + FLOOR;
            Ok(&p / p.sum(Kind::Double))
        };
        let (p, q) = (normal(self)?, normal(from)?);
        Ok((&p * (&p / q).f_log()?).f_sum(Kind::Double)?.double_value(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    #[test]
    fn a_shift_costs_its_length() {
        let x = Seed::new(1).at("x", 0).normal(&[200, 2]);
        let y = (&x + Tensor::from_slice(&[0.3f32, 0.4])).flip([0]);
        assert!((wasserstein1(&x, &y).unwrap() - 0.5).abs() < 1e-6);
        assert!(wasserstein1(&x, &y.narrow(0, 0, 100)).is_err() && wasserstein1(&x, &(y / 0.0)).is_err());
    }

    #[test]
    fn divergences_of_small_histograms() {
        let of = |points: &[f64]| {
            let mut h = Histogram::new(2, 2).unwrap();
            h.add(&Tensor::from_slice(points).reshape([-1, 2])).unwrap();
            h
        };
        // Four bins; the border belongs to the last one, what is outside does not count.
        let p = of(&[-0.5, -0.5, 1.0, 1.0, 0.2, -0.2, 0.3, -0.9, 1.1, 0.0]);
        let q = of(&[-0.5, -0.5, -0.1, -0.9, 0.2, -0.2, 0.3, 0.3]);
        assert_eq!((p.total(), q.total()), (4.0, 4.0));
        // p = (1, 0, 2, 1) / 4, q = (2, 0, 1, 1) / 4.
        let expected = 0.25 * 0.5f64.ln() + 0.5 * 2f64.ln();
        assert!((p.divergence(&q).unwrap() - expected).abs() < 1e-8);
        assert_eq!(p.divergence(&p).unwrap(), 0.0);
        let apart = of(&[-0.5, 0.5]);
        assert!((apart.divergence(&q).unwrap() - 1e10f64.ln()).abs() < 1e-6);
        assert!(p.divergence(&Histogram::new(2, 2).unwrap()).is_err());
        assert!(p.divergence(&Histogram::new(2, 3).unwrap()).is_err());
        assert!(
            Histogram::new(3, 0).is_err() && Histogram::new(10, 75).is_err() && Histogram::new(0, 1).is_err()
        );
    }
}
