"""Modulated deformable convolution (Deformable ConvNets v2, CVPR 2019, arXiv 1811.11168), by torchvision.

Maps are (B, C, H, W). As in the paper, offsets start at 0 and modulations at a half.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.nn.modules import Conv
from ultralytics.utils.torch_utils import without_autocast

from .CondConv import at_least_float32

__all__ = ["DCNv2"]


class DCNv2(Conv):
    """The core's Conv, with every value of its kernel applied at a place of its own, which an input decides.

    Takes the args of a Conv row, then `deform_groups`, the groups of channels that have places of their own. The
    weights of a Conv keep their names, so that a trained one is a start.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int | Sequence[int] = 3,
        s: int | Sequence[int] = 1,
        p: int | Sequence[int] | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module | None = True,
        deform_groups: int = 1,
    ) -> None:
        super().__init__(c1, c2, k, s, p, g, d, act)
        if c1 % deform_groups:
            raise ValueError(f"{c1} channels cannot be split into {deform_groups} deform_groups")
        self.deform_groups, self.taps = deform_groups, self.conv.weight[0, 0].numel()
        geometry = self.conv.kernel_size, self.conv.stride, self.conv.padding, self.conv.dilation
        # y and x of every tap of every group, then the modulations of all
        self.offset = nn.Conv2d(c1, 3 * deform_groups * self.taps, *geometry)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def convolve(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H', W'), without norm and activation."""
        offsets, mask = self.offset(x).split((2 * self.deform_groups * self.taps, self.deform_groups * self.taps), 1)
        with without_autocast(x.device):  # in half precision places would be rounded to a fraction of a pixel
            maps = at_least_float32(x), at_least_float32(offsets), at_least_float32(mask).sigmoid()
            weight, bias = at_least_float32(self.conv.weight), self.conv.bias
            bias = None if bias is None else at_least_float32(bias)  # a folded norm brings one
            if torch.jit.is_tracing():  # an exported graph has no deformable convolution
                return self._by_samples(*maps, weight, bias).to(x.dtype)
            from torchvision.ops import deform_conv2d  # only who asks for it needs torchvision

            geometry = self.conv.stride, self.conv.padding, self.conv.dilation
            return deform_conv2d(*maps[:2], weight, bias, *geometry, maps[2]).to(x.dtype)

    def _by_samples(self, x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same from parts: all values that a kernel meets, sampled, then a 1x1 convolution over them."""
        conv, groups, size = self.conv, self.deform_groups, offsets.shape[2:]
        index = torch.arange(self.taps, device=x.device)
        taps = torch.stack((index // conv.kernel_size[1], index % conv.kernel_size[1]), 1)  # (K, 2) row and column
        points = []
        for axis, shift in enumerate(offsets.unflatten(1, (groups, self.taps, 2)).unbind(3)):  # (B, G, K, H', W')
            start = torch.arange(size[axis], device=x.device) * conv.stride[axis] - conv.padding[axis]
            start = start.unsqueeze(1) if axis == 0 else start  # (H', 1) or (W',)
            tap = taps[:, axis, None, None] * conv.dilation[axis]  # (K, 1, 1)
            points.append((shift + (start + tap) + 0.5) * 2 / x.shape[2 + axis] - 1)  # pixels to -1..1
        grid = torch.stack(points[::-1], -1).flatten(0, 1).flatten(1, 2)  # (B * G, K * H', W', 2) of x, y
        parts = x.reshape(-1, x.shape[1] // groups, *x.shape[2:])
        found = F.grid_sample(parts, grid, align_corners=False)  # zero outside
        found = found.unflatten(2, (self.taps, -1)) * mask.reshape(-1, 1, self.taps, *size)
        columns = found.reshape(-1, x.shape[1] * self.taps, *size)  # (B, c1 * K, H', W')
        return F.conv2d(columns, weight.reshape(len(weight), -1, 1, 1), bias, groups=conv.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalize, activate."""
        return self.act(self.bn(self.convolve(x)))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same once the normalization is folded into the convolution."""
        return self.act(self.convolve(x))
