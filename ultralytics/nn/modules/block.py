"""Blocks made of convolutions. Maps are (B, C, H, W); `n` counts inner blocks, `e` is the share of inner channels.

C2f, C2 and C3 keep their inner blocks in `m` and their width in `c`: an add-on that only wants other inner blocks
subclasses one of them and replaces `self.m` (see Addmodules/FasterBlock.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .conv import Conv, DWConv, GhostConv


class DFL(nn.Module):
    """Expected distance under a softmax over `c1` bins (Distribution Focal Loss, arXiv 2006.04388).

    The bin values 0..c1-1 are the weight of a frozen 1x1 convolution, as checkpoints have it.
    """

    def __init__(self, c1: int = 16) -> None:
        super().__init__()
        self.c1 = c1
        self.conv = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.arange(c1).view(1, c1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 4 * c1, A) to distances (B, 4, A) in strides; not below float32, half has no 15.99."""
        bins = x.unflatten(1, (4, self.c1)).softmax(2, dtype=torch.promote_types(x.dtype, torch.float32))
        return (bins * self.conv.weight.view(-1, 1)).sum(2)  # no conv2d: autocast would round it


class Bottleneck(nn.Module):
    """Two convolutions, and the input added where `shortcut` asks for it and the channels allow it."""

    def __init__(
        self, c1: int, c2: int, shortcut: bool = True, g: int = 1, k: Sequence[int] = (3, 3), e: float = 0.5
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, k[0])
        self.cv2 = Conv(hidden, c2, k[1], g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Cross-stage block of YOLOv8: half of the channels go through `n` bottlenecks, and every step is kept."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        c = self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * c)
        self.cv2 = Conv((2 + n) * c, c2)
        self.m = nn.ModuleList([Bottleneck(c, c, shortcut, g, e=1.0) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        steps = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            steps.append(block(steps[-1]))
        return self.cv2(torch.cat(steps, 1))


class C2(nn.Module):
    """Cross-stage block: half of the channels go through `n` bottlenecks, the other half past them."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        c = self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * c)
        self.cv2 = Conv(2 * c, c2)
        self.m = nn.Sequential(*[Bottleneck(c, c, shortcut, g, e=1.0) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        deep, past = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((self.m(deep), past), 1))


class C3(nn.Module):
    """Cross-stage block of YOLOv5: C2 with a convolution of its own for either half (CSPNet, arXiv 1911.11929)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        c = self.c = int(c2 * e)
        self.cv1 = Conv(c1, c)
        self.cv2 = Conv(c1, c)
        self.cv3 = Conv(2 * c, c2)
        self.m = nn.Sequential(*[Bottleneck(c, c, shortcut, g, k=(1, 3), e=1.0) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class GhostBottleneck(nn.Module):
    """GhostConv, depthwise convolution where `s` is 2, GhostConv without activation, residual (arXiv 1911.11907)."""

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        self.conv = nn.Sequential(
            GhostConv(c1, hidden),
            DWConv(hidden, hidden, k, s, act=False) if s == 2 else nn.Identity(),
            GhostConv(hidden, c2, act=False),
        )
        if s == 2:
            self.shortcut = nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, act=False))
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        return self.conv(x) + self.shortcut(x)


class C3Ghost(C3):
    """C3 with ghost bottlenecks inside."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.Sequential(*[GhostBottleneck(self.c, self.c) for _ in range(n)])


class Proto(nn.Module):
    """Prototypes of masks (YOLACT, arXiv 1904.02689): a map (B, c1, H, W) to `c2` of them, (B, c2, 2H, 2W)."""

    def __init__(self, c1: int, c_: int = 256, c2: int = 32) -> None:
        """`c_` channels in between."""
        super().__init__()
        self.cv1 = Conv(c1, c_, 3)
        self.upsample = nn.ConvTranspose2d(c_, c_, 2, 2)
        self.cv2 = Conv(c_, c_, 3)
        self.cv3 = Conv(c_, c2)

    def forward(self, x: Tensor) -> Tensor:
        """Learned upsampling between two convolutions, then the mixture."""
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class SPPF(nn.Module):
    """Spatial pyramid pooling: one max pooling of kernel `k` applied three times, all four maps kept."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(4 * hidden, c2)
        self.m = nn.MaxPool2d(k, stride=1, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))
