"""Omni-dimensional dynamic convolution: every image weights its kernel along all of its dimensions.

ODConv, ICLR 2022 (openreview.net/forum?id=DmpCfq6Mg39, arXiv 2209.07947). With E experts W_e (C_out, C_in, k, k)

    h = ReLU(Linear(mean over H, W of x))                        (B, hidden)
    w = softmax(Linear(h) / T)                                   (B, E), of the experts
    c, f, s = sigmoid(Linear(h)), one Linear each                (B, C_in), (B, C_out), (B, k * k)
    y = x * sum_e w_e (f ⊙ c ⊙ s ⊙ W_e)                          one convolution, ⊙ along the dimension it names

Maps are (B, C, H, W). c, f and s are the same for all experts, as in the paper's figure; in its formula they have an
index. Left out are s of a 1x1 kernel and f of a depthwise one, which c already scales. There is no normalization after
the first Linear, so that batches of one image can be trained on.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.nn.modules import Conv
from ultralytics.nn.modules.conv import autopad
from ultralytics.utils.torch_utils import without_autocast

from .CondConv import CondConv2d, Padding, Router, project
from .DynamicConv import DynamicConv

__all__ = ["ODConv", "ODConvBnAct"]

MIN_HIDDEN = 16  # features of a router


class Attentions(NamedTuple):
    """Weights in 0..1 for each image, along the dimensions of a kernel; None where a dimension has none."""

    experts: Tensor  # (B, E)
    channel: Tensor  # (B, C_in)
    filter: Tensor | None  # (B, C_out)
    spatial: Tensor | None  # (B, kh * kw)


class OmniRouter(Router):
    """Attentions along all dimensions of a kernel, from the means of the channels of a map.

    What it inherits weights the experts. `hidden` features are made of the means first.
    """

    def __init__(
        self, channels: int, filters: int | None, taps: int, hidden: int, num_experts: int, **router: Any
    ) -> None:
        super().__init__(hidden, num_experts, channels=channels, **router)
        self.squeeze = nn.Linear(channels, hidden)
        self.channel = nn.Linear(hidden, channels)
        self.filter = nn.Linear(hidden, filters) if filters else None
        self.spatial = nn.Linear(hidden, taps) if taps > 1 else None
        self.gain = 0.5 ** sum(head is not None for head in (self.channel, self.filter, self.spatial))

    def pool(self, x: Tensor) -> Tensor:
        """Features (B, hidden) of a map."""
        return project(self.squeeze, super().pool(x)).relu()

    @torch.no_grad()
    def zero(self) -> None:
        """Give every image the same attentions."""
        super().zero()
        for head in (self.channel, self.filter, self.spatial):
            if head is not None:
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)


class OmniConv2d(CondConv2d):
    """CondConv2d whose mixture is weighted along all other dimensions as well."""

    def mix(self, attentions: Attentions, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """One kernel (B, C_out * C_in/g * kh * kw) and one bias (B, C_out) for each image, in float32."""
        weight, bias = super().mix(attentions.experts, torch.promote_types(dtype, torch.float32))
        kernel = weight.view(-1, self.groups, self.out_channels // self.groups, *self.weight_shape[1:])
        # (B, g, C_out/g, C_in/g, kh, kw): the inputs of a group belong to the filters of that group
        kernel = kernel * attentions.channel.view(-1, self.groups, 1, self.weight_shape[1], 1, 1)
        if attentions.filter is not None:
            kernel = kernel * attentions.filter.view(-1, self.groups, self.weight_shape[0] // self.groups, 1, 1, 1)
        if attentions.spatial is not None:
            kernel = kernel * attentions.spatial.view(-1, 1, 1, 1, *self.kernel_size)
        return kernel.flatten(1).to(dtype), None if bias is None else bias.to(dtype)

    def _by_constant_kernels(self, x: Tensor, attentions: Attentions) -> Tensor:
        shape, geometry = self.weight_shape[1:], (self.stride, self.padding, self.dilation)
        x = x * attentions.channel.to(x.dtype)[:, :, None, None]
        if attentions.spatial is not None:  # all pixels that a kernel meets as channels: (B, C_in * kh * kw, H', W')
            taps = math.prod(self.kernel_size)
            pick = torch.eye(taps, dtype=x.dtype, device=x.device).view(taps, 1, *self.kernel_size)
            around = F.conv2d(x, pick.repeat(self.in_channels, 1, 1, 1), None, *geometry, self.in_channels)
            x = around * attentions.spatial.to(x.dtype).repeat(1, self.in_channels)[:, :, None, None]
            shape, geometry = (math.prod(shape), 1, 1), (1, 0, 1)
        y = self._sum_experts(x, attentions.experts, shape, *geometry)
        if attentions.filter is not None:
            y = y * attentions.filter.to(x.dtype)[:, :, None, None]
        return self._add_biases(y, attentions.experts)


class ODConv(DynamicConv):
    """Convolution whose kernel every image mixes from `num_experts` and weights along all dimensions.

    In YAMLs `[c2, k, s, padding, dilation, groups, bias, num_experts, reduction]`, then the settings of the `Router`,
    which are by default those of the paper: a softmax, its temperature lowered from 30 to 1 in ten epochs. The router
    has `reduction` times the input channels as features, 16 at least. A bias is mixed from the experts' alone.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
        reduction: float = 1 / 16,
        **router: Any,
    ) -> None:
        nn.Module.__init__(self)  # the parts of a DynamicConv are replaced by wider ones
        router = {"router": "softmax", **router}
        if router["router"] == "softmax" and not {"temperature", "anneal_epochs"} & router.keys():
            router |= {"temperature": 30, "anneal_epochs": 10}
        geometry = kernel_size, stride, padding, dilation, groups, bias, num_experts
        cond_conv = OmniConv2d(in_features, out_features, *geometry)
        filters = None if cond_conv.weight_shape[1] == 1 else out_features
        hidden = max(int(in_features * reduction), MIN_HIDDEN)
        taps = math.prod(cond_conv.kernel_size)
        self.assemble(OmniRouter(in_features, filters, taps, hidden, num_experts, **router), cond_conv)

    def routing_weights(self, x: Tensor) -> Tensor:
        """Weights (B, E) of the experts for a map, or for the features (B, hidden) that the router makes of one."""
        with without_autocast(x.device):
            return self.routing.weights(x if x.ndim == 2 else self.routing.pool(x))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        with without_autocast(x.device):
            router, features = self.routing, self.routing.pool(x)
            heads = router.channel, router.filter, router.spatial
            gates = [None if head is None else project(head, features).sigmoid() for head in heads]
            attentions = Attentions(self.routing_weights(features), *gates)
        return self.cond_conv(x, attentions)


class ODConvBnAct(Conv):
    """The core's Conv with an ODConv in it: the args of a Conv row, then `num_experts`, `reduction`, the router's."""

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
        reduction: float = 1 / 16,
        **router: Any,
    ) -> None:
        super().__init__(c1, c2, k, s, p, g, d, act)  # its convolution is replaced
        experts = {"num_experts": num_experts, "reduction": reduction, **router}
        self.conv = ODConv(c1, c2, k, s, autopad(k, p, d), d, g, **experts)
