"""Upsampling by sampling at learned points (DySample, ICCV 2023, arXiv 2308.15085). Maps are (B, C, H, W).

The paper's `lp` style: a 1x1 convolution gives offsets, which pixel shuffle spreads over the larger map. They are
counted from the points of bilinear upsampling, so that the first outputs are about those of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .CondConv import at_least_float32

__all__ = ["DySample"]


class DySample(nn.Module):
    """`scale` times height and width, each of `groups` of channels sampled at points of its own.

    Offsets are a quarter of what the convolution gives, in pixels of the input; with `dyscope` the factor is learned
    as well, in 0..0.5 for each of them (the paper's DySample+).
    """

    def __init__(self, channels: int, scale: int = 2, groups: int = 4, dyscope: bool = False) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels cannot be split into {groups} groups: give another groups")
        self.scale, self.groups = scale, groups
        self.offset = nn.Conv2d(channels, 2 * groups * scale**2, 1)  # x of all groups, then y
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.bias)
        self.scope = nn.Conv2d(channels, 2 * groups * scale**2, 1, bias=False) if dyscope else None
        if dyscope:
            nn.init.zeros_(self.scope.weight)  # a factor of 0.25

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels, scale * H, scale * W)."""
        height, width = x.shape[2:]
        factor = 0.25 if self.scope is None else 0.5 * self.scope(x).sigmoid()
        # At least in float32: half has steps of a sixteenth of a pixel beyond 64.
        offsets = at_least_float32(F.pixel_shuffle(self.offset(x) * factor, self.scale))  # (B, 2 * groups, H', W')
        # Centers of the pixels of the larger map, in those of the input: (W',) and (H', 1).
        columns = (torch.arange(width * self.scale, device=x.device) + 0.5) / self.scale
        rows = (torch.arange(height * self.scale, device=x.device).unsqueeze(1) + 0.5) / self.scale
        across, down = offsets.chunk(2, 1)  # (B, groups, H', W') each
        points = torch.stack(((across + columns) * 2 / width - 1, (down + rows) * 2 / height - 1), -1)  # -1..1
        parts = x.reshape(-1, x.shape[1] // self.groups, height, width)  # (B * groups, C / groups, H, W)
        y = F.grid_sample(at_least_float32(parts), points.flatten(0, 1), padding_mode="border", align_corners=False)
        return y.reshape(-1, x.shape[1], *y.shape[2:]).to(x.dtype)
