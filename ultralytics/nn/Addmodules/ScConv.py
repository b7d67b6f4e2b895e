"""Spatial and channel reconstruction convolution (SCConv, CVPR 2023, Li et al.). Maps are (B, C, H, W).

The class is called ScConv, as SCConv is an older paper's. Taken by the letter of the paper: of the weights W in 0..1
those above the gate become 1 in W1 and 0 in W2, while the others stay in both; the two features of the second half are
mixed by a softmax over the two, channel by channel.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["ScConv"]


class ScConv(nn.Module):
    """Spatial, then channel reconstruction, in place of a 3x3 convolution; `c2` equals `c1`.

    The normalization has `groups`, fewer where they do not divide the channels, and `gate` is the threshold of its
    weights. `alpha` of the channels are convolved by a kernel of `k` in `g` groups, the others only pass; both are
    squeezed by `squeeze` first.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        groups: int = 16,
        gate: float = 0.5,
        alpha: float = 0.5,
        squeeze: int = 2,
        k: int = 3,
        g: int = 2,
    ) -> None:
        super().__init__()
        if c1 != c2:
            raise ValueError(f"ScConv gives as many channels as it takes, {c1}, not {c2}")
        if c1 % 2:
            raise ValueError(f"ScConv takes an even number of channels, not {c1}")
        self.spatial = SpatialReconstruction(c1, math.gcd(groups, c1), gate)
        self.channel = ChannelReconstruction(c1, alpha, squeeze, k, g)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to the same shape."""
        return self.channel(self.spatial(x))


class SpatialReconstruction(nn.Module):
    """Parts a map by how much its normalized values vary, and adds the halves of the parts crosswise."""

    def __init__(self, channels: int, groups: int, gate: float) -> None:
        super().__init__()
        self.norm, self.gate = nn.GroupNorm(groups, channels), gate

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        scale = (self.norm.weight / self.norm.weight.sum()).view(-1, 1, 1)
        weights = (self.norm(x) * scale).sigmoid()
        above = weights > self.gate
        rich = x * torch.where(above, 1, weights)
        poor = x * torch.where(above, 0, weights)
        (rich1, rich2), (poor1, poor2) = rich.chunk(2, 1), poor.chunk(2, 1)
        return torch.cat((rich1 + poor2, rich2 + poor1), 1)


class ChannelReconstruction(nn.Module):
    """Convolves one part of the channels, passes the other, and mixes both by their means."""

    def __init__(self, channels: int, alpha: float, squeeze: int, k: int, g: int) -> None:
        super().__init__()
        self.upper = int(alpha * channels)  # channels of the part that is convolved
        lower = channels - self.upper
        up, low = self.upper // squeeze, lower // squeeze
        self.squeeze_upper = nn.Conv2d(self.upper, up, 1, bias=False)
        self.squeeze_lower = nn.Conv2d(lower, low, 1, bias=False)
        self.group_wise = nn.Conv2d(up, channels, k, padding=k // 2, groups=g)
        self.point_wise = nn.Conv2d(up, channels, 1, bias=False)
        self.cheap = nn.Conv2d(low, channels - low, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        up, low = self.squeeze_upper(x[:, : self.upper]), self.squeeze_lower(x[:, self.upper :])
        rich = self.group_wise(up) + self.point_wise(up)
        cheap = torch.cat((self.cheap(low), low), 1)
        means = torch.stack((rich.mean((2, 3)), cheap.mean((2, 3))), 1)  # (B, 2, C)
        first, second = means.softmax(1)[..., None, None].unbind(1)  # (B, C, 1, 1) each
        return first * rich + second * cheap
