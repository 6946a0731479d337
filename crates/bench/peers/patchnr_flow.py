"""The patchNR flow as its authors build it: FrEIA coupling blocks and permutations, trained and evaluated by autograd."""

from FrEIA.framework import GraphINN, InputNode, Node, OutputNode
from FrEIA.modules import GLOWCouplingBlock, PermuteRandom
from torch import nn
from torch.nn import functional


def build(tensors, metadata):
    """The flow with the weights and permutations of `tensors`, which are named as FrEIA names them."""
    blocks, hidden = int(metadata["blocks"]), int(metadata["hidden"])
    clamp, dim = float(metadata["clamp"]), int(metadata["patch_size"]) ** 2

    def subnet(inputs, outputs):
        layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden, outputs))

    nodes = [InputNode(dim)]
    for k in range(blocks):
        coupling = {"subnet_constructor": subnet, "clamp": clamp}
        nodes.append(Node(nodes[-1], GLOWCouplingBlock, coupling))
        nodes.append(Node(nodes[-1], PermuteRandom, {"seed": k + 1}))
    nodes.append(OutputNode(nodes[-1]))
    flow = GraphINN(nodes)
    state = {name: t for name, t in tensors.items() if name.startswith("module_list.")}
    for name in [name for name in state if name.endswith(".perm")]:
        state[name + "_inv"] = state[name].argsort()
    flow.load_state_dict(state)
    return flow


def mean_nll(flow, patches):
    """mean_i (|z_i|^2 / 2 - log |det|_i) of patches [N, d]."""
    z, log_det = flow(patches, rev=True)
    return (0.5 * z.square().sum(1) - log_det).mean()


def all_patches(image, patch_size):
    """Every patch of an image [1, 1, H, W] as a row: [N, d]."""
    return functional.unfold(image, patch_size)[0].transpose(0, 1)
