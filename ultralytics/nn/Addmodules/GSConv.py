"""GSConv and VoV-GSCSP, the light neck of slim-neck (arXiv 2206.02424). Maps are (B, C, H, W).

Left open by the paper and chosen here: channels are shuffled as ShuffleNet does (arXiv 1707.01083), one of either half
in turn; the shortcut of a bottleneck is a 1x1 convolution without activation.
"""

import torch
from torch import Tensor, nn

from ultralytics.nn.modules import C3, Conv

__all__ = ["GSConv", "VoVGSCSP"]


class GSConv(nn.Module):
    """Half of the channels by a convolution, the other half by a depthwise 5x5 of those, and both shuffled."""

    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool | nn.Module | None = True
    ) -> None:
        super().__init__()
        if c2 % 2:
            raise ValueError(f"GSConv gives an even number of channels, not {c2}")
        self.cv1 = Conv(c1, c2 // 2, k, s, g=g, act=act)
        self.cv2 = Conv(c2 // 2, c2 // 2, 5, g=c2 // 2, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        dense = self.cv1(x)
        return torch.stack((dense, self.cv2(dense)), 2).flatten(1, 2)


class GSBottleneck(nn.Module):
    """Two GSConvs, 1x1 and 3x3, and a 1x1 convolution of the input added."""

    def __init__(self, c1: int, c2: int, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.conv = nn.Sequential(GSConv(c1, hidden), GSConv(hidden, c2, 3, act=False))
        self.shortcut = Conv(c1, c2, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return self.conv(x) + self.shortcut(x)


class VoVGSCSP(C3):
    """C3 with `n` GSBottlenecks.

    Takes the args of a C2f row; a GSBottleneck always has a shortcut and never groups: `shortcut`, `g` change nothing.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)  # its bottlenecks are replaced
        self.m = nn.Sequential(*[GSBottleneck(self.c, self.c, e=1.0) for _ in range(n)])
