"""Mixtures fitted and exported by scikit-learn, for `tests/all/gaussian_mixture`.

mixture.npz: K = 3, d = 4, float64, compressed, covariances in Fortran order, with precisions_cholesky_.
mixture32.npz: the same in float32, without precisions_cholesky_.
refused_diagonal.npz: covariance_type "diag".  refused_singular.npz: a covariance of rank 1.
scores.safetensors: patches [60, 4], score_samples and predict_proba of mixture.npz in float64.
Tolerance of the test: 1e-10 in float64.

Run with Python 3.11, scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1, safetensors 0.8:  python scikit_learn.py
"""

import numpy as np
from safetensors.numpy import save_file
from sklearn.mixture import GaussianMixture

rng = np.random.default_rng(5)
factors = rng.normal(size=(3, 4, 4)) * [[[0.3]], [[0.1]], [[0.02]]]
centres = rng.random((3, 4))
training = np.concatenate([c + rng.normal(size=(300, 4)) @ f for c, f in zip(centres, factors)])
patches = np.concatenate([training[::20], 3 * rng.random((15, 4)) - 1])

mixture = GaussianMixture(3, random_state=0).fit(training)
arrays = {"weights_": mixture.weights_, "means_": mixture.means_, "covariances_": mixture.covariances_}
fortran = {**arrays, "covariances_": np.asfortranarray(mixture.covariances_)}
np.savez_compressed("mixture.npz", precisions_cholesky_=mixture.precisions_cholesky_, n_iter_=7, **fortran)
np.savez("mixture32.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
diagonal = GaussianMixture(3, covariance_type="diag", random_state=0).fit(training)
np.savez(
    "refused_diagonal.npz",
    weights_=diagonal.weights_,
    means_=diagonal.means_,
    covariances_=diagonal.covariances_,
)
singular = mixture.covariances_.copy()
singular[1] = np.outer(centres[0], centres[0])
np.savez_compressed("refused_singular.npz", **{**arrays, "covariances_": singular})
scores = mixture.score_samples(patches)
shares = mixture.predict_proba(patches)
save_file({"patches": patches, "scores": scores, "shares": shares}, "scores.safetensors")
