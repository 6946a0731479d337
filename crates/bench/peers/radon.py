"""The projection of an image along parallel rays or those of a fan, or its transpose.

Arguments: `astra` (2D, CPU, the model `line`) or `deepinv` (its `Tomography`, angle by angle, which is its faster way on CPUs, and
the exact transpose by autograd); `forward` or `adjoint`.

Lengths are in metres. ASTRA has our geometry: row 0 at the largest y, s = x cos(theta) + y sin(theta), detector pixels around the
axis; its `fanflat` is our fan, where four lengths are given: those of a pixel and of a detector pixel, and the distances of the source
and of the detector from the axis. deepinv's detector is its own: as many pixels of the image's size as the diagonal needs, around the axis. What it
gives and gets is interpolated linearly between the two detectors, outside of the time taken, and its transpose is scaled by the
number of its rays to ours.
"""

import numpy as np
import protocol
import torch

tensors, _, (package, how) = protocol.start()
angles = tensors["angles"].numpy()
size, spacing, *distances = tensors["lengths"].tolist()
given = tensors["input"][0, 0].numpy()
expected = tensors["expected"][0, 0].double().numpy()
sinogram, image = (expected, given) if how == "forward" else (given, expected)
rays, side = sinogram.shape[1], image.shape[0]


def astra_work():
    import astra

    half = 0.5 * size * side
    pixels = astra.create_vol_geom(side, side, -half, half, -half, half)
    kind, model = ("fanflat", "line_fanflat") if distances else ("parallel", "line")
    beam = astra.create_proj_geom(kind, spacing, rays, angles, *distances)
    model = astra.create_projector(model, beam, pixels)
    volume = astra.data2d.create("-vol", pixels, image)
    projections = astra.data2d.create("-sino", beam, sinogram)
    config = astra.astra_dict("FP" if how == "forward" else "BP")
    config["ProjectorId"] = model
    config["ProjectionDataId"] = projections
    config["VolumeDataId" if how == "forward" else "ReconstructionDataId"] = volume
    algorithm = astra.algorithm.create(config)
    result = projections if how == "forward" else volume
    astra.data2d.store(result, 0)
    return lambda k: astra.algorithm.run(algorithm), lambda _: astra.data2d.get(result)


def deepinv_work():
    from deepinv.physics import Tomography

    degrees = torch.from_numpy(np.rad2deg(angles)).float()
    physics = Tomography(degrees, side, parallel_computation=False, adjoint_via_backprop=True, normalize=False)
    theirs = physics.A(torch.zeros(1, 1, side, side)).shape[2]

    def places(count, step):
        return (np.arange(count) - 0.5 * (count - 1)) * step

    def between(values, to, at):
        return np.stack([np.interp(to, at, row, left=0.0, right=0.0) for row in values])

    ours, theirs = places(rays, spacing), places(theirs, size)
    if how == "forward":
        x = torch.from_numpy(given)[None, None]
        return lambda k: physics.A(x), lambda y: between(y[0, 0].numpy().T * size, ours, theirs)
    y = between(given, theirs, ours).T.astype(np.float32)
    y = torch.from_numpy(y)[None, None].contiguous()
    return lambda k: physics.A_adjoint(y), lambda x: x[0, 0].detach().numpy() * (size * size / spacing)


work, read = astra_work() if package == "astra" else deepinv_work()


def values(result):
    output = read(result).astype(np.float64)
    norm = np.linalg.norm(output)
    return {"norm": norm, "1 - distance from ours": 1 - np.linalg.norm(output - expected) / np.linalg.norm(expected)}


protocol.serve(work, values, packages=["astra-toolbox"] if package == "astra" else ["torch", "deepinv"])
