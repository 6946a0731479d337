//! The c-transform on tensors, on the device that they are on: what the Wasserstein patch prior takes on CUDA.
//!
//! For rows `x_i` (`i < N`), reference rows `y_j` (`j < M`) and a potential `psi_j`
//!
//! `value_i = min_j |x_i - y_j|^2 - psi_j`, `winner_i = argmin_j`,
//!
//! as in [`smalti_kernels::transport`], but by matrix products over all pairs. Nothing is skipped, so in main memory the
//! kernels are faster.
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

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Bytes of the largest block of pairs.
pub(super) const BUDGET: usize = 256 << 20;

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
pub(super) fn check_potential(psi: &Tensor) -> Result<()> {
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
    pub(super) fn len(&self) -> i64 {
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
    pub(super) fn winners(&self, x: &Tensor, psi: &Tensor, bytes: usize) -> Result<Tensor> {
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
    pub(super) fn values(&self, x: &Tensor, psi: &Tensor, winners: &Tensor, bytes: usize) -> Result<Tensor> {
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
    pub(super) fn to_winners(&self, x: &Tensor, winners: &Tensor) -> Result<Tensor> {
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
}
