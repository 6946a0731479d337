"""Training steps of the patchNR flow with Adam, a few of them in every run, on given patches.

Argument: `unfold` takes the patches out of the image anew in every step, as the authors' loop does; `keep` does so
once at the start.
"""

import patchnr_flow
import protocol
import torch

tensors, metadata, (patches_are,) = protocol.start()
flow = patchnr_flow.build(tensors, metadata)
patch_size, steps = int(metadata["patch_size"]), int(metadata["steps"])
image, positions = tensors["image"], tensors["positions"]
optimizer = torch.optim.Adam(flow.parameters(), lr=float(metadata["rate"]))
kept = patchnr_flow.all_patches(image, patch_size).contiguous() if patches_are == "keep" else None


def step(k):
    patches = patchnr_flow.all_patches(image, patch_size) if kept is None else kept
    loss = patchnr_flow.mean_nll(flow, patches[positions[k % len(positions)]])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def work(run):
    return [step(run * steps + j) for j in range(steps)]


def values(losses):
    return {"loss": torch.stack(losses).mean().item()}


protocol.serve(work, values, steps)
