"""Transformers over the places of a map, and the perceptrons that go with them.

Tokens are (B, N, C) or, where the docstring says so, (N, B, C); of a map (B, C, H, W) they are its N = H * W places,
row by row.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics.utils import refused

from .conv import Conv


class TransformerLayer(nn.Module):
    """Attention and two linear layers, both residual, without normalization (arXiv 2010.11929)."""

    def __init__(self, c: int, num_heads: int) -> None:
        super().__init__()
        # MultiheadAttention has such maps of its own after these: checkpoints hold both
        self.q, self.k, self.v = (nn.Linear(c, c, bias=False) for _ in range(3))
        self.ma = nn.MultiheadAttention(c, num_heads)
        self.fc1 = nn.Linear(c, c, bias=False)
        self.fc2 = nn.Linear(c, c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, B, c)."""
        x = x + self.ma(self.q(x), self.k(x), self.v(x))[0]
        return x + self.fc2(self.fc1(x))


class TransformerBlock(nn.Module):
    """Transformer layers over the places of a map, told apart by a learned linear embedding (arXiv 2010.11929)."""

    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.conv = Conv(c1, c2) if c1 != c2 else None
        self.linear = nn.Linear(c2, c2)  # in place of positions: it is added to the tokens
        self.tr = nn.Sequential(*[TransformerLayer(c2, num_heads) for _ in range(num_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W)."""
        x = x if self.conv is None else self.conv(x)
        tokens = x.flatten(2).permute(2, 0, 1)  # (N, B, c2)
        return self.tr(tokens + self.linear(tokens)).permute(1, 2, 0).reshape(x.shape)


class TransformerEncoderLayer(nn.Module):
    """Encoder layer: attention and a two-layer perceptron (arXiv 1706.03762)."""

    def __init__(
        self,
        c1: int,
        cm: int = 2048,  # hidden channels of the perceptron
        num_heads: int = 8,
        dropout: float = 0.0,
        act: nn.Module | None = None,  # GELU unless given
        normalize_before: bool = False,  # a norm before attention and perceptron, not after each
    ) -> None:
        super().__init__()
        self.ma = nn.MultiheadAttention(c1, num_heads, dropout=dropout, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(c1, cm), nn.Linear(cm, c1)
        self.norm1, self.norm2 = nn.LayerNorm(c1), nn.LayerNorm(c1)
        self.dropout, self.dropout1, self.dropout2 = (nn.Dropout(dropout) for _ in range(3))
        self.act = nn.GELU() if act is None else act
        self.normalize_before = normalize_before

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        pos: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, N, c1); `pos`, of that shape, is added to queries and keys. Masks are those of torch."""
        # Norms either begin a branch, so that the residual path has none, or follow each sum.
        x = self.norm1(src) if self.normalize_before else src
        qk = x if pos is None else x + pos
        attended = self.ma(qk, qk, x, attn_mask=src_mask, key_padding_mask=src_key_padding_mask, need_weights=False)[0]
        y = src + self.dropout1(attended)
        y = y if self.normalize_before else self.norm1(y)
        x = self.norm2(y) if self.normalize_before else y
        y = y + self.dropout2(self.fc2(self.dropout(self.act(self.fc1(x)))))
        return y if self.normalize_before else self.norm2(y)


class AIFI(TransformerEncoderLayer):
    """Encoder layer over the places of one map, with sine and cosine positions (RT-DETR, arXiv 2304.08069)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to the same shape; c1 is a multiple of 4."""
        _, c, h, w = x.shape
        pos = self.build_2d_sincos_position_embedding(w, h, c, like=x)
        tokens = x.flatten(2).transpose(1, 2)  # (B, h * w, c)
        return super().forward(tokens, pos=pos).transpose(1, 2).reshape(x.shape)

    @staticmethod
    def build_2d_sincos_position_embedding(
        w: int, h: int, embed_dim: int = 256, temperature: float = 10000.0, *, like: Tensor | None = None
    ) -> Tensor:
        """Positions (1, h * w, embed_dim): sine and cosine of row, then column, at embed_dim / 4 rates."""
        if embed_dim % 4:
            raise ValueError(f"positions need a multiple of 4 channels, not {embed_dim}")
        device = None if like is None else like.device
        # wave lengths from 2 pi to 2 pi * temperature places
        rates = temperature ** -(torch.arange(embed_dim // 4, device=device) / (embed_dim // 4))
        rows, columns = torch.meshgrid(*(torch.arange(n, device=device).float() for n in (h, w)), indexing="ij")
        angles = [axis.reshape(-1, 1) * rates for axis in (rows, columns)]  # (h * w, embed_dim / 4)
        pos = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)[None]
        return pos if like is None else pos.to(like.dtype)


class MLPBlock(nn.Module):
    """Perceptron of one hidden layer."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(embedding_dim, mlp_dim), nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """(..., embedding_dim) to the same shape."""
        return self.lin2(self.act(self.lin1(x)))


class MLP(nn.Module):
    """Perceptron of `num_layers` linear layers with `act` between them."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,  # of every layer but the last
        output_dim: int,
        num_layers: int,
        act: Callable[[], nn.Module] = nn.ReLU,
        sigmoid: bool = False,  # after all else
        residual: bool = False,  # add the input to the last layer's output
        out_norm: nn.Module | None = None,  # after that sum
    ) -> None:
        super().__init__()
        if residual and input_dim != output_dim:
            raise ValueError(f"residual needs as many channels out as in, not {output_dim} of {input_dim}")
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList([nn.Linear(c1, c2) for c1, c2 in pairwise(widths)])
        self.act = act()
        self.sigmoid, self.residual = sigmoid, residual
        self.out_norm = nn.Identity() if out_norm is None else out_norm

    def forward(self, x: Tensor) -> Tensor:
        """(..., input_dim) to (..., output_dim)."""
        y = x
        for layer in self.layers[:-1]:
            y = self.act(layer(y))
        y = self.layers[-1](y)
        y = self.out_norm(y + x if self.residual else y)
        return y.sigmoid() if self.sigmoid else y


class LayerNorm2d(nn.Module):
    """Layer normalization over the channels of every place of a map (arXiv 1607.06450)."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps).movedim(-1, 1)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
