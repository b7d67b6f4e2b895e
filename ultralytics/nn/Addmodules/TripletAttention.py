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
        gates = []
        for dim, conv in enumerate((self.rows_columns, self.channels_columns, self.channels_rows), 1):
            pooled = torch.stack((x.amax(dim), x.mean(dim)), 1)  # (B, 2, the two dimensions that are left)
            gates.append(conv(pooled).sigmoid().squeeze(1).unsqueeze(dim))  # as `x`, but 1 in `dim`
        rows_columns, channels_columns, channels_rows = gates
        return x * ((rows_columns + channels_columns + channels_rows) / 3)
