"""Makes metrics.safetensors: image pairs with the PSNR and SSIM that scikit-image gives them.

Made with Python 3.11.7, numpy 2.4.6, scipy 1.17.1, scikit-image 0.26.0, safetensors 0.8.0:
    python3 metrics.py
Tensors, for every case NAME: NAME.x and NAME.truth (float64 [1, C, H, W]) and NAME.metrics (float64 [4]: range, PSNR in dB,
SSIM with the default 7x7 window, SSIM with gaussian_weights=True; NaN where the window does not fit).
Tolerances of the test: 1e-9 dB for PSNR, 1e-6 asked and 1e-12 kept for SSIM.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

rng = np.random.default_rng(20240917)


def textured(*shape):
    """Smooth structures and edges in [0, 1]."""
    smooth = gaussian_filter(rng.standard_normal(shape), [0] * (len(shape) - 2) + [2, 2])
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.where(smooth > 0.6, 0.9, smooth)


cases = {}
truth = textured(1, 24, 37)
cases["noise"] = (truth + 0.1 * rng.standard_normal(truth.shape), truth, 1.0)
truth = textured(1, 16, 50)
cases["blur"] = (gaussian_filter(truth, [0, 1.2, 0.7]), truth, 1.0)
truth = textured(3, 20, 15)
cases["colour"] = (np.clip(truth + 0.2 * rng.standard_normal(truth.shape), 0, 1), truth, 1.0)
truth = 255 * textured(1, 33, 12)
cases["range255"] = (np.round(truth + 9 * rng.standard_normal(truth.shape)), truth, 255.0)
truth = np.full((1, 14, 19), 0.3)
cases["constant_truth"] = (truth + 0.05 * rng.standard_normal(truth.shape), truth, 1.0)
cases["both_constant"] = (np.full((1, 13, 11), 0.75), np.full((1, 13, 11), 0.5), 1.0)
truth = textured(1, 7, 9)
cases["smallest"] = (rng.random(truth.shape), truth, 1.0)

tensors = {}
for name, (x, truth, data_range) in cases.items():
    psnr = peak_signal_noise_ratio(truth, x, data_range=data_range)
    ssim = structural_similarity(truth, x, data_range=data_range, channel_axis=0)
    gauss = np.nan
    if min(x.shape[1:]) >= 11:
        gauss = structural_similarity(truth, x, data_range=data_range, channel_axis=0, gaussian_weights=True)
    tensors[f"{name}.x"] = np.ascontiguousarray(x[None])
    tensors[f"{name}.truth"] = np.ascontiguousarray(truth[None])
    tensors[f"{name}.metrics"] = np.array([data_range, psnr, ssim, gauss])
    print(f"{name}: PSNR {psnr:.4f} dB, SSIM {ssim:.6f}, Gaussian {gauss:.6f}")
save_file(tensors, Path(__file__).with_name("metrics.safetensors"))
