"""Writes golden/matlab/*: small networks as MatConvNet saves them in MATLAB 7.3, and what numpy makes of them.

`tiny_ffdnet.mat` has the layout of `FFDNet_gray.mat` with two convolutions: a smoothing filter fitted to waves of up to 1.1 radians a
pixel, and a term with the noise level, so that the network denoises a little. `tiny_ffdnet.npz` holds an image `x` and `y`, the
network's image at the noise level 0.1, computed by the definition of each layer. `no_layers.mat` has a net without layers. `cell.mat` has
a cell of two arrays. `noise.npz` is the noise of the figures of the published network.

Made with Python 3.11.7, h5py 3.16.0, numpy 2.4.6:
    python3 matlab.py
"""

from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).parent / "matlab"
SIGMA = 0.1
rng = np.random.default_rng(0)


def split(x):
    """Four images of half the size: the row offset goes fastest, then the column offset."""
    return np.stack([x[row::2, column::2] for column in (0, 1) for row in (0, 1)])


def join(parts):
    x = np.empty((2 * parts.shape[1], 2 * parts.shape[2]))
    for k, (column, row) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        x[row::2, column::2] = parts[k]
    return x


def convolve(x, kernel, bias):
    """`kernel` is [h, w, inputs, outputs] as in MATLAB; correlation with zeros around."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    h, w = x.shape[1:]
    y = np.zeros((kernel.shape[3], h, w)) + bias[:, None, None]
    for i in range(3):
        for j in range(3):
            y += np.einsum("io,ihw->ohw", kernel[i, j], padded[:, i : i + h, j : j + w])
    return y


def waves(side):
    row, column = np.mgrid[:side, :side]
    x = np.full((side, side), 0.5)
    for _ in range(4):
        length, angle, phase = rng.uniform(0, 1.1), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        x += 0.1 * np.sin(length * (np.cos(angle) * row + np.sin(angle) * column) + phase)
    return x


def smoothing():
    """The linear filter on 3x3 positions of the four parts that takes noise of level SIGMA away best."""
    inputs, targets = [], []
    for _ in range(200):
        clean = waves(16)
        noisy = split(clean + SIGMA * rng.standard_normal(clean.shape))
        target = split(clean)
        inputs.append(
            np.stack([noisy[:, i : i + 6, j : j + 6].reshape(4, -1) for i in range(3) for j in range(3)]).reshape(36, -1)
        )
        targets.append(target[:, 1:7, 1:7].reshape(4, -1))
    a, b = np.concatenate(inputs, 1) - 0.5, np.concatenate(targets, 1) - 0.5
    weights = np.linalg.solve(a @ a.T + 1e-3 * np.eye(36), a @ b.T)  # [(i, j, part), output]
    return weights.reshape(3, 3, 4, 4)


def network():
    # The parts, moved away from zero; the noise level; and a mixture.
    first = np.zeros((3, 3, 5, 6))
    first[1, 1, :4, :4] = np.eye(4)
    first[1, 1, 4, 4] = 1
    first[:, :, :, 5] = rng.standard_normal((3, 3, 5)) * 0.1
    first_bias = np.array([1.0, 1, 1, 1, 0, 0.2])
    second = np.zeros((3, 3, 6, 4))
    second[:, :, :4] = smoothing()
    second_bias = 0.5 - 1.5 * second[:, :, :4].sum((0, 1, 2))
    second[:, :, 4:] = rng.standard_normal((3, 3, 2, 4)) * 0.01
    return [[a.astype(np.float32) for a in pair] for pair in ((first, first_bias), (second, second_bias))]


def forward(x, layers):
    z = np.concatenate([split(x), np.full((1, x.shape[0] // 2, x.shape[1] // 2), SIGMA)])
    z = np.maximum(convolve(z, *layers[0]), 0)
    return join(convolve(z, *layers[1]))


def write(name, layers):
    path = FOLDER / name
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def put(array, **options):
            # Axes in reverse, as MATLAB writes them.
            dataset = refs.create_dataset(f"d{len(refs)}", data=np.ascontiguousarray(array.T), **options)
            return dataset.ref

        places = []
        for k, (kind, weights) in enumerate(layers):
            group = refs.create_group(f"l{k}")
            group.create_dataset("type", data=np.array([[ord(c)] for c in kind], np.uint16))
            if weights is None:
                empty = group.create_dataset("weights", data=np.zeros(2, np.uint64))
                empty.attrs["MATLAB_empty"] = np.uint8(1)
            else:
                cell = group.create_dataset("weights", (2, 1), dtype=h5py.ref_dtype)
                kernel, bias = weights
                chunks = kernel.T.shape if k == 2 else None
                cell[0, 0] = put(kernel, chunks=chunks, compression="gzip" if chunks else None)
                cell[1, 0] = put(bias[:, None])
            places.append(group.ref)
        net = file.create_group("net")
        if places:
            cell = net.create_dataset("layers", (len(places), 1), dtype=h5py.ref_dtype)
            cell[:, 0] = places
        else:
            net.create_dataset("meta", data=np.zeros((1, 1)))
    sign(path)


def sign(path):
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, HDF5".ljust(124) + b"\x00\x02IM")


def write_cell(name):
    path = FOLDER / name
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        arrays = [np.arange(1.0, 7.0).reshape(2, 3), np.full((3, 3), 1 / 9, np.float32)]
        cell = file.create_dataset("kernels", (len(arrays), 1), dtype=h5py.ref_dtype)
        cell[:, 0] = [refs.create_dataset(f"d{k}", data=np.ascontiguousarray(a.T)).ref for k, a in enumerate(arrays)]
        file.create_dataset("single", data=np.zeros((1, 1)))
    sign(path)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    first, second = network()
    write("tiny_ffdnet.mat", [("SubP", None), ("concat", None), ("conv", first), ("relu", None), ("conv", second), ("SubP", None)])
    write("no_layers.mat", [])
    write_cell("cell.mat")
    x = waves(12)[:, :10] + SIGMA * rng.standard_normal((12, 10))
    x = x.astype(np.float32)
    y = forward(x.astype(np.float64), (first, second)).astype(np.float32)
    np.savez(FOLDER / "tiny_ffdnet.npz", x=x, y=y)

    # The noise of the figures of the published network at three levels, one after the other, rounded to 1/16.
    noise = np.random.default_rng(0).standard_normal((3, 160, 160))
    np.savez_compressed(FOLDER / "noise.npz", noise=np.round(noise * 16).astype(np.float32) / 16)
