"""Efficient multi-scale attention (EMA, ICASSP 2023, arXiv 2305.13563).

Maps are (B, C, H, W). The paper leaves the grouped normalization open: here every channel is normalized by itself, as
each of a group stands for a feature of its own.
"""

import torch
from torch import Tensor, nn

__all__ = ["EMA"]


class EMA(nn.Module):
    """Weights places by two views of them that learn from each other, in `factor` groups of channels.

    One view is gated by the means along rows and columns, the other is a 3x3 convolution. The means over the places of
    either view weight the channels of the other, and both sums weight the places of the input.
    """

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__()
        if channels % factor:
            raise ValueError(f"{channels} channels cannot be split into {factor} groups: give another factor")
        c = self.c = channels // factor
        self.conv1x1 = nn.Conv2d(c, c, 1)
        self.conv3x3 = nn.Conv2d(c, c, 3, padding=1)
        self.norm = nn.GroupNorm(c, c)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) as it came in, weighted."""
        groups = x.reshape(-1, self.c, *x.shape[2:])  # (B * factor, c, H, W)
        rows, columns = groups.mean(3, keepdim=True), groups.mean(2, keepdim=True).transpose(2, 3)  # (N, c, H, 1), W, 1
        gates = self.conv1x1(torch.cat((rows, columns), 2)).sigmoid()
        height = x.shape[2]
        gated = self.norm(groups * gates[:, :, :height] * gates[:, :, height:].transpose(2, 3))
        local = self.conv3x3(groups)
        sums = []  # (B * factor, 1, H, W): over the channels of a view, weighted by the means of the other
        for view, other in ((local, gated), (gated, local)):
            channels = other.mean((2, 3)).softmax(1).unsqueeze(1)  # (N, 1, c)
            sums.append((channels @ view.flatten(2)).unflatten(2, x.shape[2:]))
        places = sums[0] + sums[1]
        return (groups * places.sigmoid()).reshape(x.shape)
