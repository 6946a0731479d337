//! Distances between samples of two distributions.

use smalti_base::{Error, Result, seed::Stream};
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

/// Nodes that a density is taken at in one go.
const NODES: i64 = 8192;

/// Counts of points of the cube `[-1, 1]^d` in `bins^d` bins of equal size, or the masses of a density in them. Points outside are
/// not counted.
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
        if !(1..=1_000_000_000).contains(&all) || dim < 1 || bins < 1 {
            return Err(Error::value("bins of a histogram", "1 to 1e9 in all", format!("{bins}^{dim}")));
        }
        Ok(Self { bins, dim, counts: Tensor::f_zeros([all], (Kind::Double, tch::Device::Cpu))? })
    }

    /// Counts the points `x: [n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` does not fit, [`Error::Value`] where a value is NaN.
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        if x.dim() != 2 || x.size()[1] != self.dim {
            return Err(Error::shape("points to count", format!("[n, {}]", self.dim), x.size()));
        }
        if x.f_isnan()?.f_any()?.f_int64_value(&[])? != 0 {
            return Err(Error::value("points to count", "numbers", "NaN among them"));
        }
        let place =
            (x.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double)? + 1.0) * (self.bins as f64 / 2.0);
        let inside = place.f_ge(0.0)?.f_logical_and(&place.f_le(self.bins as f64)?)?.f_all_dim(1, false)?;
        let place = place.f_index(&[Some(inside)])?.f_floor()?.f_clamp_max(self.bins as f64 - 1.0)?;
        let strides: Vec<f64> = (0..self.dim).rev().map(|k| self.bins.pow(k as u32) as f64).collect();
        let bin = place.f_mv(&Tensor::from_slice(&strides))?.f_to_kind(Kind::Int64)?;
        self.count(&bin)
    }

    /// The masses of the density `exp(-u)` on the cube, up to a factor, by the midpoint rule with `points^d` nodes in every bin. What
    /// `energy` gives for rows `[n, d]` is `u`, `[n]`.
    ///
    /// # Errors
    /// [`Error::Value`] where `bins` or `points` is out of range, or no mass is found; those of `energy`.
    pub fn of_energy(
        dim: i64,
        bins: i64,
        points: i64,
        energy: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let empty = Self::new(dim, bins)?;
        let nodes = u32::try_from(dim).ok().and_then(|d| points.checked_pow(d)).unwrap_or(0);
        if !(1..=NODES).contains(&nodes) || points < 1 {
            let expected = format!("1 to {NODES} in all");
            return Err(Error::value("nodes of a bin", expected, format!("{points}^{dim}")));
        }
        // The corners of a lattice of `n` cells an axis, for the cells `from..to`, in cells: `[to - from, d]`.
        let corners = |n: i64, from: i64, to: i64| -> Result<Tensor> {
            let cells = Tensor::f_arange_start(from, to, (Kind::Int64, tch::Device::Cpu))?;
            let axis = |k: i64| -> Result<Tensor> {
                let below = cells.f_divide_scalar_mode(n.pow((dim - 1 - k) as u32), "floor")?;
                Ok(below.f_remainder(n)?.f_to_kind(Kind::Float)?)
            };
            let axes = (0..dim).map(axis).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::f_stack(&axes, 1)?)
        };
        let offsets = ((corners(points, 0, nodes)? + 0.5) / points as f64).f_unsqueeze(0)?;
        let all = empty.counts.numel() as i64;
        let step = NODES / nodes;
        let mut masses = Vec::new();
        for from in (0..all).step_by(step as usize) {
            let to = all.min(from + step);
            let places = corners(bins, from, to)?.f_unsqueeze(1)?.f_add(&offsets)?;
            let x = (places * (2.0 / bins as f64) - 1.0).f_reshape([-1, dim])?;
            let u = energy(&x)?.f_to_kind(Kind::Double)?.f_reshape([to - from, nodes])?;
            masses.push(u.f_neg()?.f_logsumexp(1i64, false)?);
        }
        let masses = Tensor::f_cat(&masses, 0)?;
        let highest = masses.f_max()?.double_value(&[]);
        if !highest.is_finite() {
            return Err(Error::value(
                "density on the cube [-1, 1]^d",
                "positive somewhere and finite",
                highest,
            ));
        }
        Ok(Self { counts: (masses - highest).f_exp()?, ..empty })
    }

    /// `n` independent points of the distribution that this histogram has, counted. That is what an exact sampler has, too, which
    /// shows how far a number of points alone moves the [divergence](Self::divergence).
    ///
    /// # Errors
    /// [`Error::Value`] where the histogram is empty.
    pub fn sample(&self, n: i64, stream: &mut Stream) -> Result<Self> {
        const AT_ONCE: i64 = 1 << 20;
        let below = self.normal()?.f_cumsum(0, Kind::Double)?;
        let mut drawn = Self::new(self.dim, self.bins)?;
        let mut uniform = |n: i64| stream.uniform(&[n]).to_kind(Kind::Double);
        for from in (0..n).step_by(AT_ONCE as usize) {
            let many = AT_ONCE.min(n - from);
            // Single uniform numbers have 24 bits, too few for rare bins.
            let u = uniform(many) + uniform(many) / f64::from(1u32 << 24);
            let bin = u.f_searchsorted(&below, false, true, "right", None::<&Tensor>)?;
            drawn.count(&bin.f_clamp_max(below.numel() as i64 - 1)?)?;
        }
        Ok(drawn)
    }

    /// The same in bins that take in `factor` of these on every axis.
    ///
    /// # Errors
    /// [`Error::Value`] where `factor` does not divide the number of bins.
    pub fn coarsened(&self, factor: i64) -> Result<Self> {
        if factor < 1 || self.bins % factor != 0 {
            let expected = format!("a divisor of {} bins", self.bins);
            return Err(Error::value("factor between coarse and fine bins", expected, factor));
        }
        let bins = self.bins / factor;
        let split = [bins, factor].repeat(self.dim as usize);
        let within: Vec<i64> = (0..self.dim).map(|k| 2 * k + 1).collect();
        let counts =
            self.counts.f_reshape(&split[..])?.f_sum_dim_intlist(&within[..], false, None::<Kind>)?;
        Ok(Self { bins, dim: self.dim, counts: counts.f_flatten(0, -1)? })
    }

    /// Counts points by the numbers of their bins.
    fn count(&mut self, bin: &Tensor) -> Result<()> {
        let counts = bin.f_bincount(None::<&Tensor>, self.counts.numel() as i64)?;
        let _ = self.counts.f_add_(&counts.f_to_kind(Kind::Double)?)?;
        Ok(())
    }

    /// The shares of the bins.
    fn normal(&self) -> Result<Tensor> {
        let total = self.total();
        if total == 0.0 {
            return Err(Error::value("points of a histogram within [-1, 1]", "at least 1", 0));
        }
        Ok(&self.counts / total)
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
        let floored = |h: &Self| -> Result<Tensor> {
            let p = h.normal()? + FLOOR;
            Ok(&p / p.sum(Kind::Double))
        };
        let (p, q) = (floored(self)?, floored(from)?);
        Ok((&p * (&p / q).f_log()?).f_sum(Kind::Double)?.double_value(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use smalti_flows::stochastic::{DiagonalMixture, Energy};

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
        let of_nan = Histogram::new(1, 4).unwrap().add(&Tensor::from_slice(&[0.1, f64::NAN]).reshape([2, 1]));
        assert!(
            Histogram::new(2, -3).is_err()
                && of_nan.is_err()
                && Histogram::new(3, 0).is_err()
                && Histogram::new(10, 75).is_err()
                && Histogram::new(0, 1).is_err()
        );
    }

    #[test]
    fn masses_of_a_density_are_those_of_its_samples() {
        let double = |t: &[f64]| Tensor::from_slice(t);
        let means = double(&[-0.4, 0.3, 0.2, 0.5, -0.2, -0.3]).reshape([2, 3]);
        let density =
            DiagonalMixture::new(&double(&[1.0, 3.0]), &means, &double(&[0.01, 0.02, 0.03])).unwrap();
        let masses = |points| {
            Histogram::of_energy(3, 12, points, |x| density.energy(&x.to_kind(Kind::Double))).unwrap()
        };
        let (exact, rough) = (masses(4), masses(2));
        assert!(exact.divergence(&rough).unwrap() < 1e-3);
        let mut counted = Histogram::new(3, 12).unwrap();
        let stream = &mut Seed::new(4).at("x", 0);
        counted.add(&density.sample(400_000, stream)).unwrap();
        let drawn = exact.sample(400_000, stream).unwrap();
        assert_eq!(drawn.total(), 400_000.0);
        // Both miss the masses by their numbers alone: half the bins that matter over the points, and rare bins.
        let [of_samples, of_bins] = [&counted, &drawn].map(|h| exact.divergence(h).unwrap());
        assert!(of_samples < 0.005 && (of_samples / of_bins - 1.0).abs() < 0.3, "{of_samples} {of_bins}");
        // Coarse bins are those that would have been counted in at once.
        let mut coarse = Histogram::new(3, 4).unwrap();
        coarse.add(&density.sample(400_000, &mut Seed::new(4).at("x", 0))).unwrap();
        assert!(counted.coarsened(3).unwrap().divergence(&coarse).unwrap().abs() < 1e-12);
        assert!(counted.coarsened(5).is_err() && counted.coarsened(0).is_err());
        // A density that is not this one is found out.
        let other = Histogram::of_energy(3, 12, 4, |x| density.energy(&(x.to_kind(Kind::Double) + 0.1)));
        assert!(other.unwrap().divergence(&counted).unwrap() > 0.1);
        let flat = |x: &Tensor| Ok(Tensor::zeros([x.size()[0]], (Kind::Float, tch::Device::Cpu)));
        assert!(
            Histogram::of_energy(3, 4, 0, flat).is_err() && Histogram::of_energy(3, 4, 99, flat).is_err()
        );
        assert!(Histogram::of_energy(1, 4, 1, |x| Ok(flat(x)? / 0.0)).is_err());
        assert!(Histogram::new(1, 4).unwrap().sample(10, stream).is_err());
    }
}
