"""The exact squared Wasserstein distance between two sets of rows, by the network simplex method of POT: both bounds at once."""

import sys

import numpy
import ot
import protocol

tensors, _, _ = protocol.start()
x, y = (tensors[name].double().numpy() for name in ("x", "y"))
THREADS = int(sys.argv[2])


def work(_):
    costs = ot.dist(x, y, metric="sqeuclidean")
    uniform = [numpy.full(len(rows), 1 / len(rows)) for rows in (x, y)]
    return ot.emd2(*uniform, costs, numItermax=100_000_000, numThreads=THREADS)


protocol.serve(work, lambda value: {"value": float(value), "upper": float(value)}, packages=["torch", "POT"])
