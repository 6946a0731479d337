//! The c-transform on tensors, on the device that they are on: what the Wasserstein patch prior takes on CUDA.
//!
//! For rows `x_i` (`i < N`), reference rows `y_j` (`j < M`) and a potential `psi_j`
//!
//! `value_i = min_j |x_i - y_j|^2 - psi_j`, `winner_i = argmin_j`,
//!
//! as in [`smalti_kernels::transport`], but by matrix products over all pairs. Nothing is skipped, so in main memory the
//! kernels are faster.
//!
//! The semi-dual, its averaged supergradient steps and its gradient are computed from that, and patches are rows of tensors.
//!
//! # Rounding
//! Winners are those of `|y_j|^2 - psi_j - 2 x_i . y_j` in the dtype of the rows, both sides less the mean of `y`. In
//! float32 a winner may so be another row than the nearest where the two costs differ by no more than that rounds:
//! about 1e-7 of `|x_i - mean|^2 + |y_j - mean|^2 + |psi_j|`. Values are those of the winners without this expansion,
//! `sum_k (x_ik - y_jk)^2 - psi_j` in float64, so that of near-duplicates they are right.
//!
//! # TF32
//! The product is in full float32: libtorch multiplies matrices in TF32 only where a program allows it, which none
//! here does. The environment variable `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1`, set in some containers, allows it from
//! outside. With the 10 bits of TF32 rounding is about 1e-3 instead of 1e-7: values stay true costs of their
//! winners, never too small, but many winners are no longer the nearest rows. Unset it.

use super::patches::Patches;
use crate::windows::{windows, windows_adjoint};
use smalti_base::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Bytes of the largest block of pairs.
const BUDGET: usize = 256 << 20;

/// Rows of a block of pairs that are worth more than long rows: what fills the device.
const FEWEST: usize = 64;

/// Values of rows beyond this are refused, so that no float32 square overflows.
const LARGEST_VALUE: f64 = 1e15;

/// Potentials beyond this are refused, for the same reason.
const LARGEST_PSI: f64 = 1e35;

/// `(values, winners)` for rows `x: [N, d]`, `y: [M, d]` and a potential `psi: [M]`, all on one device.
///
/// # Shapes
/// `x` and `y` both float32 or both float64, `psi` of any floating dtype; values are float64 `[N]`, winners int64 `[N]`,
/// the lowest of equal ones but for rounding (see the [module](self)).
///
/// # Conventions
/// The cost is the full square, without a factor 1/2. No graph is recorded.
///
/// # Memory
/// Pairs are looked at in blocks of at most 256 MiB.
///
/// # Errors
/// [`Error::Shape`] where shapes, dtypes or devices do not fit each other, [`Error::Value`] where a value is NaN, infinite
/// or beyond 1e15 (1e35 for `psi`).
///
/// ```
/// use smalti_priors::wpp::c_transform;
/// use tch::Tensor;
/// let y = Tensor::from_slice(&[0.0, 0.0, 3.0, 4.0]).reshape([2, 2]);
/// let x = Tensor::from_slice(&[1.0, 0.0, 3.0, 3.0, 0.0, 0.5]).reshape([3, 2]);
/// let (values, winners) = c_transform(&x, &y, &Tensor::from_slice(&[0.0, 0.5]))?;
/// assert_eq!(Vec::<i64>::try_from(winners)?, [0, 1, 0]);
/// assert_eq!(Vec::<f64>::try_from(values)?, [1.0, 0.5, 0.25]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn c_transform(x: &Tensor, y: &Tensor, psi: &Tensor) -> Result<(Tensor, Tensor)> {
    within(x, y, psi, BUDGET)
}

/// The same in blocks of other sizes.
fn within(x: &Tensor, y: &Tensor, psi: &Tensor, bytes: usize) -> Result<(Tensor, Tensor)> {
    let _no_grad = tch::no_grad_guard();
    let references = TensorReferences::new(y)?;
    references.check(x)?;
    check_bounded("rows x", x, LARGEST_VALUE)?;
    if psi.size() != [references.len()] || !psi.is_floating_point() || psi.device() != x.device() {
        let expected = format!("[{}] of floating dtype on {:?}", references.len(), x.device());
        return Err(Error::shape("potential psi", expected, described(psi)));
    }
    check_potential(psi)?;
    let psi = psi.f_to_kind(Kind::Double)?;
    let winners = references.winners(x, &psi, bytes)?;
    Ok((references.values(x, &psi, &winners, bytes)?, winners))
}

/// Checks that all values of an image are finite and small enough for float32 squares; waits for the device.
pub(super) fn check_values(what: &str, values: &Tensor) -> Result<()> {
    check_bounded(what, values, LARGEST_VALUE)
}

/// The same for potentials.
fn check_potential(psi: &Tensor) -> Result<()> {
    check_bounded("potential psi", psi, LARGEST_PSI)
}

fn check_bounded(what: &str, values: &Tensor, bound: f64) -> Result<()> {
    // NaN is the largest of all values.
    let largest = values.f_abs()?.f_max()?.f_double_value(&[])?;
    if largest <= bound {
        return Ok(());
    }
    Err(Error::value(what, format!("finite values of at most {bound:e}; mend or scale the data"), largest))
}

fn described(t: &Tensor) -> String {
    format!("{:?} of {:?} on {:?}", t.size(), t.kind(), t.device())
}

/// Reference rows, prepared for searches.
#[derive(Debug)]
pub(super) struct TensorReferences {
    /// `[M, d]`, as given.
    rows: Tensor,
    /// Their mean, `[1, d]`.
    centre: Tensor,
    /// The rows less their mean, `[d, M]`.
    columns: Tensor,
    /// The squared norms of those, `[M]`, float64.
    squares: Tensor,
}

impl TensorReferences {
    /// Of `rows: [M, d]`.
    pub(super) fn new(rows: &Tensor) -> Result<Self> {
        let fits = rows.dim() == 2 && rows.numel() > 0;
        if !fits || !matches!(rows.kind(), Kind::Float | Kind::Double) {
            let expected = "[M, d] of Float or Double, at least one value";
            return Err(Error::shape("reference rows y", expected, described(rows)));
        }
        check_values("reference rows y", rows)?;
        let rows = rows.detach().f_contiguous()?;
        let centre = rows.f_mean_dim(0i64, true, Kind::Double)?.f_to_kind(rows.kind())?;
        let centred = rows.f_sub(&centre)?;
        let squares =
            centred.f_to_kind(Kind::Double)?.f_square()?.f_sum_dim_intlist(1i64, false, Kind::Double)?;
        Ok(Self { rows, centre, columns: centred.f_transpose(0, 1)?, squares })
    }

    /// Number `M` of reference rows.
    fn len(&self) -> i64 {
        self.squares.size()[0]
    }

    /// Whether they are of this dtype and on the device of this tensor.
    pub(super) fn are_beside(&self, x: &Tensor) -> bool {
        (self.rows.kind(), self.rows.device()) == (x.kind(), x.device())
    }

    /// Checks that rows can be compared with the reference rows.
    fn check(&self, x: &Tensor) -> Result<()> {
        let dim = self.rows.size()[1];
        if x.dim() == 2 && x.size()[1] == dim && x.size()[0] > 0 && self.are_beside(x) {
            return Ok(());
        }
        let expected = format!("[N, {dim}] of {:?} on {:?}", self.rows.kind(), self.rows.device());
        Err(Error::shape("rows x", expected, described(x)))
    }

    /// The index of the nearest row for every row of `x`, with `psi` float64, in blocks of so many bytes.
    fn winners(&self, x: &Tensor, psi: &Tensor, bytes: usize) -> Result<Tensor> {
        let offsets = self.squares.f_sub(psi)?.f_to_kind(x.kind())?;
        let (n, m) = (x.size()[0], self.len());
        let (height, width) = block(n, m, bytes / x.kind().elt_size_in_bytes());
        let mut all = Vec::new();
        for (start, length) in parts(n, height) {
            let rows = x.f_narrow(0, start, length)?.f_sub(&self.centre)?.f_mul_scalar(-2.0)?;
            let mut best: Option<(Tensor, Tensor)> = None;
            for (first, count) in parts(m, width) {
                let columns = self.columns.f_narrow(1, first, count)?;
                let costs = offsets.f_narrow(0, first, count)?.f_addmm(&rows, &columns)?;
                let (least, place) = costs.f_min_dim(1, false)?;
                let place = place.f_add_scalar(first)?;
                best = Some(match best {
                    None => (least, place),
                    Some((known, winner)) => {
                        let better = least.f_lt_tensor(&known)?;
                        (least.f_minimum(&known)?, place.f_where_self(&better, &winner)?)
                    }
                });
            }
            all.extend(best.map(|(_, winner)| winner));
        }
        Ok(Tensor::f_cat(&all, 0)?)
    }

    /// `|x_i - y_winner|^2 - psi_winner`, float64.
    fn values(&self, x: &Tensor, psi: &Tensor, winners: &Tensor, bytes: usize) -> Result<Tensor> {
        let of_row = x.size()[1] as usize * Kind::Double.elt_size_in_bytes();
        let mut all = Vec::new();
        for (start, length) in parts(x.size()[0], ((bytes / of_row) as i64).max(1)) {
            let winners = winners.f_narrow(0, start, length)?;
            let squared = self.to_winners(&x.f_narrow(0, start, length)?, &winners)?.f_square()?;
            let squared = squared.f_sum_dim_intlist(1i64, false, Kind::Double)?;
            all.push(squared.f_sub(&psi.f_index_select(0, &winners)?)?);
        }
        Ok(Tensor::f_cat(&all, 0)?)
    }

    /// `x_i - y_winner`, float64.
    fn to_winners(&self, x: &Tensor, winners: &Tensor) -> Result<Tensor> {
        let nearest = self.rows.f_index_select(0, winners)?.f_to_kind(Kind::Double)?;
        Ok(x.f_to_kind(Kind::Double)?.f_sub(&nearest)?)
    }
}

/// Height and width of blocks of at most so many entries of an `n x m` matrix.
fn block(n: i64, m: i64, entries: usize) -> (i64, i64) {
    let entries = entries.max(1) as i64;
    let width = (entries / n.min(FEWEST as i64)).clamp(1, m);
    ((entries / width).clamp(1, n), width)
}

/// `0..n` in runs of `length`, each with its start.
fn parts(n: i64, length: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..n).step_by(length as usize).map(move |start| (start, length.min(n - start)))
}

/// Iterates at the start that the average leaves out, as in [`smalti_kernels::transport::DualMethod::AveragedSgd`].
const LEFT_OUT: usize = 2;

/// Weights are counted in this part of the whole mass.
const UNIT: f64 = 1.0 / (1u64 << 62) as f64;

/// The weights `a_i` of rows, with sum 1.
#[derive(Debug)]
pub(super) struct Masses {
    /// In whole units: adding those up gives the same in every order, which atomic additions on GPUs do not keep.
    whole: Tensor,
    unit: f64,
    /// As they are, float64 `[N, 1]`; none: all `1 / N`.
    weights: Option<Tensor>,
}

impl Masses {
    /// Of `count` rows, all the same where there are no weights.
    pub(super) fn new(count: i64, weights: Option<&[f64]>, device: Device) -> Result<Self> {
        let Some(weights) = weights else {
            let whole = Tensor::f_ones([count], (Kind::Int64, device))?;
            return Ok(Self { whole, unit: 1.0 / count as f64, weights: None });
        };
        let whole: Vec<i64> = weights.iter().map(|w| (w / UNIT) as i64).collect();
        let whole = Tensor::f_from_slice(&whole)?.f_to_device(device)?;
        let weights = Tensor::f_from_slice(weights)?.f_to_device(device)?.f_unsqueeze(1)?;
        Ok(Self { whole, unit: UNIT, weights: Some(weights) })
    }

    /// The mass that each of `count` references wins: float64 `[count]`.
    fn shares(&self, winners: &Tensor, count: i64) -> Result<Tensor> {
        let mut sums = Tensor::f_zeros([count], (Kind::Int64, winners.device()))?;
        let sums = sums.f_index_add_(0, winners, &self.whole)?;
        Ok(sums.f_to_kind(Kind::Double)?.f_mul_scalar(self.unit)?)
    }

    /// `a_i v_i` for `v: [N, k]`, float64.
    fn weighed(&self, v: &Tensor) -> Result<Tensor> {
        Ok(match &self.weights {
            None => v.f_mul_scalar(self.unit)?,
            Some(weights) => v.f_mul(weights)?,
        })
    }
}

/// What was found for rows `x`.
pub(super) struct TensorSolution {
    /// `sum_i a_i value_i + mean_j psi_j`.
    pub(super) value: f64,
    /// Float64 `[M]`.
    pub(super) psi: Tensor,
    /// Int64 `[N]`.
    pub(super) winners: Tensor,
}

/// `steps` averaged supergradient steps of size `step` for rows `x: [N, d]` from `psi: [M]`, float64; none evaluates the
/// semi-dual at `psi`. The device is waited for once before and once after all steps.
pub(super) fn solve(
    references: &TensorReferences,
    masses: &Masses,
    x: &Tensor,
    psi: &Tensor,
    (steps, step): (usize, f64),
) -> Result<TensorSolution> {
    check_potential(psi)?;
    let count = references.len();
    let (mut iterate, mut average) = (psi.shallow_clone(), psi.shallow_clone());
    for t in 0..steps {
        let shares = masses.shares(&references.winners(x, &iterate, BUDGET)?, count)?;
        let ascent = shares.f_neg()?.f_add_scalar(1.0 / count as f64)?.f_mul_scalar(step)?;
        iterate = iterate.f_add(&ascent)?;
        let part = 1.0 / (t + 1).saturating_sub(LEFT_OUT).max(1) as f64;
        average = average.f_add(&iterate.f_sub(&average)?.f_mul_scalar(part)?)?;
    }
    let winners = references.winners(x, &average, BUDGET)?;
    let values = references.values(x, &average, &winners, BUDGET)?;
    let first = masses.weighed(&values.f_unsqueeze(1)?)?.f_sum(Kind::Double)?;
    let value = first.f_add(&average.f_mean(Kind::Double)?)?.f_double_value(&[])?;
    Ok(TensorSolution { value, psi: average, winners })
}

/// The gradient of the value in the rows, winners held fixed (Danskin): `a_i 2 (x_i - y_winner)`, float64 `[N, d]`.
pub(super) fn gradient(
    references: &TensorReferences,
    masses: &Masses,
    x: &Tensor,
    winners: &Tensor,
) -> Result<Tensor> {
    masses.weighed(&references.to_winners(x, winners)?.f_mul_scalar(2.0)?)
}

impl Patches {
    /// The patches in the order and layout of [`Patches::rows`], `[N, d]`, in the dtype of `x`.
    pub(super) fn tensor_rows(self, x: &Tensor) -> Result<Tensor> {
        let dim = x.size()[1] * self.size.pow(x.dim() as u32 - 2);
        let rows = windows(x, self.size, self.stride)?.f_reshape([-1, dim])?;
        if !self.centred {
            return Ok(rows);
        }
        let mean = rows.f_mean_dim(1i64, true, Kind::Double)?;
        Ok(rows.f_sub(&mean)?.f_to_kind(x.kind())?)
    }

    /// The adjoint: a gradient `[N, d]` in the rows of `x` as one in its pixels, of the gradient's dtype.
    pub(super) fn tensor_rows_adjoint(self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let mean = |gradient: &Tensor| gradient.f_mean_dim(1i64, true, gradient.kind());
        let centred = if self.centred { Some(gradient.f_sub(&mean(gradient)?)?) } else { None };
        windows_adjoint(centred.as_ref().unwrap_or(gradient), &x.size(), self.size, self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    fn draw(name: &str, size: &[i64]) -> Tensor {
        Seed::new(8).at(name, 0).uniform(size).to_kind(Kind::Double)
    }

    #[test]
    fn the_size_of_blocks_changes_nothing() {
        let (x, y, psi) = (draw("x", &[70, 5]), draw("y", &[33, 5]), draw("psi", &[33]) * 0.1);
        for kind in [Kind::Float, Kind::Double] {
            let (x, y) = (x.to_kind(kind), y.to_kind(kind));
            let (values, winners) = c_transform(&x, &y, &psi).unwrap();
            for bytes in [0, 8, 100, 1000, 5000, 18_000] {
                let (other, others) = within(&x, &y, &psi, bytes).unwrap();
                assert_eq!(others, winners, "{bytes} bytes");
                assert_eq!(other, values, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn blocks_keep_to_their_size_and_cover_all() {
        for (n, m) in [(1, 1), (1, 1000), (1000, 1), (354_025, 10_000), (70, 33)] {
            for entries in [0, 1, 7, 100, 10_000, 1 << 26] {
                let (height, width) = block(n, m, entries);
                assert!(height >= 1 && width >= 1 && height <= n && width <= m);
                assert!(height * width <= entries.max(1) as i64, "{n} x {m}: {height} x {width}");
                assert!(parts(n, height).map(|(_, length)| length).sum::<i64>() == n);
            }
        }
        assert_eq!(block(354_025, 10_000, BUDGET / 4), (6710, 10_000));
    }

    /// The flat position in the batch of every value of every patch, from patches of an image of positions.
    fn positions(patches: Patches, x: &Tensor) -> Tensor {
        let flat = Tensor::arange(x.numel() as i64, (Kind::Double, Device::Cpu)).reshape(x.size());
        Patches { centred: false, ..patches }.tensor_rows(&flat).unwrap().to_kind(Kind::Int64)
    }

    #[test]
    fn rows_and_their_adjoint_are_those_of_the_kernels() {
        for (size, p, stride) in [
            (vec![1, 1, 9, 11], 3, 1),
            (vec![2, 3, 8, 7], 2, 3),
            (vec![2, 2, 10, 9], 4, 2),
            (vec![1, 1, 6, 7, 5], 2, 1),
            (vec![2, 2, 7, 6, 8], 3, 2),
            (vec![1, 1, 4, 5], 4, 5),
        ] {
            for centred in [false, true] {
                let patches = Patches { size: p, stride, centred };
                let x = Seed::new(9).at("x", 0).uniform(&size);
                let rows = patches.tensor_rows(&x).unwrap();
                let expected = patches.rows("x", &x).unwrap();
                assert_eq!(rows.size(), [expected.len() as i64, expected.dim() as i64]);
                let mut row = vec![0.0; expected.dim()];
                for i in 0..expected.len() {
                    expected.read(i, &mut row);
                    let error = (rows.get(i as i64) - Tensor::from_slice(&row)).abs().max();
                    // Means in another order of summation.
                    assert!(error.double_value(&[]) < 1e-7, "{size:?}, row {i}: {error}");
                }

                let v = Seed::new(9).at("v", 0).normal(&rows.size()).to_kind(Kind::Double);
                let back = patches.tensor_rows_adjoint(&x, &v).unwrap();
                assert_eq!(back.size(), size);
                let v = if centred { &v - v.mean_dim(1i64, true, Kind::Double) } else { v };
                let scattered = Tensor::zeros([x.numel() as i64], (Kind::Double, Device::Cpu)).index_add(
                    0,
                    &positions(patches, &x).reshape([-1]),
                    &v.reshape([-1]),
                );
                let error = (back.reshape([-1]) - scattered).abs().max().double_value(&[]);
                assert!(error < 1e-12, "{size:?}, stride {stride}, centred {centred}: {error}");
            }
        }
    }
}
