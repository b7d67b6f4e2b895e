"""Attention over the places of a map, made of convolutions; block.py exports these classes as its own."""

import torch
from torch import Tensor, nn

from .conv import Conv


class Attention(nn.Module):
    """Multi-head attention whose positions are a depthwise 3x3 convolution of the values (YOLOv10, arXiv 2405.14458).

    Keys and queries have `attn_ratio` times the channels of values.
    """

    def __init__(self, dim: int, num_heads: int = 8, attn_ratio: float = 0.5) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.key_dim = int(self.head_dim * attn_ratio)
        self.scale = self.key_dim**-0.5
        # no activations: these are linear maps, whose norms fold into them
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, act=False)
        self.proj = Conv(dim, dim, act=False)
        self.pe = Conv(dim, dim, 3, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        qkv = self.qkv(x).flatten(2).unflatten(1, (self.num_heads, -1))  # (B, heads, 2 * key_dim + head_dim, N)
        q, k, v = qkv.split((self.key_dim, self.key_dim, self.head_dim), 2)
        weights = ((q.transpose(-2, -1) @ k) * self.scale).softmax(-1)  # (B, heads, N, N)
        y = (v @ weights.transpose(-2, -1)).reshape(x.shape)  # heads side by side again
        return self.proj(y + self.pe(v.reshape(x.shape)))


class PSABlock(nn.Module):
    """Attention and two 1x1 convolutions, both residual unless `shortcut` is False (arXiv 2405.14458)."""

    def __init__(self, c: int, attn_ratio: float = 0.5, num_heads: int = 4, shortcut: bool = True) -> None:
        super().__init__()
        self.attn = Attention(c, num_heads, attn_ratio)
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, H, W) to the same shape."""
        x = x + self.attn(x) if self.add else self.attn(x)
        return x + self.ffn(x) if self.add else self.ffn(x)


class C2PSA(nn.Module):
    """Partial self-attention: half of the channels go through `n` PSABlocks; `c2` equals `c1` (arXiv 2405.14458)."""

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5) -> None:
        super().__init__()
        if c1 != c2:
            raise ValueError(f"{type(self).__name__} gives as many channels as it takes, {c1}, not {c2}")
        c = self.c = int(c1 * e)
        self.cv1, self.cv2 = Conv(c1, 2 * c), Conv(2 * c, c1)
        self.m = nn.Sequential(*[PSABlock(c, num_heads=max(c // 64, 1)) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to the same shape."""
        past, deep = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((past, self.m(deep)), 1))


class PSA(nn.Module):
    """Partial self-attention with a single block, whose parts are its own; `c2` equals `c1` (arXiv 2405.14458)."""

    def __init__(self, c1: int, c2: int, e: float = 0.5) -> None:
        super().__init__()
        if c1 != c2:
            raise ValueError(f"PSA gives as many channels as it takes, {c1}, not {c2}")
        c = self.c = int(c1 * e)
        self.cv1, self.cv2 = Conv(c1, 2 * c), Conv(2 * c, c1)
        self.attn = Attention(c, num_heads=max(c // 64, 1))
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to the same shape."""
        past, deep = self.cv1(x).chunk(2, 1)
        deep = deep + self.attn(deep)
        return self.cv2(torch.cat((past, deep + self.ffn(deep)), 1))


class AAttn(nn.Module):
    """Area attention: attention within each of `area` horizontal strips of equal size (YOLOv12, arXiv 2502.12524)."""

    def __init__(self, dim: int, num_heads: int, area: int = 1) -> None:
        super().__init__()
        self.area, self.num_heads, self.head_dim = area, num_heads, dim // num_heads
        self.qkv = Conv(dim, 3 * dim, act=False)
        self.proj = Conv(dim, dim, act=False)
        self.pe = Conv(dim, dim, 7, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape; `area` divides H * W."""
        b, c, h, w = x.shape
        tokens = self.qkv(x).flatten(2).transpose(1, 2).reshape(b * self.area, -1, self.num_heads, 3 * self.head_dim)
        q, k, v = tokens.transpose(1, 2).chunk(3, -1)  # (B * area, heads, N / area, head_dim) each
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1)
        # strips and heads back in their places: (B, dim, H, W)
        y, v = ((t.transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)) for t in (weights @ v, v))
        return self.proj(y + self.pe(v))


class ABlock(nn.Module):
    """Area attention and two 1x1 convolutions, both residual (YOLOv12, arXiv 2502.12524)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 1.2, area: int = 1) -> None:
        super().__init__()
        self.attn = AAttn(dim, num_heads, area)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(Conv(dim, hidden), Conv(hidden, dim, act=False))
        for module in self.modules():  # as transformers start, not as convolutions
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        x = x + self.attn(x)
        return x + self.mlp(x)
