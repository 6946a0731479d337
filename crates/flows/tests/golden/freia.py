"""Golden patchNR flows made with FrEIA, for `tests/all/freia.rs`.

Makes, for both forms of the soft clamp, a state dict as the authors of patchNR save it
(`freia_alpha_atan.pth`: FrEIA 0.2 from PyPI, s = clamp * 0.636 * atan(raw);
`freia_atan_over.pth`: s = clamp * 0.636 * atan(raw / clamp)), 64 patches, and FrEIA's
negative log-likelihood |z|^2 / 2 - log|det| with its gradient in the patches (`freia.safetensors`, float32
network evaluated in float64). Tolerance of the test: 1e-5 relative.

Run with Python 3.11, torch 2.11.0, FrEIA 0.2, numpy 2.4, safetensors 0.8:  python freia.py
"""

import torch
import FrEIA.framework as Ff
import FrEIA.modules as Fm
from safetensors.torch import save_file

DIM, HIDDEN, BLOCKS, CLAMP, N = 36, 16, 5, 1.6, 64


def subnet(c_in, c_out):
    relu = torch.nn.ReLU
    linear = torch.nn.Linear
    return torch.nn.Sequential(linear(c_in, HIDDEN), relu(), linear(HIDDEN, HIDDEN), relu(), linear(HIDDEN, c_out))


def flow(activation):
    nodes = [Ff.InputNode(DIM, name="input")]
    for k in range(BLOCKS):
        arguments = {"subnet_constructor": subnet, "clamp": CLAMP, "clamp_activation": activation}
        nodes.append(Ff.Node(nodes[-1], Fm.GLOWCouplingBlock, arguments, name=f"coupling_{k}"))
        nodes.append(Ff.Node(nodes[-1], Fm.PermuteRandom, {"seed": k + 1}, name=f"permute_{k}"))
    nodes.append(Ff.OutputNode(nodes[-1], name="output"))
    return Ff.ReversibleGraphNet(nodes, verbose=False)


arrays = {}
for name, activation in {
    "alpha_atan": "ATAN",
    "atan_over": lambda u: 0.636 * torch.atan(u / CLAMP),
}.items():
    torch.manual_seed(7)
    net = flow(activation)
    with torch.no_grad():
        for p in net.parameters():
            if p.is_floating_point():
                p.mul_(1.5)  # away from the near-identity start
    torch.save({"net_state_dict": net.state_dict()}, f"freia_{name}.pth")
    net = net.double()
    x = torch.rand(N, DIM, dtype=torch.float64).float().double().requires_grad_(True)
    z, log_det = net(x, rev=True)
    nll = 0.5 * (z**2).sum(1) - log_det
    (grad,) = torch.autograd.grad(nll.sum(), x)
    y, log_det_data = net(z.detach(), rev=False)
    assert torch.allclose(y, x, atol=1e-9)
    arrays |= {
        f"{name}.patches": x.detach().float(),
        f"{name}.latent": z.detach(),
        f"{name}.nll": nll.detach(),
        f"{name}.grad": grad,
    }
save_file(arrays, "freia.safetensors")
print({k: tuple(v.shape) for k, v in arrays.items()})
print(list(net.state_dict())[:16])
