//! Sufficient statistics of a Gaussian mixture: the E-step and the M-step of its training.

use super::factors::Members;
use super::{GaussianMixture, shares};
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Sums over patches `x_n` with shares `r_nk`, around fixed centres `c_k`, in float64:
///
/// ```text
/// N_k = sum_n r_nk,   s_k = sum_n r_nk (x_n - c_k),   S_k = sum_n r_nk (x_n - c_k)(x_n - c_k)^T
/// ```
///
/// The centres are the means of the mixture that the shares come from. They are near the new means, so that
/// `S_k / N_k - s_k s_k^T / N_k^2`, unlike the second moment around 0, cancels hardly anything, and one pass over
/// the patches is enough. The sums are added piece by piece in the order of the patches, whatever the number of threads.
///
/// # Shapes
/// `K` components, `d` values a patch: `N [K]`, `s [K, d]`, `S [K, d, d]`. Patches `[N, d]` in float32 or float64; a piece
/// of them is converted to float64 at a time. Shares below 1e-12 are left out: a sparse E-step in the sense of Neal & Hinton 1998, by which the
/// log-likelihood of a patch can fall by at most `K 1e-12` where without it it would not fall.
#[derive(Debug)]
pub struct Moments {
    /// `[c_k, 0]`: `[K, d + 1]`.
    centres: Tensor,
    /// `[[S_k, s_k], [s_k^T, N_k]]`, the second moments of `[x_n - c_k, 1]`: `[K, d + 1, d + 1]`.
    sums: Tensor,
    patches: f64,
    log_likelihood: f64,
}

impl Moments {
    fn new(centres: &Tensor) -> Result<Self> {
        let &[k, d] = &centres.size()[..] else {
            return Err(Error::shape("centres", "[K, d]", centres.size()));
        };
        let centres = centres.f_to_kind(Kind::Double)?.f_constant_pad_nd([0, 1])?;
        let sums = Tensor::f_zeros([k, d + 1, d + 1], (Kind::Double, centres.device()))?;
        Ok(Self { centres, sums, patches: 0.0, log_likelihood: 0.0 })
    }

    /// The E-step: the sums with the shares `r_nk = w_k N(x_n; mu_k, Sigma_k) / p(x_n)` of `mixture`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where the patches are not `d` floats each.
    pub fn expected(mixture: &GaussianMixture, patches: &Tensor) -> Result<Self> {
        let _ = mixture.factors(patches)?;
        let mut moments = Self::new(mixture.means())?;
        let negligible = GaussianMixture::negligible(Kind::Double);
        let factors = &mixture.double;
        moments.add(patches, &mixture.pieces(patches.size()[0]), |x, _, _| {
            let (log_density, shares) = shares(&factors.log_joint(x)?)?;
            let log_likelihood = log_density.f_sum(Kind::Double)?.f_double_value(&[])?;
            Ok((Members::of_shares(&shares, negligible)?, log_likelihood))
        })?;
        Ok(moments)
    }

    /// The sums where every patch belongs to one of the centres `[K, d]` altogether, `labels: [N]` (int64, from 0)
    /// saying to which; the log-likelihood is 0.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not fit; [`Error::Value`] where a label is out of range.
    pub fn labelled(centres: &Tensor, patches: &Tensor, labels: &Tensor) -> Result<Self> {
        let mut moments = Self::new(centres)?;
        let (k, d) = (centres.size()[0], centres.size()[1]);
        if patches.dim() != 2 || patches.size()[1] != d {
            return Err(Error::shape("patches", format!("[N, {d}]"), patches.size()));
        }
        if labels.size() != patches.size()[..1] || labels.kind() != Kind::Int64 {
            let got = format!("{:?} {:?}", labels.kind(), labels.size());
            return Err(Error::shape("labels", format!("Int64 {:?}", &patches.size()[..1]), got));
        }
        if labels.numel() > 0 {
            let (low, high) = (labels.f_min()?.f_int64_value(&[])?, labels.f_max()?.f_int64_value(&[])?);
            if low < 0 || high >= k {
                return Err(Error::value("labels", format!("0 to {}", k - 1), format!("{low} to {high}")));
            }
        }
        let labels = Shared::new(labels);
        moments.add(patches, &super::pieces(patches.size()[0], 4096), |_, at, n| {
            Ok((Members::of_labels(&labels.f_narrow(0, at, n)?, k, Kind::Double)?, 0.0))
        })?;
        Ok(moments)
    }

    /// Adds all pieces, whose members `members` gives: a few for each thread at a time, so memory stays bounded.
    fn add(
        &mut self,
        patches: &Tensor,
        pieces: &[(i64, i64)],
        members: impl Fn(&Tensor, i64, i64) -> Result<(Members, f64)> + Sync,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let (members, patches) = (&members, Shared::new(patches));
        for pieces in pieces.chunks(2 * parallel::workers()) {
            let centres = Shared::new(&self.centres);
            let sums = parallel::map(pieces.len(), |i| {
                let (at, n) = pieces[i];
                let x = patches.f_narrow(0, at, n)?.f_to_kind(Kind::Double)?;
                let (members, log_likelihood) = members(&x, at, n)?;
                Ok((second_moments(&centres, &members, &x)?, log_likelihood))
            })?;
            for (sums, log_likelihood) in sums {
                let _ = self.sums.f_add_(&sums)?;
                self.log_likelihood += log_likelihood;
            }
        }
        self.patches += patches.size()[0] as f64;
        Ok(())
    }

    /// `N_k`: float64 `[K]`.
    pub fn counts(&self) -> Tensor {
        let d = self.centres.size()[1] - 1;
        self.sums.select(1, d).select(1, d)
    }

    /// The mean `1/N sum_n log p(x_n)` under the mixture of the E-step: its lower bound for each patch.
    pub fn mean_log_likelihood(&self) -> f64 {
        self.log_likelihood / self.patches.max(1.0)
    }

    /// The M-step: the mixture of largest expected log-likelihood, with `floor >= 0` (in squared grey values) added to
    /// the diagonals of its covariances afterwards, as scikit-learn's `reg_covar` is.
    ///
    /// ```text
    /// w_k = N_k / sum_k N_k,   mu_k = c_k + s_k / N_k,   Sigma_k = S_k / N_k - s_k s_k^T / N_k^2 + floor I
    /// ```
    ///
    /// `2.2e-15` is added to every `N_k`. So a component without patches stays where it is, with the covariance
    /// `floor I` and next to no weight, and comes back where patches near it lie.
    ///
    /// # Errors
    /// [`Error::Value`] where the floor is negative or not finite, there are no patches, or a covariance is not positive
    /// definite, as may be without a floor.
    pub fn mixture(&self, floor: f64) -> Result<GaussianMixture> {
        if !(floor >= 0.0 && floor.is_finite()) {
            return Err(Error::value("floor of the covariances", "a number >= 0", floor));
        }
        if self.patches == 0.0 {
            return Err(Error::value("patches of a Gaussian mixture", "at least 1", 0));
        }
        let d = self.centres.size()[1] - 1;
        let exact = self.counts();
        let counts = &exact + 10.0 * f64::EPSILON;
        let scatter = self.sums.f_narrow(1, 0, d)?;
        let shift = scatter.f_select(2, d)? / counts.f_unsqueeze(1)?;
        // Around the new mean; N_k and what it is divided by differ only where there are next to no patches.
        let share: Tensor = 2.0 - exact / &counts;
        let outer = shift.f_unsqueeze(2)?.f_matmul(&shift.f_unsqueeze(1)?)? * share.f_reshape([-1, 1, 1])?;
        let unit = Tensor::f_eye(d, (Kind::Double, shift.device()))?;
        let covariances = scatter.f_narrow(2, 0, d)? / counts.f_reshape([-1, 1, 1])? - outer + unit * floor;
        let weights = &counts / counts.f_sum(Kind::Double)?;
        GaussianMixture::new(&weights, &(self.centres.f_narrow(1, 0, d)? + shift), &covariances)
    }
}

/// `sum_n r_nk [x_n - c_k, 1] [x_n - c_k, 1]^T` for every component: `[K, d + 1, d + 1]`.
fn second_moments(centres: &Tensor, members: &Members, x: &Tensor) -> Result<Tensor> {
    let (k, width) = (centres.size()[0], centres.size()[1]);
    let one = Tensor::f_ones([1, 1], (Kind::Double, x.device()))?;
    let x = Tensor::f_cat(&[x.shallow_clone(), one.f_expand([x.size()[0], 1], false)?], 1)?;
    let sums = Tensor::f_zeros([k, width, width], (Kind::Double, x.device()))?;
    members.each(&x, centres, |k, _, centred, shares| {
        let weighted = centred.f_mul(&shares)?;
        let _ = weighted.f_tr()?.f_mm_out(&sums.f_select(0, k)?, &centred)?;
        Ok(())
    })?;
    Ok(sums)
}
