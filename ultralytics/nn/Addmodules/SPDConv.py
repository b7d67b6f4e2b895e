"""Downsampling without loss: space to depth, then a convolution without stride (SPD-Conv, ECML PKDD 2022).

arXiv 2208.03641. Maps are (B, C, H, W). The paper has even sides only: a row or column of zeros makes others even, so
that ceil(H / 2) rows come out, as of a Conv with stride 2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.nn.modules import Conv

__all__ = ["SPDConv"]


class SPDConv(nn.Module):
    """The four pixels of every 2 x 2 as channels, then a Conv with kernel `k` in `g` groups."""

    def __init__(self, c1: int, c2: int, k: int = 3, g: int = 1, act: bool | nn.Module | None = True) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k, g=g, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / 2, W / 2), rounded up."""
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return self.conv(F.pixel_unshuffle(x, 2))
