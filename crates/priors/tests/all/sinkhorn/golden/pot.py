"""Golden values of entropic and semi-unbalanced transport by POT, for `tests/all/sinkhorn`.

Two images [1, 5, H, W] whose pixels are rows of 5 values, weights of the pixels of the first, and for several (eps, rho)
in the full-square convention the value sum P C + eps KL(P | a b^T) + rho KL(P^T 1 | b) and its gradient in the first
image, 2 (diag(P 1) x - P y), from the plans of `ot.sinkhorn` (method "sinkhorn_log") and
`ot.unbalanced.sinkhorn_unbalanced` with reg_m = (inf, rho), both in float64. A rho of 0 in the names stands for none.
Tolerance of the test: 1e-5 of values, 1e-4 of gradients.

Run with Python 3.11, POT 0.9.5, numpy 2.2.6, safetensors 0.8:  python pot.py
"""

import warnings

import numpy as np
import ot
from safetensors.numpy import save_file

warnings.simplefilter("error")
rng = np.random.default_rng(7)
C, HX, WX, HY, WY = 5, 6, 5, 4, 9
x = rng.random((1, C, HX, WX)).astype(np.float32)
y = (0.3 + 0.8 * rng.random((1, C, HY, WY))).astype(np.float32)
weights = rng.random((HX, WX)).astype(np.float32)
weights[2] = 0


def kl(p, q):
    positive = p > 0
    return np.sum(p[positive] * np.log(p[positive] / q[positive])) - p.sum() + q.sum()


arrays = {"x": x, "y": y, "weights": weights}
rows = x[0].reshape(C, -1).T.astype(np.float64)
others = y[0].reshape(C, -1).T.astype(np.float64)
cost = ((rows[:, None] - others[None]) ** 2).sum(-1)
b = np.full(len(others), 1 / len(others))
for name, pixels in [("uniform", np.ones((HX, WX))), ("weighted", weights.astype(np.float64))]:
    a = (pixels / pixels.sum()).ravel()
    kept = a > 0
    for eps, rho in [(0.5, 0.0), (0.05, 0.0), (0.05, 0.02), (0.2, 1.0)]:
        plan = np.zeros_like(cost)
        if rho == 0:
            plan[kept] = ot.sinkhorn(
                a[kept], b, cost[kept], eps, method="sinkhorn_log", numItermax=100_000, stopThr=1e-13
            )
        else:
            plan[kept] = ot.unbalanced.sinkhorn_unbalanced(
                a[kept], b, cost[kept], eps, (np.inf, rho), numItermax=100_000, stopThr=1e-13
            )
        assert np.abs(plan.sum(1) - a).max() < 1e-9
        value = (plan * cost).sum() + eps * kl(plan[kept], np.outer(a, b)[kept])
        value += rho * kl(plan.sum(0), b)
        gradient = 2 * (plan.sum(1)[:, None] * rows - plan @ others)
        key = f"{name}.{eps}.{rho}"
        arrays[f"{key}.value"] = np.array([value])
        arrays[f"{key}.gradient"] = np.ascontiguousarray(gradient.T.reshape(x.shape))
save_file(arrays, "pot.safetensors")
print({k: float(v[0]) for k, v in arrays.items() if k.endswith("value")})
