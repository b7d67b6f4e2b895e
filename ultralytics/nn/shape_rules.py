"""Rules that say what the commonest layers and operators do to shapes, for runs on the meta device (probe.py).

The rules of torch itself for that device need a second of imports once the first is used, and several times as long as
these. With these the networks of the YOLO family need none of torch's; whatever is not here is left to torch.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.utils.errors import ModelError


class DeviceMixError(ModelError):
    """A layer puts a tensor of its own together with one that came in, and the two are on different devices."""


def norm_shape(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Shape after a norm: the same, where it fits."""
    if x.ndim != 4 or x.shape[1] != norm.num_features:
        raise ValueError(f"a norm of {norm.num_features} channels got {tuple(x.shape)}")
    return check_device(x)


def conv_shape(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Shape after a convolution."""
    padding = {"same": None, "valid": (0, 0)}.get(conv.padding, conv.padding)
    sides = list(x.shape[2:])
    if padding is not None:  # else the size stays
        settings = zip(sides, padding, conv.dilation, conv.kernel_size, conv.stride, strict=True)
        sides = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in settings]
    if x.ndim != 4 or x.shape[1] != conv.in_channels or min(sides) < 1:
        raise ValueError(f"a convolution of {conv.in_channels} channels got {tuple(x.shape)}")
    return check_device(x).new_empty(x.shape[0], conv.out_channels, *sides)


def check_device(x: Tensor) -> Tensor:
    """An input that is on the meta device, where the weights are."""
    if not x.is_meta:
        raise DeviceMixError("a layer gets a tensor of another device")
    return x


def sum_shape(x: Any, y: Any, alpha: float = 1) -> Tensor:
    """Shape after an operator of two tensors, or of one and a number."""
    shapes = [t.shape for t in (x, y) if isinstance(t, Tensor)]
    return (x if isinstance(x, Tensor) else y).new_empty(np.broadcast_shapes(*shapes))


def cat_shape(maps: list[Tensor], dim: int = 0) -> Tensor:
    """Shape after torch.cat."""
    rest = {(*t.shape[:dim], *t.shape[dim:][1:]) for t in maps}
    if len(rest) != 1 or dim < 0:
        raise ValueError(f"maps of different shapes: {[tuple(t.shape) for t in maps]}")
    shape = list(maps[0].shape)
    shape[dim] = sum(t.shape[dim] for t in maps)
    return maps[0].new_empty(shape)


def pool_shape(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    """Shape after max pooling."""
    settings = [v if isinstance(v, tuple) else (v, v) for v in (pool.kernel_size, pool.stride, pool.padding)]
    if pool.return_indices or pool.ceil_mode or pool.dilation != 1 or x.ndim != 4:
        return nn.functional.max_pool2d(x, *settings, pool.dilation, pool.ceil_mode, pool.return_indices)
    sides = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], *settings, strict=True)]
    return check_device(x).new_empty(*x.shape[:2], *sides)


SHAPES = {nn.BatchNorm2d: norm_shape, nn.Conv2d: conv_shape, nn.MaxPool2d: pool_shape}
aten = torch.ops.aten
OPERATORS = {
    **dict.fromkeys((aten.silu.default, aten.relu.default, aten.sigmoid.default), lambda x: x.new_empty(x.shape)),
    aten.add.Tensor: sum_shape,
    aten.mul.Tensor: sum_shape,
    aten.cat.default: cat_shape,
    aten.upsample_nearest2d.default: lambda x, size, *_: x.new_empty(*x.shape[:2], *size),
}
