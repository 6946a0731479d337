"""EM by scikit-learn from a given start, for `tests/all/gaussian_mixture`.

image: [1, 1, 14, 17] in float64; all its 2 x 2 patches are the data, d = 4.
start.*: weights [3], means [3, 4], covariances [3, 4, 4].
bounds: the mean log-likelihood of a patch before each of the iterations until its change is below 1e-6.
weights, means, covariances: the mixture after them.  scores: its log-likelihood of every patch, in the order of the patches.
Tolerance of the test: 1e-8.

Run with Python 3.11, scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1, safetensors 0.8:  python scikit_learn.py
"""

import numpy as np
from safetensors.numpy import save_file
from sklearn.mixture import GaussianMixture

rng = np.random.default_rng(11)
rows, columns = np.mgrid[:14, :17]
image = 0.5 + 0.3 * np.sin(rows / 2) * (columns > 8) + 0.05 * rng.normal(size=(14, 17))
patches = np.lib.stride_tricks.sliding_window_view(image, (2, 2)).reshape(-1, 4)

weights = np.array([0.5, 0.3, 0.2])
means = patches[[5, 100, 150]]
covariances = np.stack([np.eye(4) * v for v in (0.02, 0.05, 0.01)])
mixture = GaussianMixture(
    3,
    tol=1e-6,
    reg_covar=1e-6,
    max_iter=300,
    weights_init=weights,
    means_init=means,
    precisions_init=np.linalg.inv(covariances),
).fit(patches)
assert mixture.converged_
save_file(
    {
        "image": image[None, None],
        "start.weights": weights,
        "start.means": means,
        "start.covariances": covariances,
        "bounds": np.array(mixture.lower_bounds_),
        "weights": mixture.weights_,
        "means": mixture.means_,
        "covariances": mixture.covariances_,
        "scores": mixture.score_samples(patches),
    },
    "scikit_learn.safetensors",
)
print(len(mixture.lower_bounds_), mixture.lower_bounds_[:2], mixture.lower_bounds_[-2:])
