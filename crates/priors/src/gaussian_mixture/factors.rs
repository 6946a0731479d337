//! What a Gaussian mixture is evaluated by: Cholesky factors, in float32 or float64.

use smalti_base::{Error, Result, parallel::Shared};
use std::f64::consts::PI;
use tch::{Kind, Tensor};

/// The factors of `K` covariances `Sigma_k = L_k L_k^T` and what goes with them.
#[derive(Debug)]
pub(super) struct Factors {
    /// `log w_k - log det L_k - d/2 log(2 pi)`: `[K, 1]`.
    log_scales: Shared<Tensor>,
    /// `[L_k^-1, -L_k^-1 mu_k]`, one below the other: `[K d, d + 1]`.
    whitening: Shared<Tensor>,
    /// `mu_k`: `[K, d]`.
    pub(super) means: Shared<Tensor>,
    /// `Sigma_k^-1`: `[K, d, d]`.
    pub(super) precisions: Shared<Tensor>,
}

impl Factors {
    /// Of `weights: [K]`, `means: [K, d]` and `covariances: [K, d, d]`, all in float64.
    ///
    /// # Errors
    /// [`Error::Value`] naming the first component whose covariance is not positive definite.
    pub(super) fn new(weights: &Tensor, means: &Tensor, covariances: &Tensor) -> Result<Self> {
        let (k, d) = (means.size()[0], means.size()[1]);
        let (lower, failed) = covariances.f_linalg_cholesky_ex(false, false)?;
        let failed = Vec::<i64>::try_from(failed.f_to_kind(Kind::Int64)?)?;
        if let Some(component) = failed.iter().position(|&order| order != 0) {
            let got = format!("one that is not: component {component} of {k}");
            return Err(Error::value("covariances of a Gaussian mixture", "positive definite matrices", got));
        }
        let unit = Tensor::f_eye(d, (Kind::Double, means.device()))?;
        let whitening = lower.f_linalg_solve_triangular(&unit, false, true, false)?;
        let log_det = lower.f_diagonal(0, 1, 2)?.f_log()?.f_sum_dim_intlist(1i64, false, None::<Kind>)?;
        let constant = d as f64 / 2.0 * (2.0 * PI).ln();
        let shifts = whitening.f_matmul(&means.f_unsqueeze(2)?)?.f_neg()?;
        Ok(Self {
            log_scales: Shared::new((weights.f_log()? - log_det - constant).f_unsqueeze(1)?),
            precisions: Shared::new(whitening.f_transpose(1, 2)?.f_matmul(&whitening)?),
            whitening: Shared::new(Tensor::f_cat(&[whitening, shifts], 2)?.f_reshape([k * d, d + 1])?),
            means: Shared::new(means.shallow_clone()),
        })
    }

    /// The same in another dtype.
    pub(super) fn to_kind(&self, kind: Kind) -> Result<Self> {
        let of_kind = |t: &Tensor| Ok::<_, Error>(Shared::new(t.f_to_kind(kind)?));
        Ok(Self {
            log_scales: of_kind(&self.log_scales)?,
            whitening: of_kind(&self.whitening)?,
            means: of_kind(&self.means)?,
            precisions: of_kind(&self.precisions)?,
        })
    }

    /// `log w_k + log N(x_n; mu_k, Sigma_k)`: `[n, d] -> [K, n]`, by the calling thread.
    ///
    /// `2 n K d (d + 1)` operations in products `[components d, d + 1] x [d + 1, rows]`, whose results stay in the cache.
    pub(super) fn log_joint(&self, x: &Tensor) -> Result<Tensor> {
        let (n, k, d) = (x.size()[0], self.means.size()[0], self.means.size()[1]);
        // Large pieces fill a GPU.
        let (rows, width) = if x.device().is_cuda() { (1 << 14, 1 << 12) } else { (512, 720) };
        let options = (x.kind(), x.device());
        let (mut joint, one) = (Tensor::f_empty([k, n], options)?, Tensor::f_ones([1, 1], options)?);
        for (at, rows) in pieces(n, rows) {
            let columns =
                Tensor::f_cat(&[x.f_narrow(0, at, rows)?.f_tr()?, one.f_expand([1, rows], false)?], 0)?;
            for (first, count) in pieces(k, width / d) {
                let mut white = self.whitening.f_narrow(0, first * d, count * d)?.f_mm(&columns)?;
                let squares = white.f_square_()?.f_view([count, d, rows])?;
                let squares = squares.f_sum_dim_intlist(1i64, false, None::<Kind>)?;
                joint.f_narrow(0, first, count)?.f_narrow(1, at, rows)?.f_copy_(&squares)?;
            }
        }
        let mut joint = joint.f_mul_scalar_(-0.5)?;
        Ok(joint.f_add_(&self.log_scales)?)
    }
}

/// Starts and lengths of the pieces of `0..n`, at most `size` each.
pub(super) fn pieces(n: i64, size: i64) -> Vec<(i64, i64)> {
    let size = size.max(1);
    (0..n).step_by(size as usize).map(|at| (at, size.min(n - at))).collect()
}

/// Rows of a piece of `n` rows that have to do with each component, all in the order of the components.
pub(super) struct Members {
    /// How many rows belong to each component; they may belong to several.
    counts: Vec<i64>,
    /// The row of every member: int64 `[M]`.
    pub(super) rows: Tensor,
    /// Its share, where shares were given, otherwise 1: `[M]`.
    shares: Tensor,
}

impl Members {
    /// Of responsibilities `r: [K, n]`: all above `negligible`.
    pub(super) fn of_shares(r: &Tensor, negligible: f64) -> Result<Self> {
        let kept = r.f_gt(negligible)?;
        let counts = kept.f_sum_dim_intlist(1i64, false, Kind::Int64)?;
        let rows = kept.f_nonzero()?.f_select(1, 1)?.f_contiguous()?;
        Ok(Self { counts: Vec::<i64>::try_from(counts)?, rows, shares: r.f_masked_select(&kept)? })
    }

    /// Of the number of one of `k` components for each row, int64 `[n]`; shares in `kind`.
    pub(super) fn of_labels(labels: &Tensor, k: i64, kind: Kind) -> Result<Self> {
        let (_, rows) = labels.f_sort_stable(true, 0, false)?;
        let counts = labels.f_bincount(None::<Tensor>, k)?;
        let shares = Tensor::f_ones(labels.size(), (kind, labels.device()))?;
        Ok(Self { counts: Vec::<i64>::try_from(counts)?, rows, shares })
    }

    /// Calls `f` with every component `k` that has members, where its members start, their `x_n - c_k: [m, D]`, of
    /// `x: [n, D]` and `c: [K, D]`, and their shares `[m, 1]`.
    pub(super) fn each(
        &self,
        x: &Tensor,
        c: &Tensor,
        mut f: impl FnMut(i64, i64, Tensor, Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        for (k, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let mut centred = x.f_index_select(0, &self.rows.f_narrow(0, at, count)?)?;
            let centred = centred.f_sub_(&c.f_select(0, k as i64)?)?;
            f(k as i64, at, centred, self.shares.f_narrow(0, at, count)?.f_unsqueeze(1)?)?;
            at += count;
        }
        Ok(())
    }

    /// `r_nk A_k (x_n - c_k)` of every member, with symmetric `A: [K, d, d]`: `[M, d]`.
    pub(super) fn filtered(&self, x: &Tensor, c: &Tensor, a: &Tensor) -> Result<Tensor> {
        let size = [self.rows.size()[0], x.size()[1]];
        let filtered = Tensor::f_empty(size, (x.kind(), x.device()))?;
        self.each(x, c, |k, at, mut centred, shares| {
            let out = filtered.f_narrow(0, at, shares.size()[0])?;
            let _ = centred.f_mul_(&shares)?.f_mm_out(&out, &a.f_select(0, k)?)?;
            Ok(())
        })?;
        Ok(filtered)
    }
}
