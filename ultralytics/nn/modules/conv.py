"""Convolutions with normalization and activation, the letters every block is written in.

Maps are (B, C, H, W). Constructors begin with channels in and out: `c1, c2`; `k` kernel, `s` stride, `p` padding,
`g` groups, `d` dilation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def autopad(k: int | Sequence[int], p: int | Sequence[int] | None = None, d: int = 1) -> int | Sequence[int]:
    """Padding `p` if given, else what keeps height and width at stride 1 with kernel `k` and dilation `d`."""
    if p is not None:
        return p
    return (d * (k - 1) + 1) // 2 if isinstance(k, int) else [(d * (side - 1) + 1) // 2 for side in k]


class Conv(nn.Module):
    """Convolution without bias, batch normalization, activation.

    `act`: True for SiLU, False or None for no activation, or a module.
    """

    default_act = nn.SiLU()  # one instance for all; a YAML's `activation:` replaces it in the model built from it

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int | Sequence[int] = 1,
        s: int | Sequence[int] = 1,
        p: int | Sequence[int] | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module | None = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, padding=autopad(k, p, d), dilation=d, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        if isinstance(act, nn.Module):
            self.act = act
        elif act is True:
            self.act = self.default_act
        elif not act:
            self.act = nn.Identity()
        else:
            raise TypeError(f"act must be True, False or a module such as nn.ReLU(), not {act!r}")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalize, activate."""
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same once the normalization is folded into the convolution."""
        return self.act(self.conv(x))


class DWConv(Conv):
    """Depthwise Conv: as many groups as both channel counts allow."""

    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, d: int = 1, act: bool | nn.Module | None = True
    ) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


class GhostConv(nn.Module):
    """Half of the channels by a convolution, the other half by a cheap depthwise 5x5 of those (arXiv 1911.11907)."""

    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool | nn.Module | None = True
    ) -> None:
        super().__init__()
        half = c2 // 2
        self.cv1 = Conv(c1, half, k, s, g=g, act=act)
        self.cv2 = Conv(half, half, 5, g=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        primary = self.cv1(x)
        return torch.cat((primary, self.cv2(primary)), 1)


class Concat(nn.Module):
    """Joins several maps along one dimension."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[Tensor]) -> Tensor:
        """Maps that differ in that dimension alone."""
        return torch.cat(x, self.d)
