"""Golden layers on images and a golden WPPFlow made of FrEIA's modules, for `tests/all/freia_images.rs`.

For every layer: its parameters by FrEIA's names, an input `z`, a condition where it takes one, the result `x` and
`log_det` of FrEIA's forward direction (latent to data), and the gradients of sum(g x) + 0.7 sum(log_det). For the
flow: the same of a small WPPFlow x4 (one block a level) with PyTorch's bicubic upsampling of the condition. All in float64
in `freia_images.safetensors`. Tolerance of the test: 1e-10 relative.

Run with Python 3.11, torch 2.11.0, FrEIA 0.2, numpy 2.4, safetensors 0.8:  python freia_images.py
"""

import torch
import FrEIA.modules as Fm
from safetensors.torch import save_file

HIDDEN = 5
torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
arrays = {}


def subnet(side):
    def make(c_in, c_out):
        first = torch.nn.Conv2d(c_in, HIDDEN, side, padding=side // 2)
        last = torch.nn.Conv2d(HIDDEN, c_out, side, padding=side // 2)
        return torch.nn.Sequential(first, torch.nn.ReLU(), last)

    return make


def run(module, z, cond):
    given = {} if cond is None else {"c": [cond]}
    (x,), log_det = module([z], rev=False, **given)
    if not torch.is_tensor(log_det):
        log_det = torch.full((len(z),), float(log_det))
    return x, log_det


def trained(module):
    return {n: p for n, p in module.named_parameters() if p.requires_grad}


def keep(name, named, z, cond, x, log_det):
    g = torch.randn_like(x)
    loss = (g * x).sum() + 0.7 * log_det.sum()
    gradients = torch.autograd.grad(loss, [z, *named.values()])
    entry = {"z": z, "x": x, "log_det": log_det, "g": g, "grad.z": gradients[0]}
    entry |= {f"parameter.{n}": p for n, p in named.items()}
    entry |= {f"grad.{n}": d for n, d in zip(named, gradients[1:])}
    if cond is not None:
        entry["cond"] = cond
    arrays.update({f"{name}.{k}": v.detach().clone().contiguous() for k, v in entry.items()})


def layer(name, module, channels, condition, size=(4, 6)):
    z = torch.randn(3, channels, *size, requires_grad=True)
    cond = torch.rand(3, condition, *size) if condition else None
    with torch.no_grad():
        x, log_det = run(module, z, cond)  # FrEIA's actnorm starts itself on its first batch
        (back,), _ = module([x], rev=True, **({} if cond is None else {"c": [cond]}))
        assert torch.allclose(back, z, atol=1e-10)
    keep(name, trained(module), z, cond, *run(module, z, cond))


dims, cond_dims = [(6, 4, 6)], [(2, 4, 6)]
layer("coupling", Fm.GLOWCouplingBlock(dims, subnet_constructor=subnet(3), clamp=1.5), 6, 0)
layer("coupling_1x1", Fm.GLOWCouplingBlock(dims, subnet_constructor=subnet(1), clamp=1.2), 6, 0)
conditional = Fm.GLOWCouplingBlock(dims, cond_dims, subnet_constructor=subnet(3), clamp=1.2)
layer("coupling_conditional", conditional, 6, 2)
layer("affine", Fm.ConditionalAffineTransform(dims, cond_dims, subnet_constructor=subnet(3), clamp=1.2), 6, 2)
layer("norm", Fm.ActNorm(dims), 6, 0)
layer("squeeze", Fm.IRevNetDownsampling([(3, 4, 6)]), 3, 0)
layer("unsqueeze", Fm.IRevNetUpsampling([(8, 4, 6)]), 8, 0)

# A WPPFlow x4 with one block a level, for observations of 3x2 pixels.
h, w = 3, 2
y = torch.rand(2, 1, h, w)
z = torch.randn(2, 1, 4 * h, 4 * w, requires_grad=True)
upsampled = [y] + [
    torch.nn.functional.interpolate(y, scale_factor=r, mode="bicubic", align_corners=False) for r in (2, 4)
]
modules = []


def add(kind, channels, level, conditional=False, **arguments):
    size = (h * 2**level, w * 2**level)
    conditions = [(1, *size)] if conditional else []
    modules.append((kind([(channels, *size)], conditions, **arguments), upsampled[level] if conditional else None))


def coupling(channels, level, side, clamp, conditional=False):
    add(Fm.GLOWCouplingBlock, channels, level, conditional, subnet_constructor=subnet(side), clamp=clamp)


def affine(channels, level):
    add(Fm.ConditionalAffineTransform, channels, level, True, subnet_constructor=subnet(3), clamp=1.2)


for step, channels in enumerate([4, 16]):
    add(Fm.IRevNetDownsampling, channels // 4, 2 - step)
    for _ in range(2):
        coupling(channels, 1 - step, 3, 1.5)
        add(Fm.ActNorm, channels, 1 - step)
for level, channels in enumerate([16, 4]):
    coupling(channels, level, 3, 1.2, True)
    modules.append((Fm.PermuteRandom([(channels, h * 2**level, w * 2**level)], seed=level + 1), None))
    affine(channels, level)
    coupling(channels, level, 1, 1.2)
    add(Fm.ActNorm, channels, level)
    coupling(channels, level, 1, 1.2)
    add(Fm.ActNorm, channels, level)
    add(Fm.IRevNetUpsampling, channels, level)
affine(1, 2)

with torch.no_grad():
    value = z
    for module, cond in modules:
        value, _ = run(module, value, cond)
value, total = z, 0.0
for module, cond in modules:
    value, log_det = run(module, value, cond)
    total = total + log_det
named = {f"{k}.{n}": p for k, (module, _) in enumerate(modules) for n, p in trained(module).items()}
keep("flow", named, z, y, value, total)
permutations = [m.perm for m, _ in modules if isinstance(m, Fm.PermuteRandom)]
arrays |= {f"flow.permutation.{k}": p.detach().clone() for k, p in enumerate(permutations)}

save_file(arrays, "freia_images.safetensors")
print(len(arrays), "arrays,", sum(a.numel() for a in arrays.values()), "values")
