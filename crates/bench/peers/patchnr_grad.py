"""Value of the patchNR regularizer and its gradient in the image, for given patches in every run.

Argument: `trainable` leaves the weights as the authors' reconstruction does, so that autograd computes their
gradients too; `frozen` switches those off.
"""

import patchnr_flow
import protocol
import torch

tensors, metadata, (weights,) = protocol.start()
flow = patchnr_flow.build(tensors, metadata)
patch_size = int(metadata["patch_size"])
image, positions = tensors["image"], tensors["positions"]
if weights == "frozen":
    flow.requires_grad_(False)


def work(k):
    x = image.clone().requires_grad_()
    patches = patchnr_flow.all_patches(x, patch_size)[positions[k % len(positions)]]
    value = patchnr_flow.mean_nll(flow, patches)
    value.backward()
    return value, x.grad


def values(result):
    value, grad = result
    norm = torch.linalg.vector_norm(grad, dtype=torch.float64)
    return {"value": value.item(), "gradient norm": norm.item()}


protocol.serve(work, values)
