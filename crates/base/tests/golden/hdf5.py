"""Makes hdf5/*.h5: small files of every layout and kind of values that is read, and some that are refused.

Made with Python 3.11.7, h5py 3.16.0, numpy 2.4.6:
    python3 hdf5.py
Image k of a set has the values v(k)[i, j] = (7 i + 3 j + k) / 64, which the test computes again: exact in
float32. Integers hold the nearest multiple of 1 / (largest value of the type).
"""

from pathlib import Path

import h5py
import numpy as np

folder = Path(__file__).with_name("hdf5")
folder.mkdir(exist_ok=True)
H, W = 5, 6


def v(k, h=H, w=W):
    return (7 * np.arange(h)[:, None] + 3 * np.arange(w) + k) / 64


# Crops for training: one dataset for each, of one image or a stack; names that do not sort as text.
with h5py.File(folder / "crops.h5", "w") as f:
    f["10"] = v(3).astype("f4")[None, None]
    f["2"] = np.stack([v(1), v(2)]).astype("f4")
    f["0"] = v(0).astype("f4")

# Pairs for validation, and values of every kind.
with h5py.File(folder / "pairs.h5", "w", libver="latest") as f:
    for k in range(2):
        g = f.create_group(str(k))
        g["gt"] = v(k, 2 * H, 2 * W).astype("f4")[None, None]
        g["obs"] = v(k).astype("f4")[None, None]
        for kind in ["u1", "i1", "u2", "i2", ">i4", "u4"]:
            largest = np.iinfo(kind).max
            g[kind.strip(">")] = np.round(v(k) * largest).astype(kind)
        g["f8"] = v(k).astype(">f8")
        chunks = dict(chunks=(2, 3), compression="gzip", shuffle=True)
        g.create_dataset("gzip", data=v(k).astype("f4"), **chunks)

# What is refused.
with h5py.File(folder / "refused.h5", "w") as f:
    f["volume"] = np.zeros((1, 1, 2, 3, 4), "f4")
    f["colour"] = np.zeros((1, 3, 4, 4), "f4")
    f["empty"] = np.zeros((0, 1, 4, 4), "f4")
    f["text"] = np.full((2, 3), b"abc", "S3")
    f["i8"] = np.zeros((2, 3), "i8")
    f["hole"] = np.where(np.arange(30).reshape(H, W) == 17, np.nan, v(0)).astype("f4")
    for k in range(2):
        f.create_group(f"g{k}")["sizes"] = v(k, H, W + k).astype("f4")
