"""Golden projections of fan beams by ASTRA, for `src/radon/golden.rs`.

A phantom of ellipses [120, 96], seeded, pixels of 0.5 mm with row 0 at the largest y, and its projections [views, detector pixels] in
float32 by the model `line_fanflat` (CPU): for a flat detector, and for a curved one, for which ASTRA has no geometry: each ray is
a view of its own with one detector pixel. `*_wide` are means over detector pixels that are wider than pixels, by 32 rays each.
Tolerance of the test: 1 % of the norm.

Run with Python 3.11, astra-toolbox 2.5.0, numpy 2.4.6, safetensors 0.8:  python fan.py
"""

from pathlib import Path

import astra
import numpy as np
from safetensors.numpy import save_file

ROWS, COLUMNS, SIZE = 120, 96, 5e-4
SOURCE, DETECTOR = 0.12, 0.05
SHARP, WIDE, MANY = (180, 7e-4, 0.0021), (62, 2.1e-3, -0.0021), 32
rng = np.random.default_rng(30)
angles = np.sort(rng.uniform(-1.0, 2 * np.pi - 1.0, 23))


def phantom():
    """Sums of ellipses, each pixel the mean over 8 x 8 points."""
    fine = lambda n: (np.arange(8 * n) + 0.5) / 8 - n / 2
    x, y = fine(COLUMNS)[None, :], -fine(ROWS)[:, None]
    image = np.zeros((8 * ROWS, 8 * COLUMNS))
    for value in (1.0, -0.4, 0.6, 0.8, -0.3):
        at, axes, turn = rng.uniform(-18, 18, 2), rng.uniform(8, 26, 2), rng.uniform(0, np.pi)
        u = (x - at[0]) * np.cos(turn) + (y - at[1]) * np.sin(turn)
        v = (y - at[1]) * np.cos(turn) - (x - at[0]) * np.sin(turn)
        image += value * ((u / axes[0]) ** 2 + (v / axes[1]) ** 2 < 1)
    return image.reshape(ROWS, 8, COLUMNS, 8).mean((1, 3)).astype(np.float32)


def views(detector, curved):
    """Source, centre of the detector pixel, and from one to the next, a line for each ray."""
    count, spacing, offset = detector
    u = (np.arange(count) - 0.5 * (count - 1)) * spacing + offset
    theta, u = np.meshgrid(angles, u, indexing="ij")
    far = SOURCE + DETECTOR
    gamma = u / far if curved else np.arctan(u / far)
    along, across = (far * np.cos(gamma), far * np.sin(gamma)) if curved else (far, u)
    source = SOURCE * np.stack([np.sin(theta), -np.cos(theta)], -1)
    forth, right = np.stack([-np.sin(theta), np.cos(theta)], -1), np.stack([np.cos(theta), np.sin(theta)], -1)
    pixel = source + np.expand_dims(along * np.ones_like(u), -1) * forth + np.expand_dims(across, -1) * right
    turn = np.expand_dims(gamma if curved else 0 * gamma, -1)
    step = spacing * (right * np.cos(turn) - forth * np.sin(turn))
    return np.concatenate([source, pixel, step], -1).reshape(-1, 6)


def work(image, detector, curved):
    half = 0.5 * SIZE * np.array([COLUMNS, ROWS])
    pixels = astra.create_vol_geom(ROWS, COLUMNS, -half[0], half[0], -half[1], half[1])
    rays = astra.create_proj_geom("fanflat_vec", 1, views(detector, curved))
    projector = astra.create_projector("line_fanflat", rays, pixels)
    volume = astra.data2d.create("-vol", pixels, image)
    sinogram = astra.data2d.create("-sino", rays, 0)
    config = astra.astra_dict("FP")
    config["ProjectorId"] = projector
    config["ProjectionDataId"] = sinogram
    config["VolumeDataId"] = volume
    astra.algorithm.run(astra.algorithm.create(config))
    return astra.data2d.get(sinogram).reshape(len(angles), -1).copy()


image = phantom()
tensors = {"angles": angles, "image": image}
for name, curved in (("flat", False), ("curved", True)):
    tensors[name] = work(image, SHARP, curved)
    count, spacing, offset = WIDE
    fine = work(image, (count * MANY, spacing / MANY, offset), curved)
    tensors[f"{name}_wide"] = fine.reshape(len(angles), count, MANY).mean(2)
save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, Path(__file__).with_name("fan.safetensors"))
for k, v in tensors.items():
    print(k, v.shape, v.dtype, np.linalg.norm(v))
