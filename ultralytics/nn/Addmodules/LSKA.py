"""Large separable kernel attention (LSKA, Expert Systems with Applications 2024, arXiv 2309.01439).

The large kernel attention of VAN (arXiv 2202.09741) with every depthwise k x k convolution as a row and a column. Maps
are (B, C, H, W).
"""

from torch import Tensor, nn

__all__ = ["LSKA"]


class LSKA(nn.Module):
    """Weights every value by what a depthwise `k` x `k` neighborhood and then all channels say.

    The neighborhood is a small kernel, then one with gaps of `d`: by the paper 2 for `k` up to 11, else 3. `k` is 7,
    11, 23, 35, 41 or 53 in the paper; anything goes whose part with gaps, k // d pixels, is odd.
    """

    def __init__(self, channels: int, k: int = 11) -> None:
        super().__init__()
        d = 2 if k <= 11 else 3
        near, far = 2 * d - 1, k // d
        if k < 7 or far % 2 == 0:
            raise ValueError(f"k must be such as 7, 11, 23, 35, 41 or 53, with k // {d} odd, not {k}")
        self.near, self.far = nn.Sequential(), nn.Sequential()
        for part, side, gap in ((self.near, near, 1), (self.far, far, d)):  # a row, then a column, that keep the size
            pad = gap * (side // 2)
            part.append(nn.Conv2d(channels, channels, (1, side), padding=(0, pad), dilation=gap, groups=channels))
            part.append(nn.Conv2d(channels, channels, (side, 1), padding=(pad, 0), dilation=gap, groups=channels))
        self.point = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) as it came in, weighted."""
        return x * self.point(self.far(self.near(x)))
