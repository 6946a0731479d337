//! k-means of patches: seeding by greedy k-means++, and Lloyd's steps.

use smalti_base::parallel::{self, Shared};
use smalti_base::{Result, seed::Stream};
use tch::{Kind, Tensor};

/// Rows that a thread takes at once; fixed, so that sums do not depend on the number of threads.
const ROWS: i64 = 4096;

/// Points `[N, d]` in any float dtype, and their mean, around which distances are computed in float64.
pub(super) struct Points<'a> {
    points: &'a Tensor,
    mean: Tensor,
    /// The mean over the `d` values of the variance of each.
    pub(super) variance: f64,
}

/// What a step of Lloyd gives.
pub(super) struct Lloyd {
    /// The new centres: float64 `[K, d]`.
    pub(super) centres: Tensor,
    /// How far all centres moved: the sum of `|c_k' - c_k|^2`.
    pub(super) shift: f64,
    /// The mean over all points of the squared distance to the nearest old centre.
    pub(super) distance: f64,
}

/// The nearest centres of a piece of the points, and the squared distances.
struct Nearest {
    labels: Tensor,
    distances: Tensor,
}

impl<'a> Points<'a> {
    /// At least one point, all finite.
    pub(super) fn new(points: &'a Tensor) -> Result<Self> {
        let (n, d) = (points.size()[0], points.size()[1]);
        let zero = Tensor::f_zeros([1, d], (Kind::Double, points.device()))?;
        let mut all = Self { points, mean: zero, variance: 0.0 };
        let total = |parts: Vec<Tensor>| -> Result<Tensor> {
            Ok(Tensor::f_stack(&parts, 0)?.f_sum_dim_intlist(0i64, false, Kind::Double)?)
        };
        let sums = all.each([], |x, []| Ok(x.f_sum_dim_intlist(0i64, true, Kind::Double)?))?;
        all.mean = total(sums)? / n as f64;
        let squares = all.each([], |x, []| Ok(x.f_square()?.f_sum(Kind::Double)?))?;
        all.variance = total(squares)?.f_double_value(&[])? / (n * d) as f64;
        Ok(all)
    }

    /// `f` of the values, less the mean and in float64, of every piece, in order, and of the same rows of `others`.
    fn each<R: Send, const N: usize>(
        &self,
        others: [&Tensor; N],
        f: impl Fn(&Tensor, &mut [Tensor; N]) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let n = self.points.size()[0];
        let pieces: Vec<_> = (0..n).step_by(ROWS as usize).map(|at| (at, ROWS.min(n - at))).collect();
        let (points, others) = (parallel::cut([self.points], &pieces)?, parallel::cut(others, &pieces)?);
        let mut pieces: Vec<_> = points.into_iter().zip(others).collect();
        let mean = Shared::new(&self.mean);
        parallel::map_mut(&mut pieces, |([points], others)| {
            f(&(points.f_to_kind(Kind::Double)? - *mean), others)
        })
    }

    /// The points with these numbers, less the mean: float64 `[n, d]`.
    fn chosen(&self, numbers: &Tensor) -> Result<Tensor> {
        Ok(self.points.f_index_select(0, numbers)?.f_to_kind(Kind::Double)? - &self.mean)
    }

    /// `k` of the points as centres, float64 `[k, d]`: the first is drawn uniformly; for each of the others `2 + ln k`
    /// candidates are drawn with probabilities proportional to the squared distance to the nearest centre so far, and
    /// the one that leaves the least sum of them is taken.
    ///
    /// Arthur & Vassilvitskii, *k-means++: the advantages of careful seeding*, SODA 2007; candidates as in scikit-learn.
    pub(super) fn seeded(&self, k: i64, stream: &mut Stream) -> Result<Tensor> {
        let n = self.points.size()[0];
        let device = self.points.device();
        let trials = 2 + (k as f64).ln() as usize;
        let mut numbers = vec![stream.index(n)];
        let first = self.chosen(&Tensor::f_from_slice(&numbers)?.f_to_device(device)?)?;
        let infinite = Tensor::f_full([n, 1], f64::INFINITY, (Kind::Double, device))?;
        let mut nearest = self.nearer(&infinite, &first)?.0;
        while (numbers.len() as i64) < k {
            let levels = nearest.f_select(1, 0)?.f_cumsum(0, Kind::Double)?;
            let all = levels.f_double_value(&[n - 1])?;
            // 53 random bits, as many as a float64 holds.
            let drawn: Vec<f64> =
                (0..trials).map(|_| stream.index(1 << 53) as f64 / (1_i64 << 53) as f64 * all).collect();
            let drawn = Tensor::f_from_slice(&drawn)?.f_to_device(device)?;
            let candidates = drawn.f_searchsorted(&levels, false, true, "right", None::<Tensor>)?;
            let candidates = candidates.f_clamp_max(n - 1)?;
            let (closer, sums) = self.nearer(&nearest, &self.chosen(&candidates)?)?;
            let best = sums.f_argmin(0, false)?.f_int64_value(&[])?;
            nearest = closer.f_narrow(1, best, 1)?.f_contiguous()?;
            numbers.push(candidates.f_int64_value(&[best])?);
        }
        Ok(self.chosen(&Tensor::f_from_slice(&numbers)?.f_to_device(device)?)? + &self.mean)
    }

    /// For each of the candidates `[m, d]` (less the mean): the lesser of `nearest: [N, 1]` and the squared distances to
    /// it, `[N, m]`, and their sums, `[m]`.
    fn nearer(&self, nearest: &Tensor, candidates: &Tensor) -> Result<(Tensor, Tensor)> {
        let m = candidates.size()[0];
        let closer = Tensor::f_empty([self.points.size()[0], m], (Kind::Double, self.points.device()))?;
        let (candidates, lengths) = (Shared::new(candidates), Shared::new(squared_lengths(candidates)?));
        let sums = self.each([nearest, &closer], |x, [nearest, closer]| {
            let distances = half_distances(x, &candidates, &lengths)?.f_mul_scalar(2.0)?;
            let distances = (distances + squared_lengths(x)?.f_unsqueeze(1)?).f_clamp_min(0.0)?;
            let less = distances.f_minimum(nearest)?;
            closer.f_copy_(&less)?;
            Ok(less.f_sum_dim_intlist(0i64, false, Kind::Double)?)
        })?;
        Ok((closer, Tensor::f_stack(&sums, 0)?.f_sum_dim_intlist(0i64, false, Kind::Double)?))
    }

    fn nearest(x: &Tensor, centres: &Tensor, lengths: &Tensor) -> Result<Nearest> {
        let (least, labels) = half_distances(x, centres, lengths)?.f_min_dim(1, false)?;
        let distances = (least * 2.0 + squared_lengths(x)?).f_clamp_min(0.0)?;
        Ok(Nearest { labels, distances })
    }

    /// The number of the nearest of the centres `[K, d]` for every point: int64 `[N]`.
    pub(super) fn labels(&self, centres: &Tensor) -> Result<Tensor> {
        let centres = Shared::new(centres - &self.mean);
        let lengths = Shared::new(squared_lengths(&centres)?);
        Ok(Tensor::f_cat(&self.each([], |x, []| Ok(Self::nearest(x, &centres, &lengths)?.labels))?, 0)?)
    }

    /// One step of Lloyd: every centre moves to the mean of the points that are nearest to it. The centres without points
    /// move to the points that are farthest from their centres, one each, unless all points lie on centres.
    pub(super) fn lloyd(&self, centres: &Tensor) -> Result<Lloyd> {
        let (n, k) = (self.points.size()[0], centres.size()[0]);
        let old = Shared::new(centres - &self.mean);
        let lengths = Shared::new(squared_lengths(&old)?);
        let (mut counts, mut sums) = (lengths.f_zeros_like()?, old.f_zeros_like()?);
        let mut distances = Vec::new();
        for (part_counts, part_sums, part_distances) in self.each([], |x, []| {
            let Nearest { labels, distances } = Self::nearest(x, &old, &lengths)?;
            let counts = labels.f_bincount(None::<Tensor>, k)?;
            Ok((counts, old.f_zeros_like()?.f_index_add(0, &labels, x)?, distances))
        })? {
            let _ = counts.f_add_(&part_counts)?;
            let _ = sums.f_add_(&part_sums)?;
            distances.push(part_distances);
        }
        let distances = Tensor::f_cat(&distances, 0)?;
        let distance = distances.f_sum(Kind::Double)?.f_double_value(&[])? / n as f64;
        let empty = counts.f_eq(0.0)?.f_nonzero()?.f_flatten(0, -1)?;
        let mut new = (sums / counts.f_clamp_min(1.0)?.f_unsqueeze(1)?).f_index_copy(
            0,
            &empty,
            &old.f_index_select(0, &empty)?,
        )?;
        if empty.numel() > 0 && distances.f_max()?.f_double_value(&[])? > 0.0 {
            let (_, farthest) = distances.f_topk(empty.numel() as i64, 0, true, true)?;
            new = new.f_index_copy(0, &empty, &self.chosen(&farthest)?)?;
        }
        let shift = (&new - &*old).f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        Ok(Lloyd { centres: new + &self.mean, shift, distance })
    }
}

fn squared_lengths(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_square()?.f_sum_dim_intlist(1i64, false, Kind::Double)?)
}

/// `|c|^2 / 2 - <x, c>`: half the squared distances less `|x|^2 / 2`, `[n, K]`.
fn half_distances(x: &Tensor, centres: &Tensor, squared_lengths: &Tensor) -> Result<Tensor> {
    let lengths = squared_lengths * 0.5;
    Ok(lengths.f_sub(&x.f_mm(&centres.f_tr()?)?)?)
}
