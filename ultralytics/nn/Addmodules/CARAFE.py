"""Content-aware reassembly of features (CARAFE, ICCV 2019, arXiv 1905.02188). Maps are (B, C, H, W).

Every pixel of the larger map is a weighted mean of the k_up x k_up pixels around the one of the input it lies in; the
weights are predicted from the input. The encoder starts near zero, where all weights are equal: the paper leaves that
open.
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CARAFE"]


class CARAFE(nn.Module):
    """`scale` times height and width; kernels of `k_up` predicted from `c_mid` channels by a convolution of `k_enc`."""

    def __init__(self, channels: int, scale: int = 2, k_enc: int = 3, k_up: int = 5, c_mid: int = 64) -> None:
        super().__init__()
        self.scale, self.k_up = scale, k_up
        self.compress = nn.Conv2d(channels, c_mid, 1)
        self.encode = nn.Conv2d(c_mid, k_up**2 * scale**2, k_enc, padding=k_enc // 2)
        nn.init.normal_(self.encode.weight, std=0.001)
        nn.init.zeros_(self.encode.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels, scale * H, scale * W)."""
        taps = self.k_up**2
        # (B, H * W, k * k, scale * scale): the kernels of the pixels that one of the input becomes
        kernels = self.encode(self.compress(x)).flatten(2).transpose(1, 2).unflatten(2, (taps, -1)).softmax(2)
        around = F.unfold(x, self.k_up, padding=self.k_up // 2)  # (B, C * k * k, H * W)
        around = around.transpose(1, 2).unflatten(2, (-1, taps))  # (B, H * W, C, k * k)
        y = (around @ kernels).flatten(2).transpose(1, 2)  # (B, C * scale * scale, H * W)
        # By reshape, as unflatten would make constants of an export's sizes.
        y = y.reshape(-1, x.shape[1] * self.scale**2, *x.shape[2:])
        return F.pixel_shuffle(y, self.scale)
