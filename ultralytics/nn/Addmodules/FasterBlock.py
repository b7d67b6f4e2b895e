"""Partial convolution: a 3x3 on a quarter of the channels, the rest waits (FasterNet, CVPR 2023, arXiv 2303.03667).

Maps are (B, C, H, W).
"""

import torch
from torch import Tensor, nn

from ultralytics.nn.modules import C2f, Conv

__all__ = ["C2f_FasterBlock"]


class PartialConv(nn.Module):
    """3x3 convolution of the first 1 / `n_div` of the channels; the others pass unchanged."""

    def __init__(self, c: int, n_div: int = 4) -> None:
        super().__init__()
        self.touched = c // n_div  # channels
        self.conv = nn.Conv2d(self.touched, self.touched, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, H, W) to the same shape."""
        return torch.cat((self.conv(x[:, : self.touched]), x[:, self.touched :]), 1)


class FasterBlock(nn.Module):
    """Partial convolution, a 1x1 to twice the channels, a plain 1x1 back, and the input added."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.spatial = PartialConv(c)
        self.expand = Conv(c, 2 * c)
        self.project = nn.Conv2d(2 * c, c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, H, W) to the same shape."""
        return x + self.project(self.expand(self.spatial(x)))


class C2f_FasterBlock(C2f):
    """C2f with FasterBlocks for bottlenecks.

    Takes the args of a C2f row; a FasterBlock always has a residual and never groups: `shortcut`, `g` change nothing.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)  # its bottlenecks are replaced
        self.m = nn.ModuleList([FasterBlock(self.c) for _ in range(n)])
