"""Compare ways to compute a dynamic convolution with one static convolution, for shapes of yolov8n at 640.

usage: OMP_NUM_THREADS=1 python benchmarks/dynamic_conv.py [ROUNDS]       default 15

Medians of processor time, not wall time, in interleaved rounds of one process: other load then disturbs only caches.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import torch
import torch.nn.functional as F
from timm.layers import CondConv2d as TimmCondConv2d
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ultralytics.nn.Addmodules.CondConv import CondConv2d  # noqa: E402

SHAPES = {  # channels in and out, kernel, stride, groups, side of the input
    "3x3 / 2, 32 to 64 at 160": (32, 64, 3, 2, 1, 160),
    "3x3 / 2, 64 to 128 at 80": (64, 128, 3, 2, 1, 80),
    "3x3 / 2, 128 to 256 at 40": (128, 256, 3, 2, 1, 40),
    "1x1, 32 to 16 at 80": (32, 16, 1, 1, 1, 80),
    "1x1, 64 to 32 at 40": (64, 32, 1, 1, 1, 40),
    "1x1, 128 to 64 at 20": (128, 64, 1, 1, 1, 20),
    "depthwise 3x3, 16 at 80": (16, 16, 3, 1, 16, 80),
    "depthwise 3x3, 32 at 40": (32, 32, 3, 1, 32, 40),
    "depthwise 3x3, 64 at 20": (64, 64, 3, 1, 64, 20),
}
Way = Callable[[CondConv2d, Tensor, Tensor], Tensor]


def static(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """One expert alone."""
    return convolve(layer, x, layer.weight[0].view(layer.weight_shape))


def convolve(layer: CondConv2d, x: Tensor, kernel: Tensor, groups: int = 1) -> Tensor:
    """A plain convolution of the layer's geometry, in `groups` times as many groups."""
    return F.conv2d(x, kernel, None, layer.stride, layer.padding, layer.dilation, groups * layer.groups)


def grouped(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """A: images are groups of channels."""
    kernels = (alpha @ layer.weight).view(-1, *layer.weight_shape[1:])
    y = convolve(layer, x.reshape(1, -1, *x.shape[2:]), kernels, len(x))
    return y.view(len(x), -1, *y.shape[2:])


def loop(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """B for one image, E for more: one convolution for each image."""
    kernels = (alpha @ layer.weight).view(-1, *layer.weight_shape)
    return torch.cat([convolve(layer, image, kernel) for image, kernel in zip(x.split(1), kernels, strict=True)])


def product(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """C: a batched matrix product over pixels, in the layout of the input."""
    kernels = (alpha @ layer.weight).view(-1, layer.out_channels, layer.in_channels)
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        y = x.permute(0, 2, 3, 1).flatten(1, 2) @ kernels.transpose(1, 2)
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
    return (kernels @ x.flatten(2)).unflatten(2, x.shape[2:])


def unfolded(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """D: patches as columns, then a batched matrix product."""
    kernels = (alpha @ layer.weight).view(len(x), layer.out_channels, -1)
    columns = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return (kernels @ columns).unflatten(2, [size // layer.stride[0] for size in x.shape[2:]])


def summed(layer: CondConv2d, x: Tensor, alpha: Tensor) -> Tensor:
    """F: outputs of all experts, weighted and added."""
    maps = (convolve(layer, x, expert.view(layer.weight_shape)) for expert in layer.weight)
    return sum(alpha[:, e, None, None, None] * y for e, y in enumerate(maps))


def ways(layer: CondConv2d) -> dict[str, Way]:
    """Implementations that suit the shape, by name."""
    timm = TimmCondConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, groups=layer.groups, num_experts=4
    )
    timm.weight = layer.weight
    found: dict[str, Way] = {"static": static, "ours": lambda m, x, a: m(x, a), "timm": lambda m, x, a: timm(x, a)}
    found |= {"A grouped": grouped, "B/E loop": loop}
    if layer.kernel_size == (1, 1):
        found["C product"] = product
    elif layer.groups == 1:
        found["D unfold"] = unfolded
    else:
        found["F sum"] = summed
    return found


def timed(work: Callable[[], object], repeats: int) -> float:
    """Processor time of one of `repeats` calls."""
    start = process_time()
    for _ in range(repeats):
        work()
    return (process_time() - start) / repeats


def measure(layer: CondConv2d, x: Tensor, alpha: Tensor, train: bool, rounds: int) -> dict[str, tuple[float, float]]:
    """Median over rounds of each way's time relative to the static convolution, and half the interquartile range."""
    works = {}
    with torch.no_grad():
        expected = layer(x, alpha)
        gradient = torch.ones_like(expected)
    for name, way in ways(layer).items():
        if name != "static":
            torch.testing.assert_close(way(layer, x, alpha), expected, atol=1e-4, rtol=1e-4)
        works[name] = lambda way=way: step(way, layer, x, alpha, gradient, train)
    repeats = max(1, round(0.01 / timed(works["static"], 3)))
    ratios: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        times = {name: timed(work, repeats) for name, work in works.items()}
        for name, spent in times.items():
            ratios[name].append(spent / times["static"])
    quarter = rounds // 4
    return {n: (median(r), (sorted(r)[-1 - quarter] - sorted(r)[quarter]) / 2) for n, r in ratios.items()}


def step(way: Way, layer: CondConv2d, x: Tensor, alpha: Tensor, gradient: Tensor, train: bool) -> None:
    """Forward, and in training backward to weights, input and routing."""
    with torch.set_grad_enabled(train):
        y = way(layer, x, alpha)
        if train:
            y.backward(gradient)


def main(rounds: int) -> None:
    """Print the ratios for prediction and for training."""
    torch.manual_seed(0)
    for train in (False, True):
        print(f"\n{'forward and backward' if train else 'forward'}, {torch.get_num_threads()} threads")
        for name, (c1, c2, k, s, g, side) in SHAPES.items():
            layer = CondConv2d(c1, c2, k, s, groups=g)
            for batch in (8,) if train else (1, 8):
                for layout in (torch.contiguous_format, torch.channels_last):
                    x = torch.randn(batch, c1, side, side).to(memory_format=layout).requires_grad_(train)
                    alpha = torch.rand(batch, 4, requires_grad=train)
                    found = measure(layer, x, alpha, train, rounds)
                    cells = ", ".join(f"{n} {r:.2f} +- {d:.2f}" for n, (r, d) in found.items() if n != "static")
                    print(f"{name}, batch {batch}, {'NHWC' if layout is torch.channels_last else 'NCHW'}: {cells}")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
