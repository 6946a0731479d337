"""The semi-dual of optimal transport between two sets of rows: value, gradient in the rows, gradient in the potential.

Arguments: how, how many evaluations in a row are one run, and the device. `dense` computes all distances as a matrix, in blocks of
at most 10,000 x 10,000, and its gradients in closed form; `autograd` differentiates through the matrix, `autograd-psi`
in the potential only, with the gradient in the rows in closed form; `keops` is a symbolic reduction. The potential of
evaluation k is row k of `psi`.
"""

import protocol
import torch

tensors, _, (how, evaluations, device) = protocol.start()
evaluations = int(evaluations)
x, y, potentials = (tensors[name].to(device) for name in ("x", "y", "psi"))
BLOCK = 10_000


def dense(psi):
    """Value and place of every minimum over j of |x_i - y_j|^2 - psi_j."""
    offset = (y * y).sum(1) - psi
    values, winners = [], []
    for block in x.split(BLOCK):
        costs = torch.addmm(offset[None, :], block, y.T, alpha=-2)
        least, winner = costs.min(1)
        values.append(least + (block * block).sum(1))
        winners.append(winner)
    return torch.cat(values), torch.cat(winners)


def keops(psi):
    from pykeops.torch import LazyTensor

    costs = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
    costs = costs - LazyTensor(psi[None, :, None])
    least, winner = costs.min_argmin(dim=1)
    return least[:, 0], winner[:, 0]


def autograd(psi, in_rows):
    """Value and gradients of the mean minimum plus the mean potential, by back-propagation through the matrix."""
    rows, psi = x.clone().requires_grad_() if in_rows else x, psi.clone().requires_grad_()
    costs = (rows * rows).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * rows @ y.T
    least, winners = (costs - psi[None, :]).min(1)
    value = least.mean() + psi.mean()
    value.backward()
    return value.detach(), rows.grad if in_rows else (x - y[winners]) * (2 / len(x)), psi.grad


def evaluate(k):
    psi = potentials[k % len(potentials)]
    if how.startswith("autograd"):
        return autograd(psi, how == "autograd")
    least, winners = (keops if how == "keops" else dense)(psi)
    value = least.double().mean() + psi.double().mean()
    shares = torch.bincount(winners, minlength=len(y)) / len(x)
    return value, (x - y[winners]) * (2 / len(x)), 1 / len(y) - shares


def work(run):
    for k in range(run * evaluations, (run + 1) * evaluations):
        result = evaluate(k)
    if x.is_cuda:
        torch.cuda.synchronize(device)
    return result


def values(result):
    value, in_rows, in_psi = (v.double() for v in result)
    return {
        "value": value.item(),
        "gradient norm": torch.linalg.vector_norm(in_rows).item(),
        "psi gradient norm": torch.linalg.vector_norm(in_psi).item(),
    }


packages = ["torch"] + (["pykeops"] if how == "keops" else [])
protocol.serve(work, values, evaluations, packages)
