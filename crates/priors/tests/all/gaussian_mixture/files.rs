//! Checkpoints of Gaussian mixtures, and scikit-learn's `.npz`, made by `golden/scikit_learn.py`.
#![allow(clippy::unwrap_used)] // in helpers, too

use super::{distance, mixture};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, npz_file};
use smalti_priors::{GaussianMixture, PatchDensity};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/gaussian_mixture/golden").join(name)
}

fn array(name: &str) -> Tensor {
    let all = Tensor::read_safetensors(golden("scores.safetensors")).unwrap();
    all.into_iter().find(|(n, _)| n == name).unwrap().1
}

/// The one-line message of a file's content that cannot be used.
fn refused(result: smalti_base::Result<GaussianMixture>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Content { .. }), "{error:?}");
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn a_mixture_of_scikit_learn_has_its_likelihood() {
    let patches = array("patches");
    let mixture = GaussianMixture::import_scikit_learn(&golden("mixture.npz")).unwrap();
    assert_eq!((mixture.components(), mixture.dim()), (3, 4));
    assert!(distance(&-mixture.nll(&patches).unwrap(), &array("scores")) < 1e-10);
    let single = GaussianMixture::import_scikit_learn(&golden("mixture32.npz")).unwrap();
    assert_eq!(single.means().kind(), Kind::Double);
    // Within the rounding of the parameters.
    let relative = (single.nll(&patches).unwrap() / -array("scores") - 1.0).abs().max().double_value(&[]);
    assert!(relative < 1e-3, "{relative}");
}

#[test]
fn npz_files_come_as_they_are() {
    let arrays = npz_file::load(&golden("mixture.npz")).unwrap();
    let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
    // The integer n_iter_ is left out.
    assert_eq!(names, ["covariances_", "means_", "precisions_cholesky_", "weights_"]);
    let (u, covariances) = (&arrays["precisions_cholesky_"], &arrays["covariances_"]);
    assert!(distance(&u.matmul(&u.transpose(1, 2)), &covariances.inverse()) < 1e-6);
    assert_eq!(npz_file::load(&golden("mixture32.npz")).unwrap()["means_"].kind(), Kind::Float);
}

#[test]
fn files_that_are_no_mixture_are_refused() {
    let import = |path: &Path| GaussianMixture::import_scikit_learn(path);
    let line = refused(import(&golden("refused_diagonal.npz")));
    assert!(
        line.contains("expected [3, 4, 4], got [3, 4]") && line.contains("covariance_type='full'"),
        "{line}"
    );
    let line = refused(import(&golden("refused_singular.npz")));
    assert!(line.contains("positive definite") && line.contains("component 1 of 3"), "{line}");
    assert!(refused(import(&golden("scores.safetensors"))).contains("not a readable .npz"));
    assert!(matches!(import(&golden("none.npz")), Err(Error::File { .. })));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.npz");
    let whole = std::fs::read(golden("mixture.npz")).unwrap();
    for length in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        refused(import(&path));
    }
    // Whatever byte is damaged: an error or a mixture, never a crash.
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        let _ = import(&path);
    }
}

#[test]
fn a_saved_mixture_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixture.safetensors");
    let mut saved = mixture(4, 9);
    saved.provenance.insert("value_range".into(), "[0, 1]".into());
    saved.save(&path).unwrap();
    let loaded = GaussianMixture::load(&path).unwrap();
    assert!(loaded.means() == saved.means() && loaded.weights() == saved.weights());
    assert!(loaded.covariances() == saved.covariances());
    assert_eq!(loaded.provenance["value_range"], "[0, 1]");

    let with = |name: &str, tensor: Tensor| {
        let mut file = saved.to_checkpoint();
        file.tensors.insert(name.into(), tensor);
        refused(GaussianMixture::from_checkpoint(file, &path))
    };
    assert!(with("means", saved.means().narrow(0, 0, 3)).contains("tensor means"));
    assert!(with("means", saved.means().to_kind(Kind::Float)).contains("tensor means"));
    assert!(with("weights", saved.weights() * 2.0).contains("sum 1"));
    assert!(with("covariances", -saved.covariances()).contains("positive definite"));
    let mut other = Checkpoint::default();
    other.set_meta("kind", "patchNR flow");
    assert!(refused(GaussianMixture::from_checkpoint(other, &path)).contains("holds a patchNR flow"));
    refused(GaussianMixture::from_checkpoint(Checkpoint::default(), &path));
}
