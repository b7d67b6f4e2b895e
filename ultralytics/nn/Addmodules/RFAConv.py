"""Receptive-field attention convolution (RFAConv, arXiv 2304.03198). Maps are (B, C, H, W).

    F = softmax(g1x1(AvgPool(X))) * ReLU(Norm(gkxk(X)))    (B, C, k * k, H', W'), g: every channel by itself

The paper lays the k x k values of every place side by side, (B, C, k * H', k * W'), and convolves them with a kernel of
k and a stride of k: a 1x1 convolution over C * k * k channels, which is what is done here.
"""

from torch import Tensor, nn

from ultralytics.nn.modules import Conv

__all__ = ["RFAConv"]


class RFAConv(nn.Module):
    """Convolution whose kernel is weighted at every place, by what the means around that place say."""

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1, act: bool | nn.Module | None = True) -> None:
        super().__init__()
        self.taps = k * k
        self.weights = nn.Sequential(
            nn.AvgPool2d(k, s, k // 2), nn.Conv2d(c1, c1 * self.taps, 1, groups=c1, bias=False)
        )
        self.features = Conv(c1, c1 * self.taps, k, s, g=c1, act=nn.ReLU())
        self.conv = Conv(c1 * self.taps, c2, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H / s, W / s)."""
        weights, features = self.weights(x), self.features(x)  # (B, c1 * k * k, H', W') both
        # Sizes as reshape gets them stay variable in an exported graph; those of unflatten do not.
        parts = -1, x.shape[1], self.taps, *weights.shape[2:]
        weights = weights.reshape(parts).softmax(2).reshape(-1, x.shape[1] * self.taps, *weights.shape[2:])
        return self.conv(weights * features)
