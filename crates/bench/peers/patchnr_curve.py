"""Training of the patchNR flow with Adam, a warm-up and a cosine decay: a piece of it in every run, then the validation loss.

Arguments: STEPS in all, PIECES that they are cut into, BATCH, RATE, WARMUP steps. Run 0 warms up on a copy; the time of a
run is that of a piece without its validation. Batches are drawn from patches that are kept.
"""

import copy
import math

import patchnr_flow
import protocol
import torch

tensors, metadata, arguments = protocol.start()
steps, pieces, batch, warmup = (int(arguments[k]) for k in (0, 1, 2, 4))
rate = float(arguments[3])
flow = patchnr_flow.build(tensors, metadata)
kept = patchnr_flow.all_patches(tensors["image"], int(metadata["patch_size"])).contiguous()
validation = tensors["validation patches"]
optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
generator = torch.Generator().manual_seed(1)


def factor(k):
    """Of the learning rate: linear over the warm-up, then half a cosine to zero."""
    if k < warmup:
        return (k + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (k - warmup) / max(steps - warmup, 1)))


def train(flow, optimizer, numbers):
    for k in numbers:
        optimizer.param_groups[0]["lr"] = rate * factor(k)
        chosen = torch.randint(len(kept), (batch,), generator=generator)
        loss = patchnr_flow.mean_nll(flow, kept[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def work(run):
    if run == 0:
        spare = copy.deepcopy(flow)
        train(spare, torch.optim.Adam(spare.parameters(), lr=rate), range(10))
    else:
        train(flow, optimizer, range((run - 1) * steps // pieces, run * steps // pieces))


@torch.no_grad()
def values(_):
    return {"validation NLL": patchnr_flow.mean_nll(flow, validation).item()}


protocol.serve(work, values)
