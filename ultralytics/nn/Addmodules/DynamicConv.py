"""Dynamic convolution: every image mixes its own kernel from a few experts.

ParameterNet, CVPR 2024 (arXiv 2306.14525), on the mechanism of CondConv (arXiv 1904.04971): with E experts W_e

    alpha = sigmoid(Linear(mean over H, W of x))    (B, E) routing weights
    y = x * sum_e alpha_e W_e                       one convolution, whose kernel differs from image to image

About E times the parameters at nearly the cost of one convolution. Maps are (B, C, H, W).
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.nn.modules import C2f

__all__ = [
    "C2f_DynamicConv",
    "C2f_GhostModule_DynamicConv",
    "ConvBnAct",
    "DynamicConv",
    "GhostBottleneck_DynamicConv",
    "GhostModule",
]

Padding = str | int | tuple[int, int] | None


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) from one number for both, or from two."""
    return (value, value) if isinstance(value, int) else tuple(value)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Routing and mixing are cheap and decide everything: float16 there is where NaN losses come from."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or float32 where it is half or bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class CondConv2d(nn.Module):
    """Convolution by a mixture of E kernels that somebody else weighs, image by image.

    Names, shapes and initialisation are those of timm's layer of the same name: `weight` (E, C_out * C_in/g * kh * kw),
    `bias` (E, C_out). `padding`: a number, a pair, `''` for symmetric, `'valid'` for none, `'same'` for TensorFlow's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{in_channels} to {out_channels} channels cannot be split into {groups} groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = pair(kernel_size), pair(stride), pair(dilation)
        self.padding, self.pad_same = self._resolve_padding(padding)
        self.num_experts = num_experts
        self.weight_shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(num_experts, math.prod(self.weight_shape)))
        self.bias = nn.Parameter(torch.empty(num_experts, out_channels)) if bias else None
        self.register_parameter("shift", None)  # (C_out,) the same for every image; there once a norm is folded in
        self.reset_parameters()

    def _resolve_padding(self, padding: Padding) -> tuple[tuple[int, int], bool]:
        """The fixed padding, and whether the rest depends on the size of the input."""
        if padding is not None and not isinstance(padding, str):
            return pair(padding), False
        kind = (padding or "").lower()
        if kind not in ("", "same", "valid"):
            raise ValueError(f"padding must be a number, '', 'same' or 'valid', not {padding!r}")
        sides = list(zip(self.kernel_size, self.stride, self.dilation, strict=True))
        symmetric_is_same = all(s == 1 and d * (k - 1) % 2 == 0 for k, s, d in sides)
        if kind == "valid" or (kind == "same" and not symmetric_is_same):
            return (0, 0), kind == "same"
        return tuple((s - 1 + d * (k - 1)) // 2 for k, s, d in sides), False

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw each expert like a convolution of its own: on the whole bank, weights come out sqrt(C_out) too small."""
        bound = 1 / math.sqrt(math.prod(self.weight_shape[1:]))
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert.view(self.weight_shape), a=math.sqrt(5))
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def mix(self, routing_weights: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """One kernel (B, C_out * C_in/g * kh * kw) and one bias (B, C_out) for each image, mixed in float32."""
        alpha = at_least_float32(routing_weights)
        weight = alpha @ at_least_float32(self.weight)
        bias = None if self.bias is None else alpha @ at_least_float32(self.bias)
        if self.shift is not None:
            shift = at_least_float32(self.shift).expand(len(alpha), -1)
            bias = shift if bias is None else bias + shift
        return weight.to(dtype), None if bias is None else bias.to(dtype)

    def forward(self, x: Tensor, routing_weights: Tensor) -> Tensor:
        """(B, C_in, H, W) and (B, E) to (B, C_out, H', W')."""
        with without_autocast(x.device):
            weight, bias = self.mix(routing_weights, x.dtype)
        if self.pad_same:
            x = self._pad_same(x)
        if len(x) > 1 and self._is_pointwise():
            return self._product(x, weight, bias)
        return self._convolution(x, weight, bias)

    def _is_pointwise(self) -> bool:
        """Whether this is a matrix product for each pixel."""
        plain = self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0)
        return plain and self.groups == 1

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight, pixels = weight.view(-1, self.out_channels, self.in_channels), x.flatten(2)
        y = weight @ pixels if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, pixels)
        return y.unflatten(2, x.shape[2:])

    def _convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One convolution for all images: each is a group of channels, so that it meets its own kernel."""
        batch = len(x)
        y = F.conv2d(
            x.reshape(1, batch * self.in_channels, *x.shape[2:]),
            weight.view(batch * self.out_channels, *self.weight_shape[1:]),
            None if bias is None else bias.reshape(-1),
            self.stride,
            self.padding,
            self.dilation,
            batch * self.groups,
        )
        return y.view(batch, self.out_channels, *y.shape[2:])

    def _pad_same(self, x: Tensor) -> Tensor:
        """TensorFlow's SAME: output ceil(H / stride), the odd pixel below and to the right."""
        missing = [
            max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
            for size, k, s, d in zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        top, left = missing[0] // 2, missing[1] // 2
        return F.pad(x, (left, missing[1] - left, top, missing[0] - top))

    @torch.no_grad()
    def fold_affine(self, scale: Tensor, shift: Tensor) -> None:
        """Take over y * scale + shift, both (C_out,), exactly: the experts are scaled, the shift is not routed."""
        before = 0 if self.shift is None else self.shift * scale
        self.weight.copy_((self.weight.unflatten(1, (self.out_channels, -1)) * scale.view(-1, 1)).flatten(1))
        if self.bias is not None:
            self.bias.mul_(scale)
        self.shift = nn.Parameter((before + shift).to(self.weight.dtype), requires_grad=self.weight.requires_grad)


class DynamicConv(nn.Module):
    """Convolution whose kernel is mixed for every image from `num_experts`, with a router of its own.

    In YAMLs `[c2, k, s, padding, dilation, groups, bias, num_experts]`; no normalisation and no activation behind it.
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
    ) -> None:
        super().__init__()
        self.routing = nn.Linear(in_features, num_experts)
        self.cond_conv = CondConv2d(
            in_features, out_features, kernel_size, stride, padding, dilation, groups, bias, num_experts
        )

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.cond_conv.out_channels

    def routing_weights(self, x: Tensor) -> Tensor:
        """How much of each expert every image takes: (B, E) in 0..1, float32 whatever the rest is in."""
        with without_autocast(x.device):
            pooled = x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
            weight, bias = at_least_float32(self.routing.weight), at_least_float32(self.routing.bias)
            return F.linear(pooled, weight, bias).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        return self.cond_conv(x, self.routing_weights(x))

    def fold_affine(self, scale: Tensor, shift: Tensor) -> None:
        """Take over y * scale + shift, both (C_out,), exactly."""
        self.cond_conv.fold_affine(scale, shift)


class ConvBnAct(nn.Module):
    """DynamicConv, normalisation, activation; with `skip` the input is added where the shapes allow it."""

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
    ) -> None:
        super().__init__()
        self.has_residual = skip and stride == 1 and in_chs == out_chs
        self.conv = DynamicConv(in_chs, out_chs, kernel_size, stride, pad_type, dilation, num_experts=num_experts)
        self.bn1 = norm_layer(out_chs)
        self.act1 = act_layer()
        self.drop_path = stochastic_depth(drop_path_rate)

    def feature_info(self, location: str) -> dict[str, str | int]:
        """Where timm's feature extraction finds the map: `expansion` is behind the activation."""
        module, hook = ("act1", "forward") if location == "expansion" else ("", "")
        return {"module": module, "hook_type": hook, "num_chs": self.conv.out_channels}

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) to (B, out_chs, H', W')."""
        return self._add(x, self.act1(self.bn1(self.conv(x))))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The same once the normalisation is folded into the experts."""
        return self._add(x, self.act1(self.conv(x)))

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.drop_path(y) if self.has_residual else y


def stochastic_depth(rate: float) -> nn.Module:
    """Stochastic depth (arXiv 1603.09382), or nothing at rate 0."""
    if not rate:
        return nn.Identity()
    from timm.layers import DropPath

    return DropPath(rate)


def norm_act(channels: int, act_layer: Callable[[], nn.Module] | None) -> tuple[nn.Module, nn.Module]:
    """What follows a convolution in the ghost blocks."""
    return nn.BatchNorm2d(channels), nn.Identity() if act_layer is None else act_layer()


class GhostModule(nn.Module):
    """1 / `ratio` of the channels by a DynamicConv, the rest by a cheap depth-wise one of those (arXiv 1911.11907)."""

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
    ) -> None:
        super().__init__()
        self.oup = oup
        primary = math.ceil(oup / ratio)
        cheap = primary * (ratio - 1)
        self.primary_conv = nn.Sequential(
            DynamicConv(inp, primary, kernel_size, stride, kernel_size // 2, num_experts=num_experts),
            *norm_act(primary, act_layer),
        )
        self.cheap_operation = nn.Sequential(
            DynamicConv(primary, cheap, dw_size, 1, dw_size // 2, groups=primary, num_experts=num_experts),
            *norm_act(cheap, act_layer),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inp, H, W) to (B, oup, H / stride, W / stride)."""
        primary = self.primary_conv(x)
        return torch.cat((primary, self.cheap_operation(primary)), 1)[:, : self.oup]


class GhostBottleneck(nn.Module):
    """Two GhostModules, a depth-wise convolution and squeeze-excite between them if asked for, and a residual.

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
    ) -> None:
        super().__init__()
        mid, pad = 2 * in_chs, (dw_kernel_size - 1) // 2
        self.stride = stride
        self.ghost1 = GhostModule(in_chs, mid, act_layer=act_layer, num_experts=num_experts)
        self.conv_dw = self.bn_dw = self.se = None
        if stride > 1:
            self.conv_dw = nn.Conv2d(mid, mid, dw_kernel_size, stride, pad, groups=mid, bias=False)
            self.bn_dw = nn.BatchNorm2d(mid)
        if se_ratio:
            self.se = squeeze_excite(mid, se_ratio, act_layer)
        self.ghost2 = GhostModule(mid, out_chs, act_layer=None, num_experts=num_experts)
        self.shortcut = nn.Sequential()
        if in_chs != out_chs or stride != 1:
            self.shortcut = nn.Sequential(
                DynamicConv(in_chs, in_chs, dw_kernel_size, stride, pad, groups=in_chs, num_experts=num_experts),
                nn.BatchNorm2d(in_chs),
                DynamicConv(in_chs, out_chs, 1, padding=0, num_experts=num_experts),
                nn.BatchNorm2d(out_chs),
            )
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) to (B, out_chs, H / stride, W / stride)."""
        y = self.ghost1(x)
        if self.conv_dw is not None:
            y = self.bn_dw(self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        return self.shortcut(x) + self.drop_path(self.ghost2(y))


def squeeze_excite(channels: int, ratio: float, act_layer: Callable[[], nn.Module]) -> nn.Module:
    """Squeeze-and-excitation (arXiv 1709.01507) as GhostNet has it; GELU, which cannot work in place, becomes ReLU."""
    from timm.layers import SqueezeExcite

    act = nn.ReLU if act_layer is nn.GELU else act_layer
    return SqueezeExcite(channels, rd_ratio=ratio, rd_divisor=4, act_layer=act, gate_layer="hard_sigmoid")


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
        num_experts: int = 4,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.ModuleList([GhostModule(self.c, self.c, num_experts=num_experts) for _ in range(n)])


C2f_DynamicConv = C2f_GhostModule_DynamicConv
GhostBottleneck_DynamicConv = GhostBottleneck
