"""Blocks made of convolutions. Maps are (B, C, H, W); `n` counts inner blocks, `e` is the fraction of inner channels.

C2f, C2 and C3 keep their inner blocks in `m` and their width in `c`. Other inner blocks, which keep their channels,
come by a row, `{block: X}`, or `block=`; an add-on subclasses one of them and replaces `self.m` (FasterBlock.py).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics.utils import refused
from ultralytics.utils.torch_utils import fuse_conv_and_bn, without_autocast

from .attention import C2PSA, PSA, AAttn, ABlock, Attention, PSABlock  # noqa: F401 (published here)
from .backbones import TorchVision  # noqa: F401 (published here)
from .conv import Conv, DWConv, GhostConv, LightConv, RepConv
from .transformer import TransformerBlock

Block = Callable[[int, int], nn.Module]  # an inner block by its channels in and out, which are equal


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
        dtype = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x.device):  # it would round
            if x.stride(1) == 1:  # the bins of an anchor point side by side, as in a network with channels last
                bins = x.transpose(1, 2).unflatten(2, (4, self.c1)).softmax(3, dtype=dtype)  # (B, A, 4, c1)
                return (bins @ self.conv.weight.flatten().to(dtype)).transpose(1, 2)
            # For tools that read graphs: ONNX has unflatten from opset 13 on, a sum pnnx loses, torch-pruning stops at.
            bins = x.reshape(x.shape[0], 4, self.c1, x.shape[2]).transpose(1, 2)  # (B, c1, 4, A)
            bins = bins.softmax(1, dtype=dtype)
            return F.conv2d(bins, self.conv.weight.to(dtype)).squeeze(1)


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

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = False,
        g: int = 1,
        e: float = 0.5,
        block: Block | None = None,
    ) -> None:
        super().__init__()
        c = self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * c)
        self.cv2 = Conv((2 + n) * c, c2)
        inner = block or partial(Bottleneck, shortcut=shortcut, g=g, e=1.0)
        self.m = nn.ModuleList([inner(c, c) for _ in range(n)])

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

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = True,
        g: int = 1,
        e: float = 0.5,
        block: Block | None = None,
    ) -> None:
        super().__init__()
        c = self.c = int(c2 * e)
        self.cv1 = Conv(c1, c)
        self.cv2 = Conv(c1, c)
        self.cv3 = Conv(2 * c, c2)
        inner = block or partial(Bottleneck, shortcut=shortcut, g=g, k=(1, 3), e=1.0)
        self.m = nn.Sequential(*[inner(c, c) for _ in range(n)])

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
    """Spatial pyramid pooling: one max pooling of kernel `k`, or `block`, applied three times, all four maps kept."""

    def __init__(self, c1: int, c2: int, k: int = 5, *, block: Block | None = None) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(4 * hidden, c2)
        self.m = block(hidden, hidden) if block else nn.MaxPool2d(k, stride=1, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class SPP(nn.Module):
    """Spatial pyramid pooling: max poolings of several kernels side by side, and the map itself (arXiv 1406.4729)."""

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(hidden * (len(k) + 1), c2)
        self.m = nn.ModuleList([nn.MaxPool2d(side, stride=1, padding=side // 2) for side in k])  # all keep the size

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *[pool(x) for pool in self.m]], 1))


class C1(nn.Module):
    """1x1 convolution, and `n` 3x3 ones over it, summed."""

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2)
        self.m = nn.Sequential(*[Conv(c2, c2, 3) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        x = self.cv1(x)
        return x + self.m(x)


class C3x(C3):
    """C3 with a 1x3 and a 3x1 convolution in every bottleneck."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        sides = (1, 3), (3, 1)
        self.m = nn.Sequential(*[Bottleneck(self.c, self.c, shortcut, g, k=sides, e=1.0) for _ in range(n)])


class C3TR(C3):
    """C3 with transformer layers of 4 heads in place of bottlenecks; `shortcut` and `g` change nothing."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = TransformerBlock(self.c, self.c, num_heads=4, num_layers=n)


class C3k(C3):
    """C3 with two kxk convolutions in every bottleneck."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5, k: int = 3
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.Sequential(*[Bottleneck(self.c, self.c, shortcut, g, k=(k, k), e=1.0) for _ in range(n)])


class BottleneckCSP(nn.Module):
    """Cross-stage block with plain convolutions and one norm for both halves (CSPNet, arXiv 1911.11929)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        c = int(c2 * e)
        self.cv1 = Conv(c1, c)
        # plain convolutions: one norm and activation follow for both halves
        self.cv2 = nn.Conv2d(c1, c, 1, bias=False)
        self.cv3 = nn.Conv2d(c, c, 1, bias=False)
        self.cv4 = Conv(2 * c, c2)
        self.bn = nn.BatchNorm2d(2 * c)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*[Bottleneck(c, c, shortcut, g, e=1.0) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        halves = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        return self.cv4(self.act(self.bn(halves)))


class RepC3(nn.Module):
    """Two 1x1 convolutions, `n` RepConv after the first, summed (RT-DETR, arXiv 2304.08069)."""

    def __init__(self, c1: int, c2: int, n: int = 3, e: float = 1.0) -> None:
        super().__init__()
        c = int(c2 * e)
        self.cv1, self.cv2 = Conv(c1, c), Conv(c1, c)
        self.m = nn.Sequential(*[RepConv(c, c) for _ in range(n)])
        self.cv3 = Conv(c, c2) if c != c2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return self.cv3(self.m(self.cv1(x)) + self.cv2(x))


class HGStem(nn.Module):
    """Stem of PP-HGNetV2: a quarter of height and width, by convolutions and a max pooling side by side."""

    def __init__(self, c1: int, cm: int, c2: int) -> None:
        """`cm` channels in between."""
        super().__init__()
        self.stem1 = Conv(c1, cm, 3, 2, act=nn.ReLU())
        self.stem2a = Conv(cm, cm // 2, 2, 1, 0, act=nn.ReLU())
        self.stem2b = Conv(cm // 2, cm, 2, 1, 0, act=nn.ReLU())
        self.stem3 = Conv(2 * cm, cm, 3, 2, act=nn.ReLU())
        self.stem4 = Conv(cm, c2, act=nn.ReLU())
        self.pool = nn.MaxPool2d(2, stride=1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / 4, W / 4)."""
        x = F.pad(self.stem1(x), (0, 1, 0, 1))  # even kernels: a zero on the right and below keeps the size
        deep = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        return self.stem4(self.stem3(torch.cat((self.pool(x), deep), 1)))


class HGBlock(nn.Module):
    """`n` convolutions whose outputs are all kept, squeezed and excited to `c2` channels (PP-HGNetV2)."""

    def __init__(
        self,
        c1: int,
        cm: int,  # channels of each convolution
        c2: int,
        k: int = 3,
        n: int = 6,
        lightconv: bool = False,  # LightConv in place of Conv
        shortcut: bool = False,
        act: nn.Module | None = None,  # ReLU unless given
    ) -> None:
        super().__init__()
        block, act = LightConv if lightconv else Conv, nn.ReLU() if act is None else act
        self.m = nn.ModuleList([block(cm if i else c1, cm, k=k, act=act) for i in range(n)])
        # squeeze to half of c2, then excite to c2
        self.sc = Conv(c1 + n * cm, c2 // 2, act=act)
        self.ec = Conv(c2 // 2, c2, act=act)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        steps = [x]
        for block in self.m:
            steps.append(block(steps[-1]))
        y = self.ec(self.sc(torch.cat(steps, 1)))
        return x + y if self.add else y


class C2fPSA(C2f):
    """C2f with PSABlocks inside; `c2` equals `c1`."""

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, e=e)
        if c1 != c2:
            raise ValueError(f"C2fPSA gives as many channels as it takes, {c1}, not {c2}")
        self.m = nn.ModuleList([PSABlock(self.c, num_heads=max(self.c // 64, 1)) for _ in range(n)])


class C3k2(C2f):
    """C2f whose inner blocks are bottlenecks, or what `c3k` or `attn` asks for (YOLO11)."""

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        c3k: bool = False,  # C3k of two bottlenecks each
        e: float = 0.5,
        attn: bool = False,  # a bottleneck and attention each
        g: int = 1,
        shortcut: bool = True,
        block: Block | None = None,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e, block)
        if block:
            return
        c, blocks = self.c, []  # inside these bottlenecks it is half of c, unlike in those of C2f
        for _ in range(n):
            if attn:
                heads = max(c // 64, 1)
                blocks.append(nn.Sequential(Bottleneck(c, c, shortcut, g), PSABlock(c, num_heads=heads)))
            else:
                blocks.append(C3k(c, c, 2, shortcut, g) if c3k else Bottleneck(c, c, shortcut, g))
        self.m = nn.ModuleList(blocks)


class SCDown(nn.Module):
    """Downsampling in two steps: channels by a 1x1 convolution, size by a depthwise one (arXiv 2405.14458)."""

    def __init__(self, c1: int, c2: int, k: int, s: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2)
        self.cv2 = Conv(c2, c2, k, s, g=c2, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        return self.cv2(self.cv1(x))


class RepVGGDW(nn.Module):
    """Depthwise 7x7 and 3x3 convolutions side by side, summed; `reparameterize` makes them one (arXiv 2405.14458)."""

    def __init__(self, ed: int) -> None:
        """`ed` channels in and out."""
        super().__init__()
        self.conv = Conv(ed, ed, 7, g=ed, act=False)
        self.conv1 = Conv(ed, ed, 3, g=ed, act=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, ed, H, W) to the same shape."""
        return self.act(self.conv(x) + self.conv1(x))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same after `reparameterize`."""
        return self.act(self.conv(x))

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace both convolutions by one that computes their sum in eval mode; not trained any more."""
        if not hasattr(self, "conv1"):
            return
        conv, small = (fuse_conv_and_bn(branch.conv, branch.bn) for branch in (self.conv, self.conv1))
        conv.weight += F.pad(small.weight, (2, 2, 2, 2))  # a 3x3 kernel in the middle of a 7x7 one
        conv.bias += small.bias
        self.conv = conv
        del self.conv1
        self.forward = self.forward_fuse

    fuse = fuse_convs = reparameterize  # the published names


class CIB(nn.Module):
    """Compact inverted block: depthwise and 1x1 convolutions in turn, residual where it can be (arXiv 2405.14458).

    `lk` takes the large kernel, RepVGGDW, for the depthwise one in the middle.
    """

    def __init__(self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5, lk: bool = False) -> None:
        super().__init__()
        c = 2 * int(c2 * e)
        # depthwise and 1x1 in turn: c1 -> c -> c2 channels
        middle = RepVGGDW(c) if lk else Conv(c, c, 3, g=c)
        self.cv1 = nn.Sequential(Conv(c1, c1, 3, g=c1), Conv(c1, c), middle, Conv(c, c2), Conv(c2, c2, 3, g=c2))
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return x + self.cv1(x) if self.add else self.cv1(x)


class C2fCIB(C2f):
    """C2f with compact inverted blocks inside."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, lk: bool = False, g: int = 1, e: float = 0.5
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.ModuleList([CIB(self.c, self.c, shortcut, e=1.0, lk=lk) for _ in range(n)])


class A2C2f(nn.Module):
    """C2f without its second half, made of area attention (YOLOv12, arXiv 2502.12524)."""

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,  # steps
        a2: bool = True,  # every step two ABlocks, else a C3k
        area: int = 1,
        residual: bool = False,  # add the input, the block's own part scaled by the learned gamma
        mlp_ratio: float = 2.0,
        e: float = 0.5,  # inner channels as a fraction of c2
        g: int = 1,
        shortcut: bool = True,
    ) -> None:
        super().__init__()
        c = int(c2 * e)
        if a2 and c % 32:
            raise ValueError(f"A2C2f needs a multiple of 32 inner channels for its heads, not {c}")
        self.cv1 = Conv(c1, c)
        self.cv2 = Conv((1 + n) * c, c2)
        # starts small, so that a deep network begins as its shortcuts (arXiv 2103.17239)
        self.gamma = nn.Parameter(torch.full((c2,), 0.01)) if a2 and residual else None
        self.m = nn.ModuleList()
        for _ in range(n):
            if a2:
                self.m.append(nn.Sequential(*[ABlock(c, c // 32, mlp_ratio, area) for _ in range(2)]))
            else:
                self.m.append(C3k(c, c, 2, shortcut, g))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        steps = [self.cv1(x)]
        for block in self.m:
            steps.append(block(steps[-1]))
        y = self.cv2(torch.cat(steps, 1))
        return y if self.gamma is None else x + self.gamma.view(-1, 1, 1) * y


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
