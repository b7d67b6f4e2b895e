"""Convolutions with normalization and activation, the letters every block is written in.

Maps are (B, C, H, W). Constructors begin with channels in and out: `c1, c2`; `k` kernel, `s` stride, `p` padding,
`g` groups, `d` dilation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ultralytics.utils import refused
from ultralytics.utils.torch_utils import affine, fuse_conv_and_bn


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


class LightConv(nn.Module):
    """Plain 1x1 convolution, then a depthwise one with activation, ReLU unless given (PP-HGNet)."""

    def __init__(self, c1: int, c2: int, k: int = 1, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = Conv(c1, c2, act=False)  # channels first, then places: only the latter has an activation
        self.conv2 = DWConv(c2, c2, k, act=nn.ReLU() if act is None else act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        return self.conv2(self.conv1(x))


class ConvTranspose(nn.Module):
    """Transposed convolution, batch normalization unless `bn` is False, activation: upsampling that is learned."""

    default_act = nn.SiLU()

    def __init__(
        self, c1: int, c2: int, k: int = 2, s: int = 2, p: int = 0, bn: bool = True, act: bool | nn.Module = True
    ) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(c1, c2, k, s, p, bias=not bn)  # a norm has a bias of its own
        self.bn = nn.BatchNorm2d(c2) if bn else nn.Identity()
        self.act = self.default_act if act is True else act if isinstance(act, nn.Module) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, s * H, s * W) where `k` equals `s`."""
        return self.act(self.bn(self.conv_transpose(x)))


class DWConvTranspose2d(nn.ConvTranspose2d):
    """Depthwise transposed convolution; `p1` is the padding, `p2` the padding of the output."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0) -> None:
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


class Focus(nn.Module):
    """Every second pixel of every second row in a map of its own, then a convolution: the stem of early YOLOv5."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        act: bool | nn.Module | None = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k, s, p, g, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / 2 / s, W / 2 / s); H and W are even."""
        even, odd = x[..., ::2, :], x[..., 1::2, :]  # rows, (B, c1, H / 2, W) each
        return self.conv(torch.cat((even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]), 1))


class RepConv(nn.Module):
    """A 3x3 and a 1x1 convolution side by side, with `bn` the normalized input as well, summed (arXiv 2101.03697).

    `reparameterize` makes them one, for inference. `k` and `p` are 3 and 1, `d` and `deploy` change nothing.
    """

    default_act = nn.SiLU()

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 3,
        s: int = 1,
        p: int = 1,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
        bn: bool = False,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if (k, p) != (3, 1):
            raise ValueError(f"RepConv has k=3 and p=1, not k={k} and p={p}")
        self.act = self.default_act if act is True else act if isinstance(act, nn.Module) else nn.Identity()
        self.bn = nn.BatchNorm2d(c1) if bn and c1 == c2 and s == 1 else None  # the input alone, normalized
        self.conv1 = Conv(c1, c2, k, s, p, g, act=False)
        self.conv2 = Conv(c1, c2, 1, s, 0, g, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        y = self.conv1(x) + self.conv2(x)
        return self.act(y if self.bn is None else y + self.bn(x))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same after `reparameterize`."""
        return self.act(self.conv(x))

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Replace all branches by one convolution `conv` that computes their sum in eval mode; not trained any more."""
        if hasattr(self, "conv"):
            return
        conv = fuse_conv_and_bn(self.conv1.conv, self.conv1.bn)
        point = fuse_conv_and_bn(self.conv2.conv, self.conv2.bn)
        conv.weight[..., 1, 1] += point.weight[..., 0, 0]  # a 1x1 kernel is the center of a 3x3 one
        conv.bias += point.bias
        if self.bn is not None:
            # a norm is a convolution whose kernel has one weight in the center, from each channel to itself
            scale, shift = affine(self.bn)
            channels = torch.arange(len(scale))
            conv.weight[channels, channels % conv.weight.shape[1], 1, 1] += scale.to(conv.weight)
            conv.bias += shift.to(conv.bias)
        del self.conv1, self.conv2, self.bn
        self.conv = conv
        self.forward = self.forward_fuse

    fuse_convs = reparameterize  # the published name


class ChannelAttention(nn.Module):
    """Weights every channel by what the mean over the map says (arXiv 1807.06521, of which this is half)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.act = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as it came in, weighted."""
        return x * self.act(self.fc(self.pool(x)))


class SpatialAttention(nn.Module):
    """Weights every place by what mean and maximum over its channels say (arXiv 1807.06521, the other half)."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size not in (3, 7):
            raise ValueError(f"kernel_size must be 3 or 7, not {kernel_size}")
        self.cv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.act = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as it came in, weighted."""
        seen = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)  # (B, 2, H, W)
        return x * self.act(self.cv1(seen))


class CBAM(nn.Module):
    """Convolutional block attention: channels first, then places (arXiv 1807.06521)."""

    def __init__(self, c1: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(c1)
        self.spatial_attention = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as it came in, weighted."""
        return self.spatial_attention(self.channel_attention(x))


class Index(nn.Module):
    """One of several maps."""

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: list[Tensor]) -> Tensor:
        """The map of that number."""
        return x[self.index]


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
