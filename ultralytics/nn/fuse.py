"""Folding a batch normalization into the convolution before it, which changes no output in eval mode."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from ultralytics.utils.torch_utils import affine


def foldable(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(parent, name of the convolution, name of the norm behind it) wherever nothing stands between the two.

    That is known of a module that has `forward_fuse`, and of neighbors in a Sequential.
    """
    for parent in model.modules():
        names = list(parent._modules)
        if type(parent) is nn.Sequential:
            pairs = pairwise(names)
        elif hasattr(parent, "forward_fuse"):
            pairs = [("conv", "bn"), ("conv", "bn1")]
        else:
            continue
        for conv, norm in pairs:
            if _folds(parent._modules.get(conv), parent._modules.get(norm)):
                yield parent, conv, norm


def _folds(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether these are a convolution and a norm with statistics of its own."""
    takes = isinstance(conv, nn.Conv2d) or hasattr(conv, "fold_affine")
    return takes and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None


def fold_all(model: nn.Module) -> None:
    """Fold every norm that can be, in place; the norms disappear."""
    for parent, conv_name, norm_name in list(foldable(model)):
        fold(getattr(parent, conv_name), getattr(parent, norm_name))
        if hasattr(parent, "forward_fuse"):
            delattr(parent, norm_name)
            parent.forward = parent.forward_fuse
        else:
            setattr(parent, norm_name, nn.Identity())


@torch.no_grad()
def fold(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    """Let `conv` do what `norm` does behind it: a Conv2d, or whatever offers `fold_affine(scale, shift)`."""
    scale, shift = affine(norm)
    if hasattr(conv, "fold_affine"):
        conv.fold_affine(scale, shift)
        return
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    trains, like = conv.weight.requires_grad, conv.weight
    conv.weight = nn.Parameter((like.double() * scale.view(-1, 1, 1, 1)).to(like.dtype), trains)
    conv.bias = nn.Parameter(bias.to(like.dtype), trains)
