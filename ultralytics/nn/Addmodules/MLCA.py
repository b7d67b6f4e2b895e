"""Mixed local channel attention (MLCA, Engineering Applications of Artificial Intelligence 123, 2023, 106442).

Maps are (B, C, H, W). Left open by the paper and chosen here: the convolution over channels runs at every place by
itself, and a pixel gets the weight of the place it lies in.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MLCA"]


class MLCA(nn.Module):
    """Weights channels by what they are on average, and by that in each of `local_size` x `local_size` places.

    Both pass a convolution over neighboring channels, as in ECA (arXiv 1910.03151), which also has the formula for its
    kernel, with `gamma` and `b`. `local_weight` is the fraction of the places in the mixture.
    """

    def __init__(
        self, channels: int, local_size: int = 5, gamma: float = 2, b: float = 1, local_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.local_size, self.local_weight = local_size, local_weight
        k = int(abs(math.log2(channels) + b) / gamma)
        k += k % 2 == 0  # odd, so that a channel is in the middle of its neighbors
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.conv_local = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) as it came in, weighted."""
        places = average(x, self.local_size)  # (B, C, S, S)
        channels, side = x.shape[1], self.local_size
        whole = self.conv(places.mean((2, 3)).unsqueeze(1))  # (B, 1, C)
        local = self.conv_local(places.permute(0, 2, 3, 1).reshape(-1, 1, channels))  # (B * S * S, 1, C)
        local = local.reshape(-1, side, side, channels).permute(0, 3, 1, 2)
        whole = whole.transpose(1, 2).unsqueeze(3)  # (B, C, 1, 1)
        weights = torch.lerp(whole.sigmoid(), local.sigmoid(), self.local_weight)
        for dim in (2, 3):  # every pixel the weight of its place: (B, C, H, W)
            size = x.shape[dim]
            weights = weights.index_select(dim, torch.arange(size, device=x.device) * side // size)
        return x * weights


def average(x: Tensor, cells: int) -> Tensor:
    """Means (B, C, cells, cells) of a map (B, C, H, W), as adaptive_avg_pool2d."""
    if not torch.jit.is_tracing():
        return F.adaptive_avg_pool2d(x, cells)
    # An exported graph has no such pooling: a product with matrices that hold the fraction of each pixel in each cell.
    for dim in (2, 3):
        size = x.shape[dim]
        cell, pixel = torch.arange(cells, device=x.device).unsqueeze(1), torch.arange(size, device=x.device)
        inside = (pixel >= cell * size // cells) & (pixel < ((cell + 1) * size + cells - 1) // cells)
        fractions = inside.to(x.dtype) / inside.sum(1, keepdim=True)  # (cells, size)
        x = fractions @ x if dim == 2 else x @ fractions.T
    return x
