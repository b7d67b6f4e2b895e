"""Dynamic convolution: every image mixes its own kernel from a few experts.

ParameterNet, CVPR 2024 (arXiv 2306.14525), on the mechanism of CondConv (arXiv 1904.04971): with E experts W_e

    alpha = sigmoid(Linear(mean over H, W of x))    (B, E) routing weights
    y = x * sum_e alpha_e W_e                       one convolution, whose kernel differs from image to image

About E times the parameters at nearly the cost of one convolution. Maps are (B, C, H, W).

Every block here passes `num_experts` and the settings of the `Router`, `router`, `temperature`, `anneal_epochs` and
`standardize`, on to its dynamic convolutions. In a YAML they are the mapping that may end a row's args:
`[256, 3, 2, {num_experts: 8}]`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.modules import C2f, Conv
from ultralytics.nn.modules.conv import autopad

from .CondConv import CondConv2d, Padding, Router

__all__ = [
    "C2f_DynamicConv",
    "C2f_GhostModule_DynamicConv",
    "C2f_GhostResidual_DynamicConv",
    "ConvBnAct",
    "DynamicConv",
    "DynamicConvBnAct",
    "GhostBottleneck_DynamicConv",
    "GhostModule",
]


class DynamicConv(nn.Module):
    """Convolution whose kernel is mixed for every image from `num_experts`, with a router of its own.

    In YAMLs `[c2, k, s, padding, dilation, groups, bias, num_experts]`; no normalization and no activation after it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__()
        geometry = kernel_size, stride, padding, dilation, groups, bias, num_experts
        self.assemble(Router(in_features, num_experts, **router), CondConv2d(in_features, out_features, *geometry))

    @torch.no_grad()
    def assemble(self, routing: Router, cond_conv: CondConv2d) -> None:
        """Take these parts, and scale the experts so that outputs have the variance of one static convolution."""
        self.routing, self.cond_conv, self.out_channels = routing, cond_conv, cond_conv.out_channels
        # (C_out, C_in/g, kh, kw) of the static convolution that this one can `expand` from.
        self.kernel_shape = cond_conv.weight_shape
        # Experts drawn alike and mixed evenly sum up to the variance of one convolution; with 4 and sigmoid they do
        # without this, and are timm's.
        scale = 1 / (routing.even_weight * cond_conv.num_experts**0.5)
        cond_conv.weight.mul_(scale / routing.gain)
        if cond_conv.bias is not None:
            cond_conv.bias.mul_(scale)

    def routing_weights(self, x: Tensor) -> Tensor:
        """Weights (B, E) of the experts for each image, in 0..1, float32 whatever the rest is in."""
        return self.routing(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        return self.cond_conv(x, self.routing_weights(x))

    @torch.no_grad()
    def expand(
        self, weight: Tensor, bias: Tensor | None = None, noise: float = 0.1, generator: torch.Generator | None = None
    ) -> None:
        """Become the static convolution of a kernel (C_out, C_in/g, kh, kw) and bias (C_out,), to train from there.

        The router starts at zero, whatever comes in, and every expert is the same fraction of the kernel. Noise of
        `noise` times the kernel's standard deviation makes them differ but cancels out, so that their mixture is the
        kernel exactly. Raises ValueError where the shapes do not fit, or a bias has no place.
        """
        fraction = 1 / (self.routing.out_features * self.routing.even_weight)  # so that the mixture adds up to 1
        bias = None if bias is None else bias * fraction
        self.cond_conv.fill_experts(weight * (fraction / self.routing.gain), bias, noise, generator)
        self.routing.zero()

    def fold_affine(self, scale: Tensor, shift: Tensor) -> None:
        """Compute y * scale + shift, both (C_out,), exactly."""
        self.cond_conv.fold_affine(scale, shift)


class DynamicConvBnAct(Conv):
    """The core's Conv with a dynamic convolution in it: the args of a Conv row, then `num_experts` and the router's.

    `k` kernel, `s` stride, `p` padding, `g` groups, `d` dilation; `act` as in Conv, so that `activation:` applies.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int | Sequence[int] = 1,
        s: int | Sequence[int] = 1,
        p: int | Sequence[int] | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module | None = True,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__(c1, c2, k, s, p, g, d, act)  # its convolution is replaced
        self.conv = DynamicConv(c1, c2, k, s, autopad(k, p, d), d, g, num_experts=num_experts, **router)


class ConvBnAct(nn.Module):
    """DynamicConv, normalization, activation; with `skip` the input is added where the shapes allow it."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        dilation: int = 1,
        pad_type: Padding = "",
        skip: bool = False,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
        drop_path_rate: float = 0.0,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__()
        self.has_residual = skip and stride == 1 and in_chs == out_chs
        self.conv = DynamicConv(
            in_chs, out_chs, kernel_size, stride, pad_type, dilation, num_experts=num_experts, **router
        )
        self.bn1 = norm_layer(out_chs)
        self.act1 = act_layer()
        self.drop_path = stochastic_depth(drop_path_rate)

    def feature_info(self, location: str) -> dict[str, str | int]:
        """Place of the map for timm's feature extraction: `expansion` is after the activation."""
        module, hook = ("act1", "forward") if location == "expansion" else ("", "")
        return {"module": module, "hook_type": hook, "num_chs": self.conv.out_channels}

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) to (B, out_chs, H', W')."""
        y = self.act1(self.bn1(self.conv(x)))
        return x + self.drop_path(y) if self.has_residual else y

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same once the normalization is folded into the experts."""
        y = self.act1(self.conv(x))
        return x + self.drop_path(y) if self.has_residual else y


def stochastic_depth(rate: float) -> nn.Module:
    """Stochastic depth (arXiv 1603.09382), or nothing at rate 0."""
    if not rate:
        return nn.Identity()
    from timm.layers import DropPath  # only who asks for it needs timm

    return DropPath(rate)


class GhostModule(nn.Module):
    """1 / `ratio` of the channels by a DynamicConv, the rest by a cheap depthwise one of those (arXiv 1911.11907)."""

    def __init__(
        self,
        inp: int,
        oup: int,
        kernel_size: int = 1,
        ratio: int = 2,
        dw_size: int = 3,
        stride: int = 1,
        act_layer: Callable[[], nn.Module] | None = nn.ReLU,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__()
        experts = {"num_experts": num_experts, **router}
        act = nn.Identity if act_layer is None else act_layer
        self.oup = oup
        primary = math.ceil(oup / ratio)
        cheap = primary * (ratio - 1)
        self.primary_conv = nn.Sequential(
            DynamicConv(inp, primary, kernel_size, stride, kernel_size // 2, **experts),
            nn.BatchNorm2d(primary),
            act(),
        )
        self.cheap_operation = nn.Sequential(
            DynamicConv(primary, cheap, dw_size, 1, dw_size // 2, groups=primary, **experts),
            nn.BatchNorm2d(cheap),
            act(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inp, H, W) to (B, oup, H / stride, W / stride)."""
        primary = self.primary_conv(x)
        # Rounded up, primary and cheap channels may be a few more than asked for.
        return torch.cat((primary, self.cheap_operation(primary)), 1)[:, : self.oup]


class GhostBottleneck(nn.Module):
    """Two GhostModules, a depthwise convolution and squeeze-excite between them if asked for, and a residual.

    YAMLs know it as GhostBottleneck_DynamicConv: GhostBottleneck is the core's.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        dw_kernel_size: int = 3,
        stride: int = 1,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        se_ratio: float | None = 0.0,
        drop_path: float = 0.0,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__()
        experts = {"num_experts": num_experts, **router}
        mid, pad = 2 * in_chs, (dw_kernel_size - 1) // 2  # hidden channels, padding
        self.stride = stride
        self.ghost1 = GhostModule(in_chs, mid, act_layer=act_layer, **experts)
        self.conv_dw = self.bn_dw = self.se = None  # no entries in the state dict where they are not asked for
        if stride > 1:
            self.conv_dw = nn.Conv2d(mid, mid, dw_kernel_size, stride, pad, groups=mid, bias=False)
            self.bn_dw = nn.BatchNorm2d(mid)
        if se_ratio:
            # Squeeze-and-excitation (arXiv 1709.01507) as GhostNet has it; only who asks for it needs timm.
            from timm.layers import SqueezeExcite

            act = nn.ReLU if act_layer is nn.GELU else act_layer  # GELU cannot work in place
            self.se = SqueezeExcite(mid, rd_ratio=se_ratio, rd_divisor=4, act_layer=act, gate_layer="hard_sigmoid")
        self.ghost2 = GhostModule(mid, out_chs, act_layer=None, **experts)
        self.shortcut = nn.Sequential()  # the identity
        if in_chs != out_chs or stride != 1:
            self.shortcut = nn.Sequential(
                DynamicConv(in_chs, in_chs, dw_kernel_size, stride, pad, groups=in_chs, **experts),
                nn.BatchNorm2d(in_chs),
                DynamicConv(in_chs, out_chs, 1, padding=0, **experts),
                nn.BatchNorm2d(out_chs),
            )
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) to (B, out_chs, H / stride, W / stride)."""
        y = self.ghost1(x)  # (B, 2 * in_chs, H, W)
        if self.conv_dw is not None:
            y = self.bn_dw(self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        return self.shortcut(x) + self.drop_path(self.ghost2(y))


class C2f_GhostModule_DynamicConv(C2f):
    """C2f with GhostModules for bottlenecks.

    Takes the args of a C2f row; a GhostModule has neither a residual nor groups, so `shortcut` and `g` change nothing.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = False,
        g: int = 1,
        e: float = 0.5,
        *,
        block: Callable[[int, int], nn.Module] | None = None,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e, block)
        if block is None:
            self.m = nn.ModuleList([GhostModule(self.c, self.c, num_experts=num_experts, **router) for _ in range(n)])


class GhostResidual(nn.Module):
    """Half of the channels by a 1x1 DynamicConvBnAct in `g` groups, the rest by a depthwise 3x3 one of those.

    With `shortcut` the input is added.
    """

    def __init__(self, c: int, shortcut: bool, g: int = 1, num_experts: int = 4, **router: Any) -> None:
        super().__init__()
        half = math.ceil(c / 2)
        self.cv1 = DynamicConvBnAct(c, half, g=g, num_experts=num_experts, **router)
        self.cv2 = DynamicConvBnAct(half, half, 3, g=half, num_experts=num_experts, **router)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, H, W) to the same shape."""
        primary = self.cv1(x)
        y = torch.cat((primary, self.cv2(primary)), 1)[:, : x.shape[1]]
        return x + y if self.add else y


class C2f_GhostResidual_DynamicConv(C2f):
    """C2f_GhostModule_DynamicConv that keeps what C2f has: the residual of `shortcut`, groups, the model's activation.

    Takes the args of a C2f row; as many parameters as with GhostModules, where g = 1.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = False,
        g: int = 1,
        e: float = 0.5,
        *,
        block: Callable[[int, int], nn.Module] | None = None,
        num_experts: int = 4,
        **router: Any,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e, block)
        if block is None:
            blocks = [GhostResidual(self.c, shortcut, g, num_experts, **router) for _ in range(n)]
            self.m = nn.ModuleList(blocks)


# Names that YAMLs know, beside those of the tutorial's code.
C2f_DynamicConv = C2f_GhostModule_DynamicConv
GhostBottleneck_DynamicConv = GhostBottleneck
