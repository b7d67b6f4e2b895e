"""Weighted feature fusion of BiFPN (EfficientDet, CVPR 2020, arXiv 1911.09070). Maps are (B, C, H, W)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["WeightedSum"]

EPS = 1e-4  # the paper's, beside the sum of the weights


class WeightedSum(nn.Module):
    """Sum of maps of one shape with learned weights, positive and normalized to 1: the paper's fast fusion.

    `channels` are those of the maps, in a row the word `c1`. Weights start equal.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        if isinstance(channels, int) or len(set(channels)) != 1:
            raise ValueError(
                f"WeightedSum adds several maps of equal channels, not of {channels}: 1x1 Convs make them so"
            )
        self.weight = nn.Parameter(torch.ones(len(channels)))

    def forward(self, x: list[Tensor]) -> Tensor:
        """Maps (B, C, H, W) to one of them."""
        weight = self.weight.relu()
        weight = weight / (weight.sum() + EPS)
        return sum(w * feat for w, feat in zip(weight.unbind(), x, strict=True))
