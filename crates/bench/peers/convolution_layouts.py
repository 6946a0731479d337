"""Speed of libtorch's 3x3 convolutions and of their gradients in the two memory layouts, on one thread.

    PYTHONPATH=.libtorch python3 crates/bench/peers/convolution_layouts.py

prints GFLOP/s, the median of 9 calls that alternate between the layouts. Random numbers (seed 0), float32, two images
as a thread of a WPPNet's training has them.
"""

import statistics
import time
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

import torch

ROUNDS = 9
# inputs, outputs, side of the image: the convolutions of a WPPNet that take most of its time
CASES = ((64, 64, 100), (64, 256, 50), (64, 256, 25), (64, 64, 25))
LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


def calls(inputs, outputs, side, layout):
    """The convolution, its gradient in the image, and that in the kernel."""
    image = torch.randn(2, inputs, side, side).to(memory_format=layout)
    kernel = (0.01 * torch.randn(outputs, inputs, 3, 3)).to(memory_format=layout)

    def convolved(of):
        of = of.detach().requires_grad_()
        y = torch.conv2d(*((of, kernel) if of.shape == image.shape else (image, of)), padding=1)
        g = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, of, g, retain_graph=True)

    return {
        "convolution": lambda: torch.conv2d(image, kernel, padding=1),
        "gradient in the image": convolved(image),
        "gradient in the kernel": convolved(kernel),
    }


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for inputs, outputs, side in CASES:
        flops = 2 * 2 * side**2 * inputs * outputs * 9
        layouts = {name: calls(inputs, outputs, side, layout) for name, layout in LAYOUTS.items()}
        for work in next(iter(layouts.values())):
            seconds = {name: [] for name in layouts}
            for turn in range(ROUNDS + 1):
                for name, work_of in layouts.items():
                    start = time.perf_counter()
                    work_of[work]()
                    if turn > 0:
                        seconds[name].append(time.perf_counter() - start)
            speeds = (f"{name} {flops / statistics.median(s) / 1e9:.0f}" for name, s in seconds.items())
            print(f"{inputs} to {outputs} channels, {side} x {side}, {work}: {', '.join(speeds)} GFLOP/s")


if __name__ == "__main__":
    main()
