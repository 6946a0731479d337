"""Golden figures of convergence by ArviZ, for `tests/all/diagnostics`.

Chains [chains, draws] in float64 of the kinds that ArviZ tests its own diagnostics with: independent normal draws, draws
that are correlated (positively and negatively), chains that drift, that differ in their means or their spreads, draws without a variance
(Cauchy), with few different values, of odd and of least numbers. For each kind `split`, `rank`, `mean`, `bulk` and `tail`:
`arviz.rhat` and `arviz.ess` with these methods, in this order. Tolerance of the test: 1e-9, relative.

Run with Python 3.11, arviz 0.23.4, numpy 2.4.6, safetensors 0.8:  python convergence.py
"""

from pathlib import Path

import arviz
import numpy as np
from safetensors.numpy import save_file

rng = np.random.default_rng(2021)


def autoregressive(phi, chains, draws):
    x = rng.standard_normal((chains, draws))
    for k in range(1, draws):
        x[:, k] = phi * x[:, k - 1] + np.sqrt(1 - phi**2) * x[:, k]
    return x


kinds = {
    "normal": rng.standard_normal((4, 100)),
    "correlated": autoregressive(0.9, 4, 120),
    "slow": autoregressive(0.99, 4, 80),
    "alternating": autoregressive(-0.8, 4, 100),
    "drifting": rng.standard_normal((2, 90)) + np.linspace(0, 4, 90),
    "means": rng.standard_normal((4, 60)) + np.array([[0], [0], [1], [3]]),
    "spreads": rng.standard_normal((4, 60)) * np.array([[1], [1], [1], [10]]),
    "cauchy": rng.standard_cauchy((4, 100)),
    "levels": np.round(autoregressive(0.5, 3, 70)),
    "two values": np.where(autoregressive(0.7, 4, 50) > 0.3, 1.0, -1.0),
    "odd": autoregressive(0.4, 3, 37),
    "five": rng.standard_normal((4, 5)),
    "eight": rng.standard_normal((2, 8)),
    "ten": autoregressive(0.95, 2, 10),
}
arrays = {}
for name, x in kinds.items():
    figures = [arviz.rhat(x, method=m) for m in ("split", "rank")]
    figures += [arviz.ess(x, method=m) for m in ("mean", "bulk", "tail")]
    arrays[f"{name}.chains"] = x
    arrays[f"{name}.figures"] = np.array(figures, dtype=np.float64)
    print(name, figures)
save_file(arrays, Path(__file__).with_suffix(".safetensors"))
