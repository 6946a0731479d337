"""Makes lodopab/*.hdf5: small files of the layout of LoDoPaB-CT, and some that are refused.

Made with Python 3.11.7, h5py 3.16.0, numpy 2.4.6:
    python3 lodopab.py
Slice k (over all files of a part) has the values v(k)[i, j] = (7 i + 3 j + k) / 1024, exact in float32, which the test
computes again. Files have 3 slices in the place of 128, images 16 x 16, observations 12 x 9. As in the published data the
last file of observations is shorter than the others, that of ground truths is not.
"""

from pathlib import Path

import h5py
import numpy as np

folder = Path(__file__).with_name("lodopab")
folder.mkdir(exist_ok=True)
N, IMAGE, DATA = 3, (16, 16), (12, 9)


def v(first, n, shape):
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])
    return np.stack([(7 * i + 3 * j + k) / 1024 for k in range(first, first + n)]).astype("f4")


def write(name, data, **layout):
    with h5py.File(folder / f"{name}.hdf5", "w") as f:
        f.create_dataset("data", data=data, **layout)


gzip = dict(chunks=(2, 5, 16), compression="gzip")
# Compressed chunks, plain chunks, contiguous; an unlimited first axis that was cut, as the published ones.
write("ground_truth_train_000", v(0, N, IMAGE), **gzip)
write("ground_truth_train_001", v(N, N, IMAGE), chunks=(1, 16, 16))
write("observation_train_000", v(100, N, DATA), chunks=(3, 4, 4), compression="gzip", shuffle=True)
with h5py.File(folder / "observation_train_001.hdf5", "w") as f:
    data = f.create_dataset("data", shape=(N, *DATA), maxshape=(N, *DATA), dtype="f4", chunks=True)
    data[:2] = v(100 + N, 2, DATA)
    data.resize(2, axis=0)
write("ground_truth_validation_000", v(0, 2, IMAGE))
write("observation_validation_000", v(100, 2, DATA))

# Refused.
refused = folder / "refused"
refused.mkdir(exist_ok=True)
hole = v(0, 2, IMAGE)
hole[1, 3, 4] = np.nan
for name, key, data in [
    ("named", "images", v(0, 1, IMAGE)),
    ("narrow", "data", v(0, 1, (16, 15))),
    ("flat", "data", v(0, 1, IMAGE)[0]),
    ("empty", "data", v(0, 1, IMAGE)[:0]),
    ("double", "data", v(0, 1, IMAGE).astype("f8")),
    ("hole", "data", hole),
]:
    with h5py.File(refused / f"{name}.hdf5", "w") as f:
        f[key] = data
