//! Gaussian mixtures in files: own checkpoints, and scikit-learn's as `.npz`.

use super::GaussianMixture;
use crate::regularizer::PatchDensity;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, npz_file};
use std::path::Path;
use tch::{Kind, Tensor};

const KIND: &str = "Gaussian mixture";

const TRAIN_AGAIN: &str = "use a file that Smalti has saved, or train again";
const EXPORT: &str = "export a GaussianMixture with covariance_type='full' by numpy.savez(path, weights_=m.weights_, \
                      means_=m.means_, covariances_=m.covariances_)";

impl GaussianMixture {
    /// The mixture as a checkpoint: `weights`, `means` and `covariances` as float64 tensors; number of components,
    /// dimension and [`GaussianMixture::provenance`] as metadata.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.metadata = self.provenance.clone();
        file.set_meta("kind", KIND);
        file.set_meta("components", self.components());
        file.set_meta("dim", self.dim());
        for (name, tensor) in
            [("weights", self.weights()), ("means", self.means()), ("covariances", self.covariances())]
        {
            file.tensors.insert(name.into(), tensor.shallow_clone());
        }
        file
    }

    /// Writes [`GaussianMixture::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The mixture of a file written by [`GaussianMixture::save`], on the CPU.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file is not such a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The mixture of a checkpoint that was read from `path`.
    ///
    /// # Errors
    /// [`Error::Content`] where it is not a Gaussian mixture: another kind, other shapes, weights that are no weights,
    /// covariances that are not positive definite.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let found = file.meta("kind")?;
        if found != KIND {
            let problem = format!("holds a {found}, not a {KIND}");
            return Err(Error::content(path, problem, "give the file of a Gaussian mixture"));
        }
        let (k, d): (i64, i64) = (file.meta_parsed("components")?, file.meta_parsed("dim")?);
        let weights = file.take("weights", &[k], Kind::Double)?;
        let means = file.take("means", &[k, d], Kind::Double)?;
        let covariances = file.take("covariances", &[k, d, d], Kind::Double)?;
        let mut mixture =
            Self::new(&weights, &means, &covariances).map_err(|e| in_file(e, path, TRAIN_AGAIN))?;
        mixture.provenance = file.metadata;
        Ok(mixture)
    }

    /// Reads the mixture of an `.npz` file that holds `weights_: [K]`, `means_: [K, d]` and `covariances_: [K, d, d]`,
    /// as scikit-learn's `GaussianMixture` with `covariance_type="full"` calls them, in float32 or float64.
    ///
    /// Where `precisions_cholesky_: [K, d, d]` is there, too (upper triangular `U_k`, `Sigma_k^-1 = U_k U_k^T`), it must
    /// have that shape and, in float64, fit the covariances to 1e-3. Other arrays are left out.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no `.npz` file or damaged, or the
    /// arrays are missing, of other shapes or dtypes, or no mixture.
    pub fn import_scikit_learn(path: &Path) -> Result<Self> {
        let mut arrays = npz_file::load(path)?;
        let mut take = |name: &str| {
            let missing = || Error::content(path, format!("has no array {name} of floats"), EXPORT);
            arrays.remove(name).ok_or_else(missing)
        };
        let (weights, means, covariances) = (take("weights_")?, take("means_")?, take("covariances_")?);
        let mut mixture = Self::new(&weights, &means, &covariances).map_err(|e| in_file(e, path, EXPORT))?;
        if let Some(cholesky) = arrays.remove("precisions_cholesky_") {
            mixture.check_precisions(&cholesky).map_err(|e| in_file(e, path, EXPORT))?;
        }
        mixture.provenance.insert("imported_from".into(), "scikit-learn".into());
        Ok(mixture)
    }

    /// Whether `U_k^T Sigma_k U_k = I`.
    fn check_precisions(&self, cholesky: &Tensor) -> Result<()> {
        let what = "precisions_cholesky_";
        if cholesky.size() != self.covariances().size() {
            return Err(Error::shape(what, self.covariances().size(), cholesky.size()));
        }
        if cholesky.kind() != Kind::Double {
            return Ok(());
        }
        let unit = cholesky.f_transpose(1, 2)?.f_matmul(self.covariances())?.f_matmul(cholesky)?;
        let off = unit - Tensor::f_eye(self.dim(), (Kind::Double, self.device()))?;
        let off = off.f_abs()?.f_max()?.f_double_value(&[])?;
        // Not above would let NaN pass.
        if off <= 1e-3 {
            return Ok(());
        }
        Err(Error::value(what, "factors of the inverse covariances_", format!("others, off by {off:.2e}")))
    }
}

/// What is wrong with values, as what is wrong with the file they come from.
fn in_file(error: Error, path: &Path, remedy: &str) -> Error {
    match error {
        Error::Shape { .. } | Error::Value { .. } => Error::content(path, error.to_string(), remedy),
        other => other,
    }
}
