"""Simple attention without parameters (SimAM, ICML 2021, proceedings.mlr.press/v139/yang21o.html). Maps: (B, C, H, W).

A neuron t among the n = H * W of its channel, of mean m and variance v, is the more important the lower its energy
4 (v + lambda) / ((t - m)^2 + 2 v + 2 lambda); the map is weighted by the sigmoid of the inverse of that.
"""

from torch import Tensor, nn

__all__ = ["SimAM"]


class SimAM(nn.Module):
    """Weights every value by how far it stands out of its channel; `e_lambda` is for channels that are even."""

    def __init__(self, e_lambda: float = 1e-4) -> None:
        super().__init__()
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as it came in, weighted."""
        others = x.shape[2] * x.shape[3] - 1
        others = others + (others == 0)  # a map of one pixel has no others, and no variance
        squares = (x - x.mean((2, 3), keepdim=True)) ** 2
        variance = squares.sum((2, 3), keepdim=True) / others
        return x * (squares / (4 * (variance + self.e_lambda)) + 0.5).sigmoid()
