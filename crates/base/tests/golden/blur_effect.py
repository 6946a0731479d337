"""Makes blur_effect.safetensors: images with the blur effect that scikit-image gives them.

Made with Python 3.11.7, numpy 2.4.6, scipy 1.17.1, scikit-image 0.26.0, safetensors 0.8.0:
    python3 blur_effect.py
Tensors, for every case NAME: NAME.x (float64 [1, 1, H, W]) and NAME.blur (float64 scalar), with the default h_size=11.
Tolerance of the test: 1e-6 asked and 1e-10 kept.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter
from skimage.measure import blur_effect

rng = np.random.default_rng(20250611)
smooth = gaussian_filter(rng.standard_normal((30, 37)), 2)
sharp = np.where(smooth > 0.02, 0.8, 0.3) + 0.02 * rng.standard_normal(smooth.shape)
cases = {
    "sharp": sharp,
    "blurred": gaussian_filter(sharp, 1),
    "blurred_more": gaussian_filter(sharp, [2, 3]),
    "noise": rng.random((31, 23)),
    "smallest": rng.random((4, 6)),
    "constant": np.full((12, 13), 0.4),
}

tensors = {}
for name, x in cases.items():
    blur = blur_effect(x)
    tensors[f"{name}.x"] = np.ascontiguousarray(x[None, None])
    tensors[f"{name}.blur"] = np.array(blur)
    print(f"{name}: {blur:.6f}")
save_file(tensors, Path(__file__).with_name("blur_effect.safetensors"))
