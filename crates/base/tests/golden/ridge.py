"""Writes golden/ridge/*: small ridge regularizers in files as their authors write them, and what numpy makes of them.

`tiny_crr.pth` and `tiny_wcrr.pth` are checkpoints with the entries of `CRR.pth` and `WCRR.pth`: kernels 1-2-3-5 of 3, 3 and 5 pixels, 11
knots, 4 noise levels. `refused_*.pth` lack a layer, or have an even number of knots. `golden.npz` holds the images `x` of 20 x 17
pixels and `x_published` of 18 x 21, and for the small files at the level 17/255 and for the published ones at 10/255 the sum over
all positions of the potentials and its gradient, by the definition: every filter as one kernel (a full convolution of the kernels of
the chain), the image's windows one by one, integrals of the activation piece by piece. The published weights are read where they
lie in a folder of data; only what they give is kept here.

Made with Python 3.11.7, numpy 2.4.6:
    python3 ridge.py FOLDER_OF_DATA
"""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("ridge")
DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else None
rng = np.random.default_rng(0)
LAST_KNOT = 0.1


def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def number(value):
    return b"J" + int(value).to_bytes(4, "little", signed=True)


def tensor(key, array):
    """A tensor that shares nothing, as torch pickles it (protocol 2)."""
    stride = [int(np.prod(array.shape[k + 1 :])) for k in range(array.ndim)]
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu") + number(array.size) + b"tQ"
    tuples = b"".join(b"(" + b"".join(number(n) for n in numbers) + b"t" for numbers in (array.shape, stride))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + tuples + b"\x89ccollections\nOrderedDict\n)RtR"


def write(name, state):
    """A checkpoint with an epoch, a state dict, a norm that is of no use, and the state of an optimizer with numbers for keys."""
    arrays = list(state.values()) + [np.array(283.7, "f4"), np.ones(3, "f4")]
    out = b"\x80\x02}(" + text("epoch") + number(6000) + text("state_dict") + b"ccollections\nOrderedDict\n)R("
    for key, (entry, array) in enumerate(state.items()):
        out += text(entry) + tensor(key, array)
    out += b"u" + text("L") + tensor(len(state), arrays[-2])
    out += text("optimizer_state_dict") + b"}(" + text("state") + b"}(" + number(0) + b"}(" + text("exp_avg")
    out += tensor(len(state) + 1, arrays[-1]) + b"uu" + text("param_groups") + b"](" + number(1) + b"euu."
    with zipfile.ZipFile(FOLDER / name, "w") as file:
        entries = [("m/data.pkl", out)] + [(f"m/data/{k}", a.astype("<f4").tobytes()) for k, a in enumerate(arrays)]
        for entry, content in [*entries, ("m/version", b"3\n")]:
            file.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), content)


def projected(coefficients):
    """Slopes cut off to [0, 1], none in the outer pieces, mirrored pieces averaged, and 0 in the middle."""
    spacing = 2 * LAST_KNOT / (len(coefficients) - 1)
    slopes = np.clip(np.diff(coefficients) / spacing, 0, 1)
    slopes[[0, -1]] = 0
    slopes = (slopes + slopes[::-1]) / 2
    values = np.concatenate([[0.0], np.cumsum(slopes) * spacing])
    return values - values[len(values) // 2]


def full(a, b):
    """The kernels [O, I, m, m] of the correlations `b` [O, J, k, k] after `a` [J, I, l, l]."""
    size = a.shape[2] + b.shape[2] - 1
    out = np.zeros((b.shape[0], a.shape[1], size, size))
    for i in range(b.shape[2]):
        for j in range(b.shape[2]):
            out[:, :, i : i + a.shape[2], j : j + a.shape[2]] += np.einsum("oj,jihw->oihw", b[:, :, i, j], a)
    return out


def evaluate(state, x, sigma, rho):
    """The sum of the potentials and its gradient; `sigma` in units of 1/255."""
    state = {key: np.asarray(value, "f8") for key, value in state.items()}
    layers = [v for k, v in state.items() if "conv_layers" in k]
    layers[0] = layers[0] - layers[0].mean((1, 2, 3), keepdims=True)
    filters = layers[0]
    for layer in layers[1:]:
        filters = full(filters, layer)
    filters = filters[:, 0]
    filters /= np.sqrt((np.abs(np.fft.fft2(filters, (256, 256))) ** 2).sum(0).max())
    convex = projected(state["activation_cvx.coefficients"][0])
    concave = projected(state["activation_ccv.coefficients"][0])
    values = np.exp(state["mu_"]) * convex - rho * concave
    knots = np.linspace(-LAST_KNOT, LAST_KNOT, len(values))
    logs = state["spline_scaling.coefficients"]
    levels = np.linspace(0, 30, logs.shape[1])
    scaling = np.exp([np.interp(sigma, levels, row) for row in logs]) / (sigma + 1e-5)

    def potential(t):
        """The integral from 0 to |t| (of an odd function also to t), piece by piece."""
        t, total = abs(t), 0.0
        half = len(knots) // 2
        for left, right, low, high in zip(knots[half:], knots[half + 1 :], values[half:], values[half + 1 :]):
            end = min(t, right)
            if end > left:
                at_end = low + (high - low) * (end - left) / (right - left)
                total += (end - left) * (low + at_end) / 2
        return total + max(t - knots[-1], 0.0) * values[-1]

    side = filters.shape[1]
    value, gradient = 0.0, np.zeros_like(x)
    for i in range(x.shape[0] - side + 1):
        for j in range(x.shape[1] - side + 1):
            window = x[i : i + side, j : j + side]
            for kernel, a in zip(filters, scaling):
                t = a * (kernel * window).sum()
                value += potential(t) / a**2
                gradient[i : i + side, j : j + side] += np.interp(t, knots, values) / a * kernel
    return value, gradient


def tiny(weakly):
    knots = np.linspace(-LAST_KNOT, LAST_KNOT, 11)
    names = ["conv_layers.0.parametrizations.weight.original", "conv_layers.1.weight", "conv_layers.2.weight"]
    shapes = [(2, 1, 3, 3), (3, 2, 3, 3), (5, 3, 5, 5)]
    state = {"mu_": np.array(1.2)}
    state |= {f"conv_layer.{name}": rng.standard_normal(shape) for name, shape in zip(names, shapes)}
    state["activation_cvx.coefficients"] = 0.03 * np.tanh(knots / 0.03)[None] + 0.002 * rng.standard_normal((1, 11))
    ccv = 0.06 * np.tanh(knots / 0.06)[None] if weakly else knots[None]
    state["activation_ccv.coefficients"] = ccv
    state["spline_scaling.coefficients"] = 3.5 + 0.3 * rng.standard_normal((5, 4))
    return {key: value.astype("f4") for key, value in state.items()}


class Reader(pickle.Unpickler):
    """Reads a published checkpoint: storages become arrays, other classes dicts."""

    def __init__(self, archive):
        self.archive = archive
        super().__init__(archive.open("checkpoint_6000/data.pkl"))

    def persistent_load(self, entry):
        kind, key = entry[1], entry[2]
        return np.frombuffer(self.archive.read(f"checkpoint_6000/data/{key}"), kind)

    def find_class(self, module, name):
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, *_: storage.reshape(size)
        if name == "FloatStorage":
            return "<f4"
        return type(name, (dict,), {})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    golden = {"x": 0.5 + 0.1 * rng.standard_normal((20, 17)), "x_published": 0.5 + 0.1 * rng.standard_normal((18, 21))}
    golden = {key: value.astype("f4") for key, value in golden.items()}
    for name, rho in (("crr", 0), ("wcrr", 1)):
        state = tiny(rho == 1)
        write(f"tiny_{name}.pth", state)
        value, gradient = evaluate(state, golden["x"].astype("f8"), 17.0, rho)
        golden |= {f"{name}_value": value, f"{name}_gradient": gradient}
        if DATA:
            state = Reader(zipfile.ZipFile(DATA / f"weights/{name.upper()}.pth")).load()["state_dict"]
            value, gradient = evaluate(dict(state), golden["x_published"].astype("f8"), 10.0, rho)
            golden |= {f"{name}_published_value": value, f"{name}_published_gradient": gradient}
    state = tiny(True)
    write("refused_layers.pth", {key: value for key, value in state.items() if "conv_layers.2" not in key})
    write("refused_knots.pth", state | {"activation_cvx.coefficients": np.zeros((1, 10), "f4")})
    np.savez(FOLDER / "golden.npz", **golden)
    for key, value in golden.items():
        print(key, np.shape(value), float(np.abs(value).max()))
