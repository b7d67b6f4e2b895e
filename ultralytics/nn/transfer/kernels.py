"""Kernels in a state dict that a dynamic convolution can be made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .structure import Node, Shape

GATES = ("channel", "filter", "spatial")  # heads of the router of an ODConv, beside that for its experts
EPS = 1e-3  # of every norm of the YOLO family; a state dict does not say


@dataclass(frozen=True)
class Kernel:
    """A convolution among the weights: a static one, or a bank of experts with their router."""

    path: str  # "model.1.conv."
    weight: str  # "model.1.conv.weight"
    shape: Shape  # (C_out, C_in / groups, kh, kw)
    norm: str | None  # path of a norm after it that has to be folded in, as the network has no place for it

    def is_routed(self, given: Mapping[str, Tensor]) -> bool:
        """Whether it differs from image to image: more experts than one, or other weights, of what comes in."""
        experts = given.get(f"{self.path}routing.weight", torch.zeros(1))
        others = [given.get(f"{self.path}routing.{head}.weight", torch.zeros(1)) for head in GATES]
        return bool((len(experts) > 1 and experts.any()) or any(weight.any() for weight in others))

    def tensors(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Kernel (C_out, C_in / groups, kh, kw) and bias (C_out,) in float32.

        Of a bank they are what it mixes where the input of its router is 0.
        """
        own = {name.removeprefix(self.path): t.float() for name, t in given.items() if name.startswith(self.path)}
        if "routing.bias" in own:
            logits, temperature = own["routing.bias"], own.get("routing.temperature")
            alpha = logits.sigmoid() if temperature is None else (logits / temperature).softmax(0)  # (E,)
            weight = alpha @ own["cond_conv.weight"]
            # The bias of the experts is routed, the shift of a norm that was folded in is not.
            biases = [alpha @ own["cond_conv.bias"]] if "cond_conv.bias" in own else []
            biases += [own["cond_conv.shift"]] if "cond_conv.shift" in own else []
            bias = sum(biases) if biases else None
        else:
            weight, bias = own["weight"], own.get("bias")
        weight = weight.view(self.shape) * gates(own, self.shape)
        if self.norm:  # y = (x * weight + bias - mean) / std * gamma + beta as one convolution
            norm = {name: given[self.norm + name].float() for name in ("weight", "bias", "running_mean", "running_var")}
            scale = norm["weight"] * torch.rsqrt(norm["running_var"] + EPS)
            weight = weight * scale.view(-1, 1, 1, 1)
            bias = norm["bias"] + scale * ((0 if bias is None else bias) - norm["running_mean"])
        return weight, bias


def fit_channels(given: Mapping[str, Tensor], own: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Kernels of the first row, by name, that weights of color and a network of gray images, or the reverse, both have.

    Summed over the channels, or divided over the `channels` of the network, they give for a gray image what they gave.
    """
    fitted = {}
    for name, kernel in given.items():
        if not (name.startswith("model.0.") and name in own and kernel.ndim == 4 and own[name].ndim == 4):
            continue
        (out, c, *size), (own_out, own_c, *own_size) = kernel.shape, own[name].shape
        if own_c == channels and (out, size) == (own_out, own_size) and {c, own_c} == {1, 3}:
            total = kernel.float().sum(1, keepdim=True)
            fitted[name] = (total / own_c).expand(own[name].shape)
    return fitted


def gates(own: Mapping[str, Tensor], shape: Shape) -> Tensor:
    """Factor of a kernel of `shape`: what an ODConv weights it by besides, where the features of its router are 0."""
    found = {head: own[f"routing.{head}.bias"].sigmoid() for head in GATES if f"routing.{head}.bias" in own}
    factor = torch.ones(shape)
    if "channel" in found:  # of all input channels, while a kernel has those of its group
        channel = found["channel"].view(-1, 1, shape[1], 1, 1)  # (g, 1, C_in / g, 1, 1)
        factor = (factor.unflatten(0, (len(channel), -1)) * channel).flatten(0, 1)
    if "filter" in found:
        factor = factor * found["filter"].view(-1, 1, 1, 1)
    return factor * found["spatial"].view(shape[2:]) if "spatial" in found else factor


def find_kernel(source: Node, shape: Shape) -> Kernel | None:
    """The convolution of `shape` that a part of the weights is, or contains together with a norm."""
    for inside in ("", "conv."):  # a convolution itself, or a Conv or ConvBnAct
        norms = [f"{source.path}{norm}." for norm in ("bn", "bn1") if f"{norm}.running_var" in source.shapes]
        norm = norms[0] if inside and norms else None
        for name, expected in (("weight", shape), ("cond_conv.weight", None)):
            found = source.shapes.get(inside + name)
            is_bank = expected is None and found and found[1:] == (math.prod(shape),)
            if found and (found == expected or is_bank):
                return Kernel(source.path + inside, source.path + inside + name, shape, norm)
    return None
