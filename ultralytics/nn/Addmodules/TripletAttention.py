"""Triplet attention (WACV 2021, arXiv 2010.03045). Maps are (B, C, H, W)."""

import torch
from torch import Tensor, nn

from ultralytics.nn.modules import Conv

__all__ = ["TripletAttention"]


class TripletAttention(nn.Module):
    """Three gates, each over two of channel, row and column, made of what the third is at its maximum and on average.

    Takes any number of channels; `kernel_size` is that of the convolutions over two dimensions.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.rows_columns = Conv(2, 1, kernel_size, act=False)
        self.channels_columns = Conv(2, 1, kernel_size, act=False)
        self.channels_rows = Conv(2, 1, kernel_size, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as it came in, weighted by the mean of the gates."""
        gates = gate(self.rows_columns, x, 1) + gate(self.channels_columns, x, 2) + gate(self.channels_rows, x, 3)
        return x * (gates / 3)


def gate(conv: nn.Module, x: Tensor, dim: int) -> Tensor:
    """Gate in 0..1 of the shape of `x` (B, C, H, W), but 1 in `dim`."""
    pooled = torch.stack((x.amax(dim), x.mean(dim)), 1)  # (B, 2, the two dimensions that are left)
    return conv(pooled).sigmoid().squeeze(1).unsqueeze(dim)
